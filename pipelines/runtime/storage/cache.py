"""Keep copies of remote folders on this machine, up to a size: what was used least lately goes first."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import xxhash

from pipelines.runtime.storage.folder import Folder
from pipelines.runtime.storage.local_files import is_checked
from pipelines.runtime.storage.records import DamagedError, Record, difference, record_of

COPIES, LOCKS = "copies", "locks"
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Cache:
    """A folder of copies that the processes of a machine share. Only for what never changes under its URI.

    Attributes:
        folder: on a local disk.
        limit: of all copies, in bytes; copies in use are never removed, so what is used at once may exceed it.
    """

    folder: str
    limit: int

    @contextmanager
    def holding(self, source: Folder, name: str, files: Sequence[Record]) -> Iterator[Path]:
        """Give a folder as a local path: itself where it is local, else a copy that stays while it is held.

        Args:
            source: the folder that it is in.
            name: of the folder.
            files: the records of the files in it, by their path in `source`.

        Raises:
            DamagedError: a file is missing, or is not what was written. A copy that is damaged is fetched again.
        """
        if source.is_local:
            for record in files:
                source.content(record)
            yield Path(source.path(name))
            return
        key = xxhash.xxh3_128_hexdigest(f"{source.uri}/{name}".encode())
        copy = self._place(COPIES) / key
        while True:
            with self._lock(key, fcntl.LOCK_SH):
                if _is_whole(copy, files):
                    os.utime(copy, ns=(time.time_ns(), time.time_ns()))  # finer than the clock of the file system
                    self._make_space(key)
                    yield copy
                    return
            # Only where there is no copy: whoever holds one would have to be waited for.
            with self._lock(key, fcntl.LOCK_EX):
                if not _is_whole(copy, files):
                    self._fetch(source, files, copy)

    def _fetch(self, source: Folder, files: Sequence[Record], copy: Path) -> None:
        """Fetch a folder while its key is locked: what another left unfinished under that key is of no use."""
        unfinished = copy.with_name(copy.name + UNFINISHED)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            for record in files:
                target = unfinished / record["path"].rpartition("/")[2]
                try:
                    source.fs.get_file(source.path(record["path"]), str(target))
                except FileNotFoundError as error:
                    raise DamagedError(source.uri, record["path"], "the file is missing") from error
                with target.open("rb") as content:
                    found = record_of(record["path"], content)
                what = difference(record, found["bytes"], found["xxh3"])
                if what is not None:
                    raise DamagedError(source.uri, record["path"], what)
            shutil.rmtree(copy, ignore_errors=True)
            unfinished.rename(copy)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _make_space(self, used: str) -> None:
        """Remove copies until the rest fits; other processes of the machine may do the same at the same time."""
        copies: list[tuple[int, int, Path]] = []
        for copy in self._place(COPIES).iterdir():
            with suppress(FileNotFoundError):  # another process removed it
                size = sum(file.stat().st_size for file in copy.rglob("*") if file.is_file())
                copies.append((copy.stat().st_mtime_ns, size, copy))
        total = sum(size for _, size, _ in copies)
        for _, size, copy in sorted(copies):
            abandoned = copy.name.endswith(UNFINISHED)
            if copy.name == used or (total <= self.limit and not abandoned):
                continue
            try:
                with self._lock(copy.name.removesuffix(UNFINISHED), fcntl.LOCK_EX | fcntl.LOCK_NB):
                    shutil.rmtree(copy, ignore_errors=True)
            except BlockingIOError:  # in use by another process
                continue
            total -= size

    @contextmanager
    def _lock(self, key: str, kind: int) -> Iterator[None]:
        with (self._place(LOCKS) / key).open("wb") as file:
            fcntl.flock(file, kind)
            yield

    @property
    def folder_path(self) -> Path:
        """The folder, as a path."""
        return Path(self.folder).expanduser()

    def _place(self, name: str) -> Path:
        place = self.folder_path / name
        place.mkdir(parents=True, exist_ok=True)
        return place


def _is_whole(copy: Path, files: Sequence[Record]) -> bool:
    """Tell whether a copy is there and is what was written; checksums are compared once in a process."""
    return all(is_checked(copy / record["path"].rpartition("/")[2], record) for record in files)
