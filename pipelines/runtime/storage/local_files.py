"""Files of the local file system: written whole or not at all, and known again."""

import errno
import io
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from operators.errors import InputError
from pipelines.runtime.storage.records import Record, RecordedWriter, record_of

# Hashes of the states of files that this process wrote, or has compared with their checksum.
_CHECKED: set[int] = set()


@contextmanager
def unfinished_file(path: str) -> Iterator[Path]:
    """Give another name for a file while it is written; it takes its own when the block ends.

    Raises:
        InputError: a folder is in its place, or a file in the place of its folder.
    """
    unfinished = Path(f"{path}.{uuid.uuid4().hex}.unfinished")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        yield unfinished
        os.replace(unfinished, path)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise _in_the_way(path) from error
    finally:
        with suppress(NotADirectoryError):
            unfinished.unlink(missing_ok=True)


def _in_the_way(path: str) -> InputError:
    above = (part for part in reversed(Path(path).parents) if _is_obstacle(part))
    place = next(above, Path(path))
    what = "a folder" if place.is_dir() else "a file"
    return InputError(f"{place}: {what} is where hardneg writes {path}. Move or delete it.")


def _is_obstacle(place: Path) -> bool:
    """Tell by one look, as folders may come and go, whether there is something else than a folder."""
    try:
        return not stat.S_ISDIR(os.stat(place).st_mode)
    except NotADirectoryError:  # something above it is one
        return False
    except FileNotFoundError:
        return place.is_symlink()


def written_to(path: Path, write: Callable[[IO[bytes]], object], name: str) -> dict[str, Any]:
    """Write a file by a function that takes a stream; return its record, with `name` for its path."""
    with RecordedWriter(io.FileIO(path, "wb")) as stream:
        write(stream)
    return stream.record(name)


def written_by(path: Path, write: Callable[[Path], object], name: str) -> dict[str, Any]:
    """Write a file by a function that takes its path; return its record, with `name` for its path."""
    write(path)
    with path.open("rb") as written:
        return record_of(name, written)


def size_of(path: str) -> int | None:
    """Return the size of a file in bytes; None where there is none."""
    try:
        state = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return state.st_size if stat.S_ISREG(state.st_mode) else None


def remember_checked(path: str, record: Record) -> None:
    """Remember that a file, as it is now, is what its record says."""
    _CHECKED.add(_state_of(path, record))


def is_remembered(path: str, record: Record) -> bool:
    """Tell whether a file was found to be what its record says, and has not been written since."""
    return _state_of(path, record) in _CHECKED


def _state_of(path: str, record: Record) -> int:
    state = os.stat(path)
    return hash((path, state.st_ino, state.st_size, state.st_mtime_ns, record["xxh3"]))


def create_here(path: str, content: bytes) -> bool:
    """Write a file unless there is one of that name; tell whether this call wrote it."""
    unfinished = Path(f"{path}.{uuid.uuid4().hex}.unfinished")
    try:
        while not unfinished.exists():
            try:
                os.makedirs(unfinished.parent, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                if any(map(_is_obstacle, unfinished.parents)):
                    raise _in_the_way(path) from error
                continue  # another removed the folder between two looks at it
            with suppress(FileNotFoundError):  # another removed the folder while it was empty
                unfinished.write_bytes(content)
        os.link(unfinished, path)  # with its content at once, and only if there is nothing of that name
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}:
            raise
        return _create_without_links(path, content)
    finally:
        with suppress(NotADirectoryError):
            unfinished.unlink(missing_ok=True)
    return True


def _create_without_links(path: str, content: bytes) -> bool:
    try:
        with open(path, "xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def is_checked(path: Path, record: Record) -> bool:
    """Tell whether a file is what its record says. The checksum is compared once in a process."""
    if size_of(str(path)) != record["bytes"]:
        return False
    if not is_remembered(str(path), record):
        with path.open("rb") as content:
            if record_of(record["path"], content)["xxh3"] != record["xxh3"]:
                return False
        remember_checked(str(path), record)
    return True
