"""Numbers that are compared exactly: integers of more than 53 bits beside numbers with a fraction.

A number is the float64 nearest to it and what it is more than that. Rounding keeps order, so numbers compare as their
floats do, and where these are equal as the rest. Both are written as bytes that compare as the numbers do.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.settings import LARGEST_INTEGER

# The bits of a float64 and of an int64, the highest byte first.
EXACT = pa.binary(16)
# From it on an integer may be no float64.
FIRST_INEXACT = 2.0**53
FIRST_UNSIGNED = 2.0**63
LARGEST_UNSIGNED = 2**64 - 1

_SIGN = np.uint64(1 << 63)
Values = TypeVar("Values", pa.Array, pa.Scalar)
Floats = npt.NDArray[np.float64]


def whole(value: object) -> object:
    """Return a float without a fraction as an int, where 64 bits hold it: 2.0 is the number 2, and -0.0 is 0."""
    if isinstance(value, float) and value.is_integer() and _fits(value):
        return int(value)
    return value


def numbers_of(values: Sequence[int | float | None]) -> pa.Array:
    """Return numbers as a column, of int64 or float64 where these hold them all, else EXACT.

    Raises:
        ValueError: an integer does not fit into 64 bits and is no float64; its text is the message.
    """
    plain = [whole(value) for value in values]
    if all(value is None or (isinstance(value, int) and _fits(value)) for value in plain):
        return pa.array(plain, pa.int64())
    floats, rest = np.zeros(len(plain)), np.zeros(len(plain), dtype=np.int64)
    for place, value in enumerate(values):
        if value is not None:
            floats[place], rest[place] = _float_and_rest(value)
    missing = np.array([value is None for value in plain], dtype=np.bool_)
    return _joined(floats, rest, missing) if rest.any() else pa.array(floats, mask=missing)


def as_exact(values: Values) -> Values:
    """Return a column of int64, float64 or EXACT, or a scalar, as EXACT."""
    if isinstance(values, pa.Scalar):
        return as_exact(pa.array([values.as_py()], values.type))[0]
    if values.type == EXACT:
        return values
    missing = values.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(values.type):
        floats = values.fill_null(0).to_numpy(zero_copy_only=False)
        return _joined(floats, np.zeros(len(values), dtype=np.int64), missing)
    integers = values.fill_null(0).to_numpy(zero_copy_only=False)
    floats = integers.astype(np.float64)
    # 2**63 is no int64; -2**63 is the same modulo 2**64, and so is the difference.
    near = np.where(floats < FIRST_UNSIGNED, floats, -FIRST_UNSIGNED).astype(np.int64)
    with np.errstate(over="ignore"):
        return _joined(floats, integers - near, missing)


def as_floats(values: pa.Array) -> Floats:
    """Return the float64 nearest to each number, not a number where there is none: shape (n,)."""
    if values.type != EXACT:
        return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    return np.where(values.is_null().to_numpy(zero_copy_only=False), np.nan, _split(values)[0])


def python_values(values: pa.Array) -> list[object]:
    """Return the values of a column; numbers that are whole are integers, whatever the type of the column."""
    if values.type != EXACT:
        return [whole(value) for value in values.to_pylist()]
    numbers = zip(*(part.tolist() for part in _split(values)), values.is_valid().to_pylist(), strict=True)
    return [None if not known else int(near) + more if more else whole(near) for near, more, known in numbers]


def _fits(number: float) -> bool:
    return -LARGEST_INTEGER - 1 <= number <= LARGEST_INTEGER


def _float_and_rest(value: int | float) -> tuple[float, int]:
    if isinstance(value, float):
        return value, 0
    if not -LARGEST_INTEGER - 1 <= value <= LARGEST_UNSIGNED and not _is_float(value):
        raise ValueError(str(value))
    return float(value), value - int(float(value))


def _is_float(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _joined(floats: Floats, rest: npt.NDArray[np.int64], missing: npt.NDArray[np.bool_]) -> pa.Array:
    bits = (floats + 0.0).view(np.uint64)  # -0.0 is 0
    bits = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    both = np.column_stack([bits, rest.view(np.uint64) ^ _SIGN]).astype(">u8")
    column = pa.FixedSizeBinaryArray.from_buffers(EXACT, len(floats), [None, pa.py_buffer(both.tobytes())])
    return pc.if_else(pa.array(missing), pa.scalar(None, EXACT), column) if missing.any() else column


def _split(values: pa.Array) -> tuple[Floats, npt.NDArray[np.int64]]:
    both = np.frombuffer(b"".join(values.fill_null(bytes(16)).to_pylist()), dtype=">u8").reshape(-1, 2)
    bits, rest = (both[:, place].astype(np.uint64) for place in (0, 1))
    return np.where(bits & _SIGN, bits ^ _SIGN, ~bits).view(np.float64), (rest ^ _SIGN).view(np.int64)
