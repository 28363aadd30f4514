"""Open source files: decompress them, notice when they are cut short or damaged, and tell damage from a bad storage."""

import bz2
import io
import lzma
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Literal

import pyarrow as pa

from operators.documents.sources import SourceFile
from operators.errors import InputError, TransientError
from operators.storage import open_uri

BLOCK = 1 << 20

# What Arrow, zipfile and lzma raise for bytes that make no sense. Arrow's I/O errors are OSError.
DAMAGE = (pa.ArrowException, OSError, EOFError, UnicodeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@contextmanager
def opened(file: SourceFile) -> Iterator[IO[bytes]]:
    """Open one file of a source: its bytes without compression. Those of a Parquet file can be sought in.

    Raises:
        InputError: the file is not there or may not be read, its compression is damaged or cut short, or what reads
            its bytes raises one of DAMAGE. What the storage itself raises while it is read stays as it is.
        TransientError: too little memory.
    """
    with _storage(file) as raw:
        try:
            with io.BufferedReader(raw, BLOCK) as packed, _unpacked(file, packed) as stream:
                yield stream
        except MemoryError as error:
            raise TransientError(f"{file.uri}: too little memory to read it ({error}).") from error
        except (InputError, *DAMAGE) as error:
            if raw.failure is not None:
                raise raw.failure from error
            if isinstance(error, InputError):
                raise
            raise damaged(file, error) from error


def damaged(file: SourceFile, error: Exception, after: int = 0) -> InputError:
    """Return the refusal of a file whose bytes make no sense, after so many rows that did."""
    where = f" after row {after}" if after else ""
    return InputError(
        f"{file.uri}: cannot be read as {file.format}{where} ({error}). "
        f"Is the file complete, and are its name and {file.section}.{file.kind}.format right?"
    )


class _Storage(io.RawIOBase):
    """The bytes of a file as the storage has them; it keeps what the storage raised."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - fsspec is untyped
        self.stream = stream
        self.failure: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self.stream.seekable())

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any buffer
        try:
            found = self.stream.read(len(buffer))
        except Exception as error:  # libraries below fsspec share no class of errors
            self.failure = error
            raise
        buffer[: len(found)] = found
        return len(found)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self.stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self.stream.tell())


@contextmanager
def _storage(file: SourceFile) -> Iterator[_Storage]:
    fs, path = open_uri(file.uri, file.storage_options)
    # Else a remote file system reads tens of megabytes ahead, also where the next bytes wanted are elsewhere.
    ahead = {"block_size": BLOCK} if _is_sought_in(file) else {}
    try:
        stream = fs.open(path, "rb", **ahead)
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        what = error.strerror or type(error).__name__
        raise InputError(
            f"{file.uri}: the file cannot be opened ({what}). Check the path and who may read it."
        ) from error
    with stream:
        yield _Storage(stream)


def compression_of(file: SourceFile) -> str | None:
    """Return the ending of a compressed file, one of UNPACKERS, or None of another file."""
    ending = file.uri.rpartition("/")[2].lower().rpartition(".")[2]
    return ending if ending in UNPACKERS else None


def _is_sought_in(file: SourceFile) -> bool:
    compression = compression_of(file)
    return compression == "zip" or (file.format == "parquet" and compression is None)


@contextmanager
def _unpacked(file: SourceFile, packed: Any) -> Iterator[IO[bytes]]:  # noqa: ANN401 - any buffered reader
    ending = compression_of(file)
    unpack = UNPACKERS[ending] if ending is not None and packed.peek(1) else None  # nothing is nothing compressed
    if unpack is None:
        yield _text(file, packed) if file.format != "parquet" else packed
        return
    with unpack(packed) as stream:
        if file.format != "parquet":
            yield _text(file, io.BufferedReader(stream, BLOCK))
            return
        with tempfile.TemporaryFile() as seekable:  # the footer of a Parquet file is read first
            shutil.copyfileobj(stream, seekable, BLOCK)
            seekable.seek(0)
            yield seekable


def _text(file: SourceFile, stream: Any) -> IO[bytes]:  # noqa: ANN401 - any buffered reader
    if stream.peek(2)[:2] in _UTF16:
        raise InputError(f"{file.uri}: the file is UTF-16, and UTF-8 is wanted. Write it again as UTF-8.")
    text: IO[bytes] = stream
    return text


# Of Python's own readers, those of bz2 and xz pass over bytes after the first stream that are no second one, and that
# of zstd takes the end of the file for the end of a frame. Arrow's takes no empty stream of bz2.
def _with_arrow(codec: Literal["gzip", "zstd", "lz4"]) -> Callable[[IO[bytes]], Any]:
    return lambda packed: pa.CompressedInputStream(packed, codec)


class _Blocks(io.RawIOBase):
    """Blocks of bytes as one stream."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.blocks, self.left = blocks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any buffer
        self.left = self.left or next(filter(None, self.blocks), b"")
        found, self.left = self.left[: len(buffer)], self.left[len(buffer) :]
        buffer[: len(found)] = found
        return len(found)


def _streams(new: Callable[[], Any], padding: bytes) -> Callable[[IO[bytes]], io.RawIOBase]:
    """Return how to read what is one compressed stream or several, with `padding` between and after them."""

    def blocks(packed: IO[bytes]) -> Iterator[bytes]:
        decompressor: Any = None
        left, streams = b"", 0
        while block := left or packed.read(BLOCK):
            left = b""
            if decompressor is None:
                block = block.lstrip(padding) if streams else block
                if not block:
                    continue
                decompressor, streams = new(), streams + 1
            yield decompressor.decompress(block, BLOCK)
            while not (decompressor.eof or decompressor.needs_input):
                yield decompressor.decompress(b"", BLOCK)
            if decompressor.eof:
                left, decompressor = decompressor.unused_data, None
        if decompressor is not None:
            raise EOFError("the compressed stream is cut short")

    return lambda packed: _Blocks(blocks(packed))


def _unzipped(packed: IO[bytes]) -> IO[bytes]:
    try:
        archive = zipfile.ZipFile(packed)
        names = [one for one in archive.namelist() if not one.endswith("/") and not one.startswith("__MACOSX/")]
        if len(names) != 1:
            raise zipfile.BadZipFile(f"the archive holds {len(names)} files, and one is wanted")
        return archive.open(names[0])
    except (ValueError, RuntimeError, LookupError, OverflowError, struct.error) as error:
        raise zipfile.BadZipFile(f"the archive cannot be opened: {error}") from error


UNPACKERS: Mapping[str, Callable[[IO[bytes]], Any]] = {
    "gz": _with_arrow("gzip"),
    "bz2": _streams(bz2.BZ2Decompressor, b""),
    "zst": _with_arrow("zstd"),
    "lz4": _with_arrow("lz4"),
    "xz": _streams(lzma.LZMADecompressor, b"\0"),
    "lzma": _streams(lzma.LZMADecompressor, b"\0"),
    "zip": _unzipped,
}
