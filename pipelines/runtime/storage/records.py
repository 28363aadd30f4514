"""Records of files, with their size and checksum, and JSON records that carry their own checksum."""

import io
import json
from collections.abc import Iterator, Mapping
from typing import IO, Any

import xxhash

from operators.errors import one_line

# A file: where it is in its folder, its size in bytes, and the 64-bit xxh3 of its content in hexadecimal.
Record = Mapping[str, Any]

_FIELDS = ("path", "bytes", "xxh3")
_SEAL = "record_xxh3"
# The folder of the records of units, in that of their stage.
UNITS = "_units"
_BLOCK = 1 << 22


class DamagedError(RuntimeError):
    """A file of the run directory is missing, or is not what was written.

    Attributes:
        uri: of the folder that it is in.
        path: of the file in that folder.
    """

    def __init__(self, uri: str, path: str, found: str) -> None:
        super().__init__(uri, path, found)
        self.uri, self.path, self.found = uri, path, found

    def __str__(self) -> str:
        return one_line(f"{self.uri.rstrip('/')}/{self.path}: {self.found}")


class RecordedWriter(io.BufferedWriter):
    """Writes a file from its beginning to its end, and knows its record without reading it again."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self._digest, self._size = xxhash.xxh3_64(), 0

    def write(self, content: Any) -> int:  # noqa: ANN401 - any contiguous buffer
        """Write all of a buffer; return how many bytes these are."""
        written = super().write(content)
        self._digest.update(content)
        self._size += written
        return written

    def seekable(self) -> bool:
        """Return False: what is hashed is hashed in order."""
        return False

    def record(self, path: str) -> dict[str, Any]:
        """Return the record of what was written, as the file `path`."""
        return {"path": path, "bytes": self._size, "xxh3": self._digest.hexdigest()}


def record_of(path: str, content: IO[bytes]) -> dict[str, Any]:
    """Return the record of a file from its content, which is read from the beginning."""
    content.seek(0)
    digest, size = xxhash.xxh3_64(), 0
    while block := content.read(_BLOCK):
        digest.update(block)
        size += len(block)
    return {"path": path, "bytes": size, "xxh3": digest.hexdigest()}


def files_in(value: object) -> Iterator[Record]:
    """Yield the records of files, however deep they are nested in a JSON value."""
    if isinstance(value, Mapping):
        if all(field in value for field in _FIELDS):
            yield value
        for inner in value.values():
            yield from files_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from files_in(inner)


def difference(record: Record, size: int | None, digest: str | None = None) -> str | None:
    """Say how a file differs from its record; None where it does not.

    Args:
        record: of the file.
        size: that it has now, in bytes; None where it is missing.
        digest: of its content now; None where only the size is compared.
    """
    if size is None:
        return "the file is missing"
    if size != record["bytes"]:
        return f"the file has {size:,} bytes where {record['bytes']:,} were written"
    if digest is not None and digest != record["xxh3"]:
        return "the content is not what was written (its checksum differs)"
    return None


def sealed(name: str, value: Mapping[str, Any]) -> bytes:
    """Return a JSON object with a checksum of itself, and of the name of its file, in it.

    With the name, a record that was copied over another is not taken for it.

    Args:
        name: the path of the file. What comes before the name, or before the folder of units, does not count.
        value: of the record.
    """
    plain = json.loads(json.dumps(value))  # as it will be read: keys are strings, tuples are lists
    return (json.dumps({**plain, _SEAL: _seal_of(name, plain)}, ensure_ascii=False) + "\n").encode()


def unsealed(name: str, content: bytes) -> dict[str, Any] | None:
    """Return the object that `sealed` wrote under a name; None where it is not what was written."""
    try:
        value = json.loads(content)
        if not isinstance(value, dict) or _SEAL not in value:
            return None
        del value[_SEAL]
        return value if sealed(name, value) == content else None
    except (ValueError, RecursionError):  # a half of a character, too, is a ValueError
        return None


def is_unsealed(content: bytes) -> bool:
    """Tell whether a record is a JSON object without a checksum: versions before FORMAT 3 wrote such."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and _SEAL not in value


def _seal_of(name: str, value: Mapping[str, Any]) -> str:
    _, units, unit = f"/{name}".rpartition(f"/{UNITS}/")
    bound = unit if units else unit.rpartition("/")[2]
    return xxhash.xxh3_64_hexdigest(f"{bound}\n{json.dumps(value, sort_keys=True)}".encode())
