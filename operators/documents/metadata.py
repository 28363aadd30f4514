"""Keep the columns that have no role as one JSON object a row, and bring together those of rows that are one query."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.errors import InputError


def metadata_of(place: str, others: Sequence[Mapping[str, Any]]) -> pa.Array:
    """Return JSON objects (strings), null for rows where nothing is left.

    Values that are missing (null, NaN, empty) are left out. JSON has no other values: within lists and objects NaN
    becomes null, an infinite number "Infinity" or "-Infinity", bytes their text or else hexadecimal digits, and dates,
    decimals and the like their text.

    Raises:
        InputError: objects nested too deeply. The message begins with `place`.
    """
    kept = map(_filled, others)
    try:
        return pa.array([_json(row) if row else None for row in kept], pa.string())
    except RecursionError as error:
        raise InputError(f"{place}: lists or objects are nested too deeply. Make them flat.") from error


def with_merged_metadata(queries: pa.Table, first: npt.NDArray[np.int64]) -> pa.Table:
    """Keep the first row of each query, with the metadata of all its rows.

    A key that has one value in all rows of a query keeps it; any other key gets the list of its different values, in
    the order of the rows, with null for rows without it.

    Args:
        queries: has `metadata`; several rows may be of one query.
        first: for each row, the first row of its query: shape (rows,).
    """
    metadata = queries.column("metadata").combine_chunks()
    codes = pc.fill_null(pc.index_in(metadata, pc.unique(metadata)), -1).to_numpy(zero_copy_only=False)
    differ = np.unique(first[codes != codes[first]])
    values = metadata.take(pa.array(np.unique(first))).to_pylist()
    rows = np.flatnonzero(np.isin(first, differ))
    rows = rows[np.argsort(first[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(first[rows], prepend=-1))
    places = np.searchsorted(np.unique(first), differ)
    for place, several in zip(places, np.split(rows, starts[1:]), strict=False):
        values[place] = merged(metadata.take(pa.array(several)).to_pylist())
    kept = queries.take(pa.array(np.unique(first)))
    return kept.set_column(kept.schema.get_field_index("metadata"), "metadata", pa.array(values, pa.string()))


def merged(metadata: Sequence[str | None]) -> str | None:
    """Bring the metadata of the rows of one query together, as `with_merged_metadata` does."""
    rows: list[dict[str, Any]] = [{} if one is None else json.loads(one) for one in metadata]
    together = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = {json.dumps(row.get(name), sort_keys=True): row.get(name) for row in rows}
        together[name] = next(iter(values.values())) if len(values) == 1 else list(values.values())
    return _ENCODER.encode(together) if together else None


def _json(row: dict[str, Any]) -> str:
    try:
        return _ENCODER.encode(row)
    except (TypeError, ValueError):
        return _ENCODER.encode(_finite(row))


def _finite(value: Any) -> Any:  # noqa: ANN401 - any value of JSON
    if isinstance(value, np.floating):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {_key(name): _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def _key(name: object) -> str:
    return name if isinstance(name, str) else str(_as_json(name))


def _as_json(value: object) -> object:
    """Return what stands in JSON for a value that it does not know."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    return _finite(value.item()) if isinstance(value, np.generic) else str(value)


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_as_json)


def _filled(row: Mapping[str, Any]) -> dict[str, Any]:
    filled = {name: value for name, value in row.items() if not _is_missing(value)}
    nested = filled.get("metadata")  # BEIR keeps its extra columns under this name already
    if not isinstance(nested, dict) or nested.keys() & filled.keys():
        return filled
    del filled["metadata"]
    return filled | {name: value for name, value in nested.items() if not _is_missing(value)}


def _is_missing(value: object) -> bool:
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    return value is None or (isinstance(value, str | dict | list) and not value)
