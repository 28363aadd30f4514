"""A folder at an fsspec URI: files that appear whole or not at all, on a disk or in an object store."""

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import SpooledTemporaryFile, TemporaryDirectory
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from fsspec.core import has_magic
from fsspec.implementations.local import LocalFileSystem

from operators.storage import open_uri
from pipelines.runtime.storage.local_files import (
    create_here,
    is_remembered,
    remember_checked,
    size_of,
    unfinished_file,
    written_by,
    written_to,
)
from pipelines.runtime.storage.object_store import ONE_REQUEST, create_there, send, written_at
from pipelines.runtime.storage.records import DamagedError, Record, difference, record_of, sealed, unsealed

ARROW = ".arrow"


def absolute(uri: str) -> str:
    """Return a local path as it is from everywhere: a worker's current folder may be another. URIs stay as they are."""
    return uri if "://" in uri else os.path.abspath(os.path.expanduser(uri))


# What reading a record raises where there is no such file, or something else in its place.
_NO_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


@dataclass(frozen=True)
class Folder:
    """A folder at an fsspec URI. Travels to workers; what it writes appears whole or not at all."""

    uri: str
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def fs(self) -> Any:  # noqa: ANN401 - fsspec is untyped
        """The file system of the folder; fsspec keeps one per thread."""
        return open_uri(self.uri, self.storage_options)[0]

    @cached_property
    def is_local(self) -> bool:
        """Whether the folder is in the file system of the machine."""
        return isinstance(self.fs, LocalFileSystem)

    @cached_property
    def _root(self) -> str:
        return open_uri(self.uri, self.storage_options)[1].rstrip("/")

    def path(self, name: str = "") -> str:
        """Return the path of a file in this folder, as its file system wants it."""
        return f"{self._root}/{name}" if name else self._root

    def paths(self, names: Sequence[str]) -> list[str]:
        """Return the paths of many files in this folder."""
        return [self.path(name) for name in names]

    def exists(self, name: str = "") -> bool:
        """Tell whether a file or folder is there."""
        return bool(self.fs.exists(self.path(name)))

    def names(self, name: str = "") -> list[str]:
        """List the names of what is directly in a folder, sorted; none where there is no such folder."""
        return sorted(self._listed(name))

    def files(self, name: str = "") -> dict[str, Mapping[str, Any]]:
        """Return the name of each file that is directly in a folder, and what its file system knows of it."""
        return {one: info for one, info in self._listed(name).items() if info["type"] == "file"}

    def _listed(self, name: str) -> dict[str, Mapping[str, Any]]:
        path = self.path(name)
        try:
            found = self.fs.ls(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        # Some object stores list an empty folder as an object in itself.
        listed = {info["name"].rstrip("/"): info for info in found if info["name"].rstrip("/") != path}
        return {full.rpartition("/")[2]: info for full, info in listed.items()}

    def times(self, name: str = "") -> dict[str, float]:
        """Return the name of each file that is directly in a folder, and when it was written: seconds.

        The clock is that of the storage. Object stores tell whole seconds.
        """
        return {one: written_at(info) for one, info in self.files(name).items()}

    def found(self, name: str = "") -> dict[str, Mapping[str, Any]]:
        """Return every file in a folder and in those below it, by path in this folder, and what is known of it."""
        root = self.path()
        try:
            found = self.fs.find(self.path(name), detail=True)
        except FileNotFoundError:
            return {}
        return {full[len(root) + 1 :]: info for full, info in found.items() if full.startswith(f"{root}/")}

    def sizes(self, name: str = "") -> dict[str, int]:
        """Return the size in bytes of every file in a folder and in those below it, by path in this folder."""
        return {path: int(info["size"]) for path, info in self.found(name).items()}

    def differing(self, records: Sequence[Record]) -> list[tuple[Record, str]]:
        """Return the records whose file is missing or has another size, each with what was found."""
        if not records:
            return []
        if self.is_local:
            names = [record["path"] for record in records]
            sizes = dict(zip(names, map(size_of, self.paths(names)), strict=True))
        else:
            sizes = {**dict.fromkeys((record["path"] for record in records), None), **self.sizes()}
        found = ((record, difference(record, sizes[record["path"]])) for record in records)
        return [(record, what) for record, what in found if what is not None]

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            self.fs.rm_file(self.path(name))

    def remove_all(self, names: Sequence[str]) -> None:
        """Remove files, and the folders that they leave empty."""
        paths = self.paths(names)
        if self.is_local or any(map(has_magic, paths)):
            for name in names:
                self.remove(name)
        elif names:  # many in one request
            self.fs.rm(paths)
        above = {name.rpartition("/")[0] for name in names}
        above |= {"/".join(name.split("/")[:depth]) for name in above for depth in range(1, name.count("/") + 1)}
        for folder in sorted(above - {""}, key=len, reverse=True):
            self.remove_if_empty(folder)

    def remove_if_empty(self, name: str = "") -> bool:
        """Remove an empty folder; tell whether it is gone. A folder with anything in it stays."""
        if self.is_local:
            with suppress(OSError):
                os.rmdir(self.path(name))
        elif not self.names(name) and self.exists(name):  # most object stores have no folders; some keep empty ones
            with suppress(FileNotFoundError):
                self.fs.rm_file(self.path(name))
        return not self.exists(name)

    def write(self, name: str, write: Callable[[IO[bytes]], object]) -> dict[str, Any]:
        """Write a file by a function that takes a stream; it takes its name when it is complete. Returns its record."""
        if self.is_local:
            return self._write_here(name, lambda unfinished: written_to(unfinished, write, name))
        with SpooledTemporaryFile(max_size=ONE_REQUEST) as kept:  # nothing is sent before it is complete
            write(kept)
            return self._send(kept, name)

    def write_path(self, name: str, write: Callable[[Path], object]) -> dict[str, Any]:
        """Write a file by a function that takes a local path; it takes its name when complete. Returns its record."""
        if self.is_local:
            return self._write_here(name, lambda unfinished: written_by(unfinished, write, name))
        with TemporaryDirectory() as place:
            write(Path(place) / "file")
            with (Path(place) / "file").open("rb") as written:
                return self._send(written, name)

    def _write_here(self, name: str, write: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        path = self.path(name)
        with unfinished_file(path) as unfinished:
            record = write(unfinished)
        remember_checked(path, record)
        return record

    def _send(self, content: IO[bytes], name: str) -> dict[str, Any]:
        record = record_of(name, content)
        content.seek(0)
        send(self.fs, self.path(name), content, record["bytes"])
        return record

    def write_bytes(self, name: str, content: bytes) -> dict[str, Any]:
        """Write a whole file; returns its record."""

        def write(stream: IO[bytes]) -> None:
            stream.write(content)

        return self.write(name, write)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless there is one of that name; tell whether this call wrote it. One of many callers does."""
        if self.is_local:
            return create_here(self.path(name), content)
        return create_there(self.fs, self.path(name), content)

    def write_json(self, name: str, value: object) -> dict[str, Any]:
        """Write a value as JSON; returns the record of the file."""
        return self.write_bytes(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def write_sealed(self, name: str, value: Mapping[str, Any]) -> None:
        """Write an object as JSON, with its own checksum in it."""
        self.write_bytes(name, sealed(name, value))

    def write_table(self, name: str, table: pa.Table) -> dict[str, Any]:
        """Write a table and return the record of the file.

        As Parquet; as an Arrow file, which vectors are read from ten times as fast, where the name says so.
        """

        def write(stream: IO[bytes]) -> None:
            if not name.endswith(ARROW):
                pq.write_table(table, stream, compression="zstd", compression_level=1, write_page_checksum=True)
                return
            with pa.ipc.new_file(stream, table.schema) as file:
                file.write_table(table.combine_chunks())

        return self.write(name, write)

    def read_bytes(self, name: str) -> bytes:
        """Read a whole file."""
        return bytes(self.fs.cat_file(self.path(name)))

    def read_json(self, name: str) -> Any:  # noqa: ANN401 - JSON
        """Read a JSON file."""
        return json.loads(self.read_bytes(name))

    def read_sealed(self, name: str) -> dict[str, Any] | None:
        """Read what `write_sealed` wrote; None where it is missing, or is not what was written."""
        try:
            return unsealed(name, self.read_bytes(name))
        except _NO_FILE:
            return None

    def read_many_sealed(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Read many sealed records, of an object store many at the same time; those that are damaged are left out."""
        records: dict[str, dict[str, Any]] = {}
        for name, content in zip(names, self._found([(name, None, None) for name in names]), strict=True):
            if isinstance(content, _NO_FILE):
                continue
            if isinstance(content, Exception):
                raise content
            record = unsealed(name, content)
            if record is not None:
                records[name] = record
        return records

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Read ranges of files, (name, first byte, byte after the last), of an object store many at the same time.

        Raises:
            DamagedError: a file is missing, or ends within a range.
        """
        contents = self._fetched(ranges)
        for (name, start, end), content in zip(ranges, contents, strict=True):
            if len(content) < end - start:
                raise DamagedError(self.uri, name, f"the file ends before byte {end:,}")
        return contents

    def _fetched(self, ranges: Sequence[tuple[str, int | None, int | None]]) -> list[bytes]:
        """Fetch ranges of files, None being the beginning or the end."""
        contents: list[bytes] = []
        for (name, _, _), content in zip(ranges, self._found(ranges), strict=True):
            if isinstance(content, FileNotFoundError):
                raise DamagedError(self.uri, name, "the file is missing") from content
            if isinstance(content, Exception):
                raise content
            contents.append(content)
        return contents

    def _found(self, ranges: Sequence[tuple[str, int | None, int | None]]) -> Iterator[bytes | Exception]:
        """Yield the content of each range, or why there is none. One that begins behind the end of a file is empty."""
        if not ranges:
            return
        names, starts, ends = zip(*ranges, strict=True)
        for start, content in zip(
            starts, self.fs.cat_ranges(self.paths(names), list(starts), list(ends), on_error="return"), strict=True
        ):
            if start and isinstance(content, OSError) and content.errno == errno.EINVAL:  # of S3, InvalidRange
                yield b""
            else:
                yield content if isinstance(content, Exception) else bytes(content)

    def content(self, record: Record) -> pa.Buffer:
        """Return the content of a file after a comparison with its record. A local file is mapped, not read.

        A process compares the checksum of a local file once, when it first opens it.

        Raises:
            DamagedError: the file is missing, or is not what was written.
        """
        return self.contents([record])[0]

    def _mapped(self, record: Record) -> pa.Buffer:
        path = self.path(record["path"])
        self._compare(record, size_of(path))
        if not record["bytes"]:
            return pa.py_buffer(b"")
        mapped = pa.memory_map(path).read_buffer()
        if not is_remembered(path, record):
            self._compare(record, mapped.size, xxhash.xxh3_64_hexdigest(mapped))
            remember_checked(path, record)
        return mapped

    def _compare(self, record: Record, size: int | None, digest: str | None = None) -> None:
        what = difference(record, size, digest)
        if what is not None:
            raise DamagedError(self.uri, record["path"], what)

    def contents(self, records: Sequence[Record]) -> list[pa.Buffer]:
        """Return the content of many files as `content` does, of an object store many at the same time."""
        if self.is_local:
            return list(map(self._mapped, records))
        contents: list[pa.Buffer] = []
        found = self._fetched([(record["path"], None, None) for record in records])
        for record, content in zip(records, found, strict=True):
            self._compare(record, len(content), xxhash.xxh3_64_hexdigest(content))
            contents.append(pa.py_buffer(content))
        return contents

    def read_table(self, record: Record, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table, or some of its columns. A local Arrow file is a memory map, read where it is used.

        Raises:
            DamagedError: the file is missing, or is not what was written.
        """
        names = None if columns is None else list(columns)
        if record["path"].endswith(ARROW):
            table = _arrow_table(self.content(record))
            return table if names is None else table.select(names)
        if names is None or record["bytes"] <= ONE_REQUEST:
            return pq.read_table(pa.BufferReader(self.content(record)), columns=names)
        return self._read_columns(record, names)

    def read_tables(self, records: Sequence[Record]) -> list[pa.Table]:
        """Read whole Arrow files as `read_table` does, of an object store many at the same time."""
        return list(map(_arrow_table, self.contents(records)))

    def _read_columns(self, record: Record, columns: list[str]) -> pa.Table:
        """Read some columns of a large Parquet file; its pages carry checksums of their own."""
        for damaged, what in self.differing([record]):
            raise DamagedError(self.uri, damaged["path"], what)
        try:
            with self.fs.open(self.path(record["path"]), "rb") as stream:
                return pq.read_table(stream, columns=columns, page_checksum_verification=True)
        except (pa.ArrowException, OSError):
            self.content(record)  # says so where the file is damaged
            raise


def _arrow_table(content: pa.Buffer) -> pa.Table:
    return pa.ipc.open_file(pa.BufferReader(content)).read_all()
