"""What the machine refuses is one line; what is our fault is a traceback."""

import errno
import os

import pytest

from operators.errors import InputError, TransientError
from pipelines.runtime.errors import BusyError, StorageError
from pipelines.runtime.exit_status import end_of


def raised_from(cause: BaseException) -> Exception:
    try:
        raise RuntimeError("a worker failed") from cause
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "said", "status"),
    [
        (InputError("run: wrong"), "run: wrong", 2),
        (BusyError("another"), "another", 3),
        (StorageError("gone"), "gone", 1),
        (TransientError("later"), "later", 1),
        (OSError(errno.ENOSPC, "x", "/disk/file"), "No space left on device ('/disk/file')", 1),
        (PermissionError(errno.EACCES, "x", "/disk/" + "f" * 5000), "Permission denied ('/disk/", 1),
        (OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left"), "No space left", 1),
        (raised_from(OSError(errno.EROFS, "x")), "Read-only file system", 1),
        (MemoryError(), "too little memory", 1),
        (BrokenPipeError(errno.EPIPE, "x"), "", 1),
    ],
)
def test_a_failure_that_is_not_ours_is_a_line_and_a_status(error: Exception, said: str, status: int) -> None:
    ending = end_of(error)
    assert ending is not None
    assert ending[0].startswith(said)
    assert ending[1] == status


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        AssertionError(),
        RecursionError(),
        RuntimeError("the engine lost 3 units"),
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "part"),
        ValueError("bad"),
        raised_from(IndexError("3")),
    ],
)
def test_a_fault_of_the_program_stays_a_traceback(error: Exception) -> None:
    assert end_of(error) is None
