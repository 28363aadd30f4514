"""Say in one line what is wrong with a configuration: the file and the key, or the option that set it."""

from collections.abc import Sequence

from pydantic import BaseModel, ValidationError

from operators.errors import one_line
from operators.settings_errors import what_is_wrong

_LONGEST_KEY = 80
_LONGEST_PATH = 120


def explained(error: ValidationError, model: type[BaseModel], path: str, settings: Sequence[str]) -> str:
    """Return what is wrong.

    Args:
        error: of validating the configuration.
        model: of the configuration.
        path: of its file.
        settings: the keys that were set on the command line.

    Raises:
        InputError: a value carries a credential; it is not repeated.
    """

    def place(key: str) -> str:
        name = one_line(key, _LONGEST_KEY)
        return f"--set {name}" if key in settings else f"{one_line(path, _LONGEST_PATH)}: {name}".rstrip(": ")

    return what_is_wrong(error, model, place)
