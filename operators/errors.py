"""The errors that end a run with one clear line: refused input, and failures that may pass when tried again."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

NAMED_AT_MOST = 5
LONGEST_MESSAGE = 400
LONGEST_VALUE = 80
LONGEST_NAME = 40
# Of a message that is too long the middle goes: the place stands at its beginning, the remedy at its end.
_KEPT_AT_END = 150
_CUT = " ... "
_PART_OF_A_WORD = 20
# Similarity takes long of long names.
_COMPARED = 100
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e\xa1-\ud7ff\uf900-\ufffc\U00010000-\U0010ffff]")


class InputError(ValueError):
    """Input or configuration that cannot be worked on, until the user changes it. Exit status 2.

    The message names the file, the row or the key, what was found there, and what to do. It is made one line of at
    most 400 printable characters. Programs that meet it stop before they have written any output.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class TransientError(RuntimeError):
    """A failure that may pass when the same command is tried again, such as too little memory. Exit status 1."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


@contextmanager
def placed(place: str) -> Iterator[None]:
    """Put a place before what is said of an input that is refused, or of a failure that may pass."""
    try:
        yield
    except (InputError, TransientError) as error:
        if not place:
            raise
        raise type(error)(f"{place}{error}") from error


def one_line(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Return a text as one line of printable characters, without its middle where it is longer than `longest`."""
    line = _NOT_PRINTABLE.sub(_escaped, " ".join(text.split()))
    if len(line) <= longest:
        return line
    end = min(_KEPT_AT_END, longest // 3)
    before, behind = line[: longest - end - len(_CUT)], line[-end:]
    return _without_last_part(before) + _CUT + _without_last_part(behind[::-1])[::-1]


def _without_last_part(text: str) -> str:
    """Cut a text at its last space, if that is near its end: a path has none for long."""
    kept = text.rpartition(" ")[0]
    return kept if len(text) - len(kept) <= min(_PART_OF_A_WORD, len(text) // 4) else text


def shown(value: object, longest: int = LONGEST_VALUE) -> str:
    """Return a value as it stands in a message: its `repr`, cut where it is long."""
    return one_line(repr(value), longest)


def listed(names: Sequence[object]) -> str:
    """Name the first few of what is wrong, for a message that has to stay short."""
    more = ", ..." if len(names) > NAMED_AT_MOST else ""
    return ", ".join(shown(name, LONGEST_NAME) for name in names[:NAMED_AT_MOST]) + more


def did_you_mean(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ` Did you mean 'this'?` with the most similar of some names, or nothing where none is similar.

    Args:
        name: what was given.
        names: what there is.
        cutoff: how similar it must be, from 0 to 1, as `difflib` counts.
    """
    near = difflib.get_close_matches(name[:_COMPARED], names, n=1, cutoff=cutoff)
    return f" Did you mean {shown(near[0], LONGEST_NAME)}?" if near else ""


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")
