"""What every part of the configuration shares: which values are refused whatever the key."""

import re
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

# Counts stay within 32 bits: rows of a shard, ranks and depths are such numbers in FAISS.
LARGEST_COUNT = 2**31 - 1
LARGEST_INTEGER = 2**63 - 1
LARGEST_FLOAT = 3.4e38
LONGEST_PATH = 2048
LONGEST_NAME_IN_PATH = 200
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


class Settings(BaseModel):
    """One section of the configuration: frozen, without unknown keys.

    Numbers are finite and fit into 64 bits (32 where they have a fraction); true and false are no numbers, and numbers
    are neither true nor false; texts hold no zero byte and no half of a character.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_of_its_kind(cls, value: object, info: ValidationInfo) -> object:
        wanted = set(_types_in(cls.model_fields[str(info.field_name)].annotation))
        if isinstance(value, bool) and not wanted & {bool, Any}:
            raise ValueError("true and false are no value for this key")
        if bool in wanted and not isinstance(value, bool):
            raise ValueError("true or false is wanted")
        inside = any(isinstance(one, type) and issubclass(one, BaseModel) for one in wanted)
        return value if inside else _checked(value)

    @field_validator("*")
    @classmethod
    def _fits(cls, value: object) -> object:
        return _checked(value)  # again: a text may have become a number


def _checked(value: object) -> object:
    for one in _values_in(value):
        if isinstance(one, int | float) and not isinstance(one, bool):
            _check_size(one)
        elif isinstance(one, str) and _NOT_TEXT.search(one):
            raise ValueError("the text holds a zero byte or half a character")
    return value


def _check_size(number: float) -> None:
    if isinstance(number, int) and not -LARGEST_INTEGER - 1 <= number <= LARGEST_INTEGER:
        raise ValueError("the number does not fit into 64 bits")
    if isinstance(number, float) and abs(number) > LARGEST_FLOAT:  # so is infinity; pydantic refuses NaN
        raise ValueError("the number is not finite in 32 bits")


def _values_in(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from _values_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _values_in(inner)
    else:
        yield value


def _types_in(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - a type
    if get_origin(annotation) in {Union, types.UnionType}:
        for one in get_args(annotation):
            yield from _types_in(one)
    else:
        yield annotation


def check_place(value: str) -> str:
    """Check that a text can be the path or URI of a file or folder.

    Raises:
        ValueError: it is blank or too long.
    """
    if not value.strip():
        raise ValueError("a path or URI is wanted, and the text is blank")
    if len(value.encode()) > LONGEST_PATH or any(
        len(name.encode()) > LONGEST_NAME_IN_PATH for name in value.replace("::", "/").split("/")
    ):
        raise ValueError(
            f"the path is too long: {LONGEST_PATH:,} bytes in all and {LONGEST_NAME_IN_PATH} between two slashes"
        )
    return value


AtLeastOne = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
AtLeastZero = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Place = Annotated[str, AfterValidator(check_place)]
