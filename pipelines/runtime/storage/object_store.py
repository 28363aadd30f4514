"""What object stores need: files in parts, files that only one caller may create, times under many names."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import IO, Any

# What is sent to an object store in one request, and kept in memory until then; longer files go in parts.
ONE_REQUEST = 16 << 20

# Under which key each of fsspec's file systems tells when a file was written.
_WRITTEN = ("mtime", "LastModified", "last_modified", "updated", "created")
# What S3 says where a file is there already, or is being written by another.
_CONFLICTS = {"PreconditionFailed", "ConditionalRequestConflict"}


def send(fs: Any, path: str, content: IO[bytes], size: int) -> None:  # noqa: ANN401 - fsspec is untyped
    """Send a file of `size` bytes; it is there when it is complete. One that breaks leaves no parts."""
    if size <= ONE_REQUEST:
        fs.pipe_file(path, content.read())
        return
    stream = fs.open(path, "wb", block_size=ONE_REQUEST)
    try:
        shutil.copyfileobj(content, stream, ONE_REQUEST)
        stream.close()
    except BaseException:
        with suppress(Exception):  # the error before this one is reported
            stream.discard()
        stream.closed = True  # so that its end does not complete what was sent
        raise


def create_there(fs: Any, path: str, content: bytes) -> bool:  # noqa: ANN401 - fsspec is untyped
    """Write a file unless there is one of that name; tell whether this call wrote it. One of many callers does."""
    try:
        fs.pipe_file(path, content, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        response = getattr(error.__cause__, "response", {})
        if response.get("Error", {}).get("Code") in _CONFLICTS:
            return False
        raise
    return True


def written_at(info: Mapping[str, Any]) -> float:
    """Return when a file was written, in seconds, from what its file system knows of it."""
    written = next(info[key] for key in _WRITTEN if info.get(key) is not None)
    return float(written.timestamp() if isinstance(written, datetime) else written)
