"""Take vectors that come with their texts: one length, finite values, one a row."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.documents.columns import row_that_fails
from operators.documents.sources import SourceFile
from operators.errors import InputError, shown
from operators.schemas import vectors_column


def vectors_of(
    file: SourceFile, raw: pa.Array | list[Any], dimension: int | None, first_row: int
) -> pa.FixedSizeListArray:
    """Return a column of vectors as fixed-size lists of float32.

    Args:
        file: where it is from, for messages.
        raw: the column; of JSON, a list of Python's values.
        dimension: of the vectors in the rows before; None where there are none.
        first_row: how many rows of the file come before it.

    Raises:
        InputError: a row without a vector, with one of another length, or with a value that is no finite number.
    """
    place = f"{file.uri}, column {file.columns['vector']!r}"
    column = _lists(place, raw, first_row)
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    dimension = int(lengths[0]) if dimension is None else dimension
    wrong = np.flatnonzero((lengths != dimension) | (lengths == 0))
    if len(wrong):
        raise InputError(
            f"{place}, row {first_row + wrong[0] + 1}: a vector of {lengths[wrong[0]]} values among vectors of "
            f"{dimension}. Give every row of the corpus and of the queries a vector of the same length."
        )
    try:
        values = column.flatten().cast(pa.float32())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row = row_that_fails(column, lambda one: one.flatten().cast(pa.float32())) or 0
        raise InputError(
            f"{place}, row {first_row + row + 1}: the vector is no list of numbers of float32 ({error})."
        ) from error
    matrix = values.to_numpy(zero_copy_only=False).reshape(-1, dimension)
    broken = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(broken):
        raise InputError(
            f"{place}, row {first_row + broken[0] + 1}: the vector has a value that is not finite in float32. "
            f"Correct it, or leave the row out."
        )
    return vectors_column(matrix)


def _lists(place: str, raw: pa.Array | list[Any], first_row: int) -> pa.Array:
    if isinstance(raw, list):
        row = next((i for i, one in enumerate(raw) if one is not None and not _is_vector(one)), None)
        if row is not None:
            raise InputError(
                f"{place}, row {first_row + row + 1}: a vector is a list of numbers, and this is {shown(raw[row])}."
            )
        return pa.array(raw, pa.list_(pa.float64()))
    kind = raw.type
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        raw = raw.cast(pa.large_list(kind.value_type))
    elif not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise InputError(f"{place}: vectors are wanted as lists of numbers, and it holds {shown(str(kind))[1:-1]}.")
    return raw


def _is_vector(value: object) -> bool:
    return isinstance(value, list) and all(one is None or type(one) in (int, float) for one in value)
