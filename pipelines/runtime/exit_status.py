"""How a command ends that did not do its work: one line and an exit status, or a traceback where it is our fault."""

import errno
import os
import re
from collections.abc import Iterator

from operators.errors import InputError, TransientError, shown
from pipelines.runtime.errors import BusyError, LostLeaseError, StorageError
from pipelines.runtime.storage.records import DamagedError

# Exit status of what trying again may mend, of refused input, and of a run directory at which another run works.
FAILED, REFUSED, BUSY = 1, 2, 3
INTERRUPTED = ("interrupted. What was done is kept: the same command goes on from there.", 130)

# What the machine refuses, however right the program is. A file that is missing is none of these: it may be a fault.
_NAMES = (
    ("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "EIO", "ENOMEM", "EMFILE", "ENFILE", "EAGAIN", "ESTALE"),
    ("ENXIO", "EBUSY", "ENODEV", "ENOTCONN", "ETIMEDOUT", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED"),
    ("EHOSTUNREACH", "ENETUNREACH", "ENETDOWN", "ENAMETOOLONG", "ELOOP"),
)
_OF_THE_MACHINE = frozenset(getattr(errno, name) for names in _NAMES for name in names)
_NUMBER = re.compile(r"\[errno (\d+)\]", re.IGNORECASE)
_KEPT = "What was done is kept: the same command goes on from there"


def end_of(error: Exception) -> tuple[str, int] | None:
    """Return the line and the exit status that an error ends with; None for one that is a fault of the program."""
    if isinstance(error, InputError):
        return str(error), REFUSED
    if isinstance(error, BusyError):
        return str(error), BUSY
    if isinstance(error, DamagedError | LostLeaseError | StorageError | TransientError):
        return str(error), FAILED
    said = getattr(error, "format_message", None)
    if said is not None:  # of the command line: an option that is not there, an argument that is missing
        return f"{said()} `hardneg --help` lists the commands, `hardneg COMMAND --help` their options.", REFUSED
    if type(error).__name__ == "Abort":
        return INTERRUPTED
    return _of_the_machine(error)


def _of_the_machine(error: BaseException) -> tuple[str, int] | None:
    """Return the line for a failure of the machine that any error in the chain tells of."""
    for one in _chain(error):
        if isinstance(one, BrokenPipeError):  # whoever read our output has enough
            return "", FAILED
        if isinstance(one, MemoryError):
            return f"too little memory. Lower engine.memory_budget or engine.workers. {_KEPT}.", FAILED
        if not isinstance(one, OSError):
            continue
        numbers = [one.errno, *map(int, _NUMBER.findall(str(one)))]  # pyarrow has it in its text alone
        number = next((number for number in numbers if number in _OF_THE_MACHINE), None)
        if number is not None:
            place = f" ({shown(one.filename, 150)})" if one.filename else ""
            return f"{os.strerror(number)}{place}. {_KEPT} once this is mended.", FAILED
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from; Ray keeps that in `cause`."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        cause = getattr(one, "cause", None)
        one = cause if isinstance(cause, BaseException) else one.__cause__ or one.__context__
