"""Tell a model that cannot be used, until the user changes something, from a failure that may pass."""

import errno
import re
from collections.abc import Iterator

from operators.errors import InputError, TransientError

# Of devices and memory, of network file systems, of networks.
_PASSING = {
    *(errno.EIO, errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.EBUSY, errno.EINTR, errno.ENOSPC),
    *(errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EDQUOT, errno.EPIPE),
    *(errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    *(errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH),
}
# By name: the libraries that have them are loaded where a model is, and not before.
_PASSING_CLASSES = {"OutOfMemoryError", "TransportError", "RequestException"}
_PASSING_TEXTS = (
    *("out of memory", "allocate memory", "alloc_failed", "start new thread"),
    *("cuda error", "cudnn_status", "cublas_status"),
)
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # as libraries that are written in Rust tell one
_NEVER_PASSING_TEXTS = ("device-side assert", "illegal memory access")
_PASSING_STATUS = {408, 425, 429}


def failure(error: BaseException, what: str, remedy: str) -> InputError | TransientError:
    """Return what to raise for a failure of a model: `<what>: <error>. <remedy>` in one line.

    Args:
        error: what was raised.
        what: what could not be done, with the key.
        remedy: what the user can do where the failure does not pass by itself.
    """
    message = f"{what}: {type(error).__name__}: {error}".rstrip(". ")
    if may_pass(error):
        return TransientError(f"{message}. This may pass: the same command goes on from there.")
    return InputError(f"{message}. {remedy}")


def may_pass(error: BaseException) -> bool:
    """Tell whether an error, or one that it came from, is too little memory, or a storage or network that failed."""
    chain = list(_chain(error))
    if any(type(one).__name__ == "OfflineModeIsEnabled" for one in chain):  # the user's own setting
        return False
    return any(_may_pass(one) for one in chain)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, (TransientError, MemoryError, ConnectionError, TimeoutError)):
        return True
    if isinstance(error, OSError) and error.errno in _PASSING:
        return True
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return status in _PASSING_STATUS or status >= 500
    if _PASSING_CLASSES & {cls.__name__ for cls in type(error).__mro__}:
        return True
    text = str(error).lower()
    if any(part in text for part in _NEVER_PASSING_TEXTS):
        return False
    of_system = _OS_ERROR.search(text)
    return any(part in text for part in _PASSING_TEXTS) or (of_system is not None and int(of_system[1]) in _PASSING)
