"""A folder at an fsspec URI: files that appear whole or not at all, on a disk or in an object store."""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import SpooledTemporaryFile, TemporaryDirectory
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from operators.storage import open_uri

ARROW = ".arrow"

# What is sent to an object store in one request, and kept in memory until then; longer files go in parts.
ONE_REQUEST = 16 << 20

# Under which key each of fsspec's file systems tells when a file was written.
_WRITTEN = ("mtime", "LastModified", "last_modified", "updated", "created")
# What S3 says where a file is there already, or is being written by another.
_CONFLICTS = {"PreconditionFailed", "ConditionalRequestConflict"}


def absolute(uri: str) -> str:
    """Return a local path as it is from everywhere: a worker's current folder may be another. URIs stay as they are."""
    return uri if "://" in uri else os.path.abspath(os.path.expanduser(uri))


@dataclass(frozen=True)
class Folder:
    """A folder at an fsspec URI. Travels to workers; what it writes appears whole or not at all."""

    uri: str
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def fs(self) -> Any:  # noqa: ANN401 - fsspec is untyped
        """The file system of the folder; fsspec keeps one per thread."""
        return open_uri(self.uri, self.storage_options)[0]

    @property
    def is_local(self) -> bool:
        """Tell whether the folder lies in the file system of the machine."""
        return isinstance(self.fs, LocalFileSystem)

    def path(self, name: str = "") -> str:
        """Return the path of a file in this folder, as its file system wants it."""
        root = open_uri(self.uri, self.storage_options)[1].rstrip("/")
        return f"{root}/{name}" if name else root

    def exists(self, name: str = "") -> bool:
        """Tell whether a file or folder is there."""
        return bool(self.fs.exists(self.path(name)))

    def names(self, name: str = "") -> list[str]:
        """List the names of what lies directly in a folder, sorted; none where there is no such folder."""
        path = self.path(name)
        try:
            found = self.fs.ls(path, detail=False)
        except FileNotFoundError:
            return []
        # Some object stores list an empty folder as an object in itself.
        return sorted(entry.rstrip("/").rpartition("/")[2] for entry in found if entry.rstrip("/") != path)

    def times(self, name: str = "") -> dict[str, float]:
        """Return the name of each file that lies directly in a folder, and when it was written: seconds, its storage's.

        The clock is that of the storage. Object stores tell whole seconds.
        """
        try:
            found = self.fs.ls(self.path(name), detail=True)
        except FileNotFoundError:
            return {}
        # Some object stores list an empty folder as an object in itself.
        files = [info for info in found if info["type"] == "file" and not info["name"].endswith("/")]
        files = [info for info in files if info["name"] != self.path(name)]
        return {info["name"].rpartition("/")[2]: _written_at(info) for info in files}

    def remove(self, name: str = "") -> None:
        """Remove a file or folder, if it is there."""
        with suppress(FileNotFoundError):
            self.fs.rm(self.path(name), recursive=True)

    def remove_if_empty(self, name: str = "") -> bool:
        """Remove a folder with nothing in it; tell whether it is gone. What lies in it is never touched."""
        if self.is_local:
            with suppress(OSError):
                os.rmdir(self.path(name))
        elif not self.names(name) and self.exists(name):  # most object stores have no folders; some keep empty ones
            with suppress(FileNotFoundError):
                self.fs.rm_file(self.path(name))
        return not self.exists(name)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file that takes its name only when it is complete."""
        if self.is_local:
            with self._unfinished(self.path(name)) as unfinished, open(unfinished, "wb") as stream:
                yield stream
            return
        with SpooledTemporaryFile(max_size=ONE_REQUEST) as kept:  # nothing is sent before it is complete
            yield kept
            self._send(kept, name)

    def _send(self, content: IO[bytes], name: str) -> None:
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        if size <= ONE_REQUEST:
            self.fs.pipe_file(self.path(name), content.read())
            return
        stream = self.fs.open(self.path(name), "wb", block_size=ONE_REQUEST)
        try:
            shutil.copyfileobj(content, stream, ONE_REQUEST)
            stream.close()
        except BaseException:
            with suppress(Exception):  # the error that led here is the one to tell
                stream.discard()
            stream.closed = True  # so that its end does not complete what was sent
            raise

    @staticmethod
    @contextmanager
    def _unfinished(path: str) -> Iterator[str]:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        unfinished = f"{path}.{uuid.uuid4().hex}.unfinished"
        try:
            yield unfinished
            os.replace(unfinished, path)
        finally:
            Path(unfinished).unlink(missing_ok=True)

    @contextmanager
    def writing_path(self, name: str) -> Iterator[Path]:
        """Give a local path to write a file to, for what writes to paths only; it takes its name when complete."""
        if self.is_local:
            with self._unfinished(self.path(name)) as unfinished:
                yield Path(unfinished)
            return
        with TemporaryDirectory() as place:
            yield Path(place) / "file"
            with (Path(place) / "file").open("rb") as written:
                self._send(written, name)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a whole file."""
        with self.writing(name) as stream:
            stream.write(content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless there is one of that name; tell whether this call wrote it. One of many callers does."""
        if self.is_local:
            return _create_here(self.path(name), content)
        try:
            self.fs.pipe_file(self.path(name), content, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            response = getattr(error.__cause__, "response", {})
            if response.get("Error", {}).get("Code") in _CONFLICTS:
                return False
            raise
        return True

    def write_json(self, name: str, value: object) -> None:
        """Write a value as JSON."""
        self.write_bytes(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a table as Parquet; as an Arrow file, which vectors are read from ten times as fast, if so named."""
        with self.writing(name) as stream:
            if not name.endswith(ARROW):
                pq.write_table(table, stream, compression="zstd", compression_level=1)
                return
            with pa.ipc.new_file(stream, table.schema) as file:
                file.write_table(table.combine_chunks())

    def read_bytes(self, name: str) -> bytes:
        """Read a whole file."""
        return bytes(self.fs.cat_file(self.path(name)))

    def read_json(self, name: str) -> Any:  # noqa: ANN401 - JSON
        """Read a JSON file."""
        return json.loads(self.read_bytes(name))

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table, or some of its columns. An Arrow file that lies here is a memory map, read where it is used."""
        if name.endswith(ARROW):
            path = self.path(name)
            source = pa.memory_map(path) if self.is_local else pa.BufferReader(self.read_bytes(name))
            table = pa.ipc.open_file(source).read_all()
            return table if columns is None else table.select(list(columns))
        with self.fs.open(self.path(name), "rb") as stream:
            return pq.read_table(stream, columns=None if columns is None else list(columns))


def _create_here(path: str, content: bytes) -> bool:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    unfinished = Path(f"{path}.{uuid.uuid4().hex}.unfinished")
    unfinished.write_bytes(content)
    try:
        os.link(unfinished, path)  # with its content at once, and only if there is nothing of that name
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}:
            raise
        return _create_without_links(path, content)
    finally:
        unfinished.unlink()
    return True


def _create_without_links(path: str, content: bytes) -> bool:
    try:
        with open(path, "xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _written_at(info: Mapping[str, Any]) -> float:
    written = next(info[key] for key in _WRITTEN if info.get(key) is not None)
    return float(written.timestamp() if isinstance(written, datetime) else written)
