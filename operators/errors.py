"""The one error that bad input raises: it names the place and the way out."""

from collections.abc import Sequence

NAMED_AT_MOST = 5


class InputError(ValueError):
    """Input or configuration that cannot be worked on.

    The message is for the person who gave the input: it names the file, the row or the key, and what to do. Programs
    that meet it stop before they have written any output.
    """


def listed(names: Sequence[str]) -> str:
    """Name the first few of what is wrong, for a message that has to stay short."""
    more = ", ..." if len(names) > NAMED_AT_MOST else ""
    return ", ".join(map(repr, names[:NAMED_AT_MOST])) + more
