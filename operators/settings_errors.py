"""Say what is wrong with a section of the configuration: the key, what was found, and what would be right."""

import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from operators.errors import LONGEST_MESSAGE, did_you_mean, one_line, shown
from operators.storage import refuse_credentials

# What stands under this key may be secret: no message repeats it.
OPTIONS = "storage_options"
_LONGEST_OF_MANY = 300
_WANTED = "Input should be "
# What pydantic says behind that.
_OUR_WORDS = {
    "^greater than or equal to ": "a number of at least ",
    "^less than or equal to ": "a number of at most ",
    "^greater than ": "a number above ",
    "^less than ": "a number below ",
    "^a valid integer.*": "an integer",
    "^a valid number.*": "a number",
    "^a valid string.*": "a text",
    "^a valid (list|tuple).*": "a list",
    "^a valid dictionary.*": "a mapping",
}


def what_is_wrong(error: ValidationError, model: type[BaseModel], place: Callable[[str], str]) -> str:
    """Return what is wrong: the first key, those after it while they fit into a message, and how many more there are.

    Args:
        error: of validating a section.
        model: of the section.
        place: how a message names a key of the section, such as `index.factory`, or the section itself: "".

    Raises:
        InputError: a value carries a credential; it is not repeated.
    """
    by_key: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for one in error.errors(include_url=False, include_context=False):
        # A list whose items are all wrong is said to be too short, too.
        if one["type"] != "too_short" or not one["input"]:
            by_key.setdefault(_key(one, model), []).append(one)
    longest = LONGEST_MESSAGE if len(by_key) == 1 else _LONGEST_OF_MANY
    lines = [one_line(_explain(key, found, model, place), longest) for key, found in by_key.items()]
    said = lines[0]
    for number, line in enumerate(lines[1:], start=1):
        rest = len(lines) - number
        if len(said) + len(line) + 30 > LONGEST_MESSAGE:
            return f"{said} {rest} more {'key is' if rest == 1 else 'keys are'} wrong."
        said = f"{said} {line}"
    return said


def _key(error: ErrorDetails, model: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys that lead to what is wrong, without what pydantic puts between them (members of unions)."""
    steps: list[str] = []
    kind: Any = model
    for step in error["loc"]:
        inside = _models_in(kind)
        if inside:
            steps.append(str(step))
            fields = inside[0].model_fields
            kind = fields[str(step)].annotation if step in fields else None
        elif isinstance(step, int):
            steps.append(str(step))
        elif step != "[key]" and any(get_origin(one) is dict for one in _members(kind)):
            steps.append(str(step))
            kind = _kind_of_values(kind)
    return tuple(steps)


def _explain(
    key: tuple[str, ...], found: Sequence[ErrorDetails], model: type[BaseModel], place: Callable[[str], str]
) -> str:
    source, error = place(".".join(key)), found[0]
    if error["type"] == "extra_forbidden":
        keys = _keys_beside(key, model)
        return f"{source}: there is no such key.{did_you_mean(key[-1], keys, 0.5)} The keys here are {', '.join(keys)}."
    if error["type"] == "missing":
        return f"{source}: this key is missing."
    message, value = _message(found, key, model), error["input"]
    if isinstance(value, str):  # it is repeated below
        refuse_credentials(".".join(key), value)
    # A name stands for a whole section, and what is said of the section begins with it.
    named = isinstance(value, str) and (message.startswith(f"{value}: ") or shown(value) in message)
    given = "" if named or isinstance(value, Mapping) or OPTIONS in key else f" It is {shown(value)}."
    return f"{source}: {message.rstrip('.')}.{given}"


def _message(found: Sequence[ErrorDetails], key: tuple[str, ...], model: type[BaseModel]) -> str:
    error = found[0]
    if error["type"] in {"model_type", "model_attributes_type"}:
        return f"a mapping of keys is wanted: {', '.join(_keys_beside((*key, ''), model))}"
    if error["type"] == "too_short" and not error["input"]:
        return "it is empty: at least one entry is wanted"
    said = [one["msg"].removeprefix("Value error, ") for one in found]
    wanted = [one.removeprefix(_WANTED) for one in said if one.startswith(_WANTED)]
    if len(wanted) < len(said):
        return " or ".join(dict.fromkeys(said))
    return f"{' or '.join(dict.fromkeys(map(_in_our_words, wanted)))} is wanted"


def _in_our_words(wanted: str) -> str:
    for theirs, ours in _OUR_WORDS.items():
        wanted = re.sub(theirs, ours, wanted)
    return wanted


def _keys_beside(key: Sequence[str], model: type[BaseModel]) -> list[str]:
    kind: Any = model
    for step in key[:-1]:
        inside = _models_in(kind)
        if inside:
            model = inside[0]
            kind = model.model_fields[step].annotation if step in model.model_fields else None
        else:
            kind = _kind_of_values(kind)
    return list((_models_in(kind) or [model])[0].model_fields)


def _kind_of_values(annotation: Any) -> Any:  # noqa: ANN401 - a type
    """Return the type of the values of a dictionary; None for every other type."""
    return next((get_args(one)[1] for one in _members(annotation) if get_origin(one) is dict), None)


def _members(annotation: Any) -> Sequence[Any]:  # noqa: ANN401 - a type
    return get_args(annotation) if get_origin(annotation) in {Union, types.UnionType} else (annotation,)


def _models_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - a type
    return [one for one in _members(annotation) if isinstance(one, type) and issubclass(one, BaseModel)]
