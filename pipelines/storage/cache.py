"""Keep copies of remote folders on this machine, up to a size: what was used least lately goes first."""

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import xxhash

from pipelines.storage.folder import Folder

COPIES, LOCKS = "copies", "locks"


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
    def holding(self, source: Folder, name: str) -> Iterator[Path]:
        """Give a folder as a local path: itself where it is local, else a copy that stays while it is held."""
        if source.is_local:
            yield Path(source.path(name))
            return
        key = xxhash.xxh3_128_hexdigest(f"{source.uri}/{name}".encode())
        copy = self._place(COPIES) / key
        while True:
            with self._lock(key, fcntl.LOCK_SH):
                if copy.exists():
                    os.utime(copy, ns=(time.time_ns(), time.time_ns()))  # finer than the clock of the file system
                    self._make_room(key)
                    yield copy
                    return
            # Only where there is no copy: whoever holds one would have to be waited for.
            with self._lock(key, fcntl.LOCK_EX):
                if not copy.exists():
                    self._fetch(source, name, copy)

    def _fetch(self, source: Folder, name: str, copy: Path) -> None:
        unfinished = self.folder_path / f"{uuid.uuid4().hex}.unfinished"
        try:
            source.fs.get(source.path(name), str(unfinished), recursive=True)
            unfinished.rename(copy)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _make_room(self, used: str) -> None:
        copies = sorted(self._place(COPIES).iterdir(), key=lambda copy: copy.stat().st_mtime)
        sizes = {copy: sum(file.stat().st_size for file in copy.rglob("*") if file.is_file()) for copy in copies}
        for copy in copies:
            if sum(sizes.values()) <= self.limit:
                return
            if copy.name == used:
                continue
            try:
                with self._lock(copy.name, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    shutil.rmtree(copy)
            except BlockingIOError:  # in use by another process
                continue
            del sizes[copy]

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
