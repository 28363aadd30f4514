"""Read files of any format into batches of documents, queries, judgements or pairs, with errors that name the row."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from operators.documents.sources import CONVENTIONS, OPTIONAL, SourceFile
from operators.errors import InputError
from operators.schemas import vectors_column

ROWS_AT_ONCE = 8192

_IDS = {"doc_id", "query_id", "positive_id"}
_LISTS = {"positive", "negative"}  # of pairs: a list is as many pairs
_AS_JSON = {b"as": b"json"}  # marks a column that was turned into JSON text


def read(file: SourceFile) -> Iterator[pa.Table]:
    """Yield the rows of one file as tables with one column per role, and `metadata` (the other columns, as JSON).

    Ids, texts and labels come as strings, scores as float32, vectors as fixed-size lists of float32. Optional roles
    that the file does not have are left out.

    Raises:
        InputError: a missing column, a row that does not parse, a null id or text, a list where a text belongs, and
            vectors of unequal length or with values that are not finite. The message names the file and the row.
    """
    first_row = 0
    dimension: int | None = None
    for raw in _raw_tables(file):
        roles = resolve_columns(file, raw.column_names)
        table = pa.table({role: _column(file, raw, role, name, first_row) for role, name in roles.items()})
        if "vector" in roles:
            table, dimension = _with_vectors(file, table, dimension, first_row)
        yield table.append_column("metadata", _metadata(raw, set(roles.values())))
        first_row += raw.num_rows


def check(file: SourceFile) -> None:
    """Read the first rows of a file, so that a wrong column is found before the long work starts.

    Raises:
        InputError: as `read` does.
    """
    if next(read(file), None) is None:
        raise InputError(f"{file.uri}: the file has no rows.")


def resolve_columns(file: SourceFile, names: list[str]) -> dict[str, str]:
    """Return role -> column name for a file with these columns.

    Raises:
        InputError: a column that the configuration names, or that is needed, is not there.
    """
    resolved: dict[str, str] = {}
    needed: Mapping[str, tuple[str, ...]] = CONVENTIONS[file.kind]
    for role, usual in {**needed, **OPTIONAL[file.kind]}.items():
        wanted = file.columns.get(role)
        found = next((name for name in ([wanted] if wanted else usual) if name in names), None)
        if found is not None:
            resolved[role] = found
        elif wanted or role in needed:
            looked_for = repr(wanted) if wanted else " or ".join(map(repr, usual))
            raise InputError(
                f"{file.uri}: no column {looked_for} for the {role}. Its columns are {', '.join(names)}. "
                f"Name the right one in data.{file.kind}.columns.{role}."
            )
    return resolved


def _raw_tables(file: SourceFile) -> Iterator[pa.Table]:
    opened = fsspec.open(file.uri, "rb", compression="infer", **file.storage_options)
    with opened as stream:
        if file.format == "jsonl":
            yield from _json_tables(file, stream)
        elif file.format == "parquet":
            for batch in pq.ParquetFile(stream).iter_batches(ROWS_AT_ONCE):
                yield pa.Table.from_batches([batch])
        else:
            yield from _separated_tables(file, stream)


def _json_tables(file: SourceFile, stream: Any) -> Iterator[pa.Table]:  # noqa: ANN401 - fsspec is untyped
    # Arrow's own JSON reader would make a struct field of every key it meets in a nested object, and names no row.
    rows: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{file.uri}, line {number}: not valid JSON ({error}).") from error
        if not isinstance(row, dict):
            raise InputError(f"{file.uri}, line {number}: a JSON object is wanted, one a line.")
        rows.append(row)
        names.update(dict.fromkeys(row))
        if len(rows) == ROWS_AT_ONCE:
            yield _from_objects(rows, list(names))
            rows = []
    if rows:
        yield _from_objects(rows, list(names))


def _from_objects(rows: list[dict[str, Any]], names: list[str]) -> pa.Table:
    columns = {name: _loose_array([row.get(name) for row in rows]) for name in names}
    fields = [
        pa.field(name, array.type, metadata=_AS_JSON if as_json else None) for name, (array, as_json) in columns.items()
    ]
    return pa.table([array for array, _ in columns.values()], schema=pa.schema(fields))


def _loose_array(values: list[Any]) -> tuple[pa.Array, bool]:
    # What does not fit one Arrow type travels as JSON text: it can only be metadata.
    if not any(isinstance(value, dict) for value in values):
        try:
            return pa.array(values), False
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            if all(isinstance(value, str | int | None) for value in values):
                return pa.array([None if value is None else str(value) for value in values], pa.string()), False
    return pa.array([None if value is None else json.dumps(value) for value in values], pa.string()), True


def _separated_tables(file: SourceFile, stream: Any) -> Iterator[pa.Table]:  # noqa: ANN401 - fsspec is untyped
    tabs = file.format == "tsv"
    try:
        reader = pa.csv.open_csv(
            stream,
            # Types are guessed from the first block alone: ids that look like numbers there would fail later.
            convert_options=pa.csv.ConvertOptions(default_column_type=pa.string(), strings_can_be_null=True),
            parse_options=pa.csv.ParseOptions(
                delimiter="\t" if tabs else ",", quote_char=False if tabs else '"', newlines_in_values=not tabs
            ),
        )
        for batch in reader:
            yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        raise InputError(f"{file.uri}: {error}. A header line is wanted, and the same columns in each row.") from error


def _column(file: SourceFile, raw: pa.Table, role: str, name: str, first_row: int) -> pa.Array:
    column = raw.column(name).combine_chunks()
    if role == "vector":
        return column
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if is_list and role in _LISTS:
        return column.cast(pa.list_(pa.string()))
    if pa.types.is_nested(column.type):
        raise InputError(
            f"{file.uri}: column {name!r} holds {column.type} where the {role} needs one value per row. "
            f"Name another column in data.{file.kind}.columns.{role}, or spread the lists over rows."
        )
    if role == "score":
        return _scores(file, column, name, first_row)
    if role not in _IDS and not (_is_text(column.type) or pa.types.is_null(column.type)) and role != "label":
        raise InputError(f"{file.uri}: column {name!r} holds {column.type} where the {role} needs text.")
    if role in _IDS or role in CONVENTIONS[file.kind]:
        _refuse_nulls(file, column, role, name, first_row)
    return column.cast(pa.string())


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _refuse_nulls(file: SourceFile, column: pa.Array, role: str, name: str, first_row: int) -> None:
    if column.null_count and (role in _IDS or role in {"query", "positive"}):
        row = first_row + int(pc.index(pc.is_null(column), pa.scalar(True)).as_py()) + 1
        raise InputError(f"{file.uri}, row {row}: no {role} (column {name!r}). Give every row one.")


def _scores(file: SourceFile, column: pa.Array, name: str, first_row: int) -> pa.Array:
    try:
        scores = column.cast(pa.float32())
    except pa.ArrowInvalid as error:
        raise InputError(f"{file.uri}, from row {first_row + 1}: column {name!r} is no number ({error}).") from error
    if scores.null_count or not np.isfinite(scores.to_numpy(zero_copy_only=False)).all():
        raise InputError(
            f"{file.uri}, from row {first_row + 1}: column {name!r} has a score that is missing or not finite."
        )
    return scores


def _with_vectors(
    file: SourceFile, table: pa.Table, dimension: int | None, first_row: int
) -> tuple[pa.Table, int | None]:
    column = table.column("vector").combine_chunks()
    place = f"{file.uri}, column {file.columns['vector']!r}"
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise InputError(f"{place}: vectors are wanted as lists of numbers, and it holds {kind}.")
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    if not len(lengths):
        return table, dimension
    dimension = int(lengths[0]) if dimension is None else dimension
    wrong = np.flatnonzero((lengths != dimension) | (lengths == 0))
    if len(wrong):
        raise InputError(
            f"{place}, row {first_row + wrong[0] + 1}: a vector of {lengths[wrong[0]]} values among vectors of "
            f"{dimension}. All vectors of a corpus and its queries have the same length."
        )
    matrix = column.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False).reshape(-1, dimension)
    broken = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(broken):
        raise InputError(f"{place}, row {first_row + broken[0] + 1}: the vector has a value that is not finite.")
    return table.set_column(table.schema.get_field_index("vector"), "vector", vectors_column(matrix)), dimension


def _metadata(raw: pa.Table, taken: set[str]) -> pa.Array:
    extra = raw.select([name for name in raw.column_names if name not in taken or name == "title"])
    if not extra.num_columns:
        return pa.nulls(raw.num_rows, pa.string())
    as_json = [field.name for field in extra.schema if field.metadata == _AS_JSON]
    kept = [_filled(row, as_json) for row in extra.to_pylist()]
    return pa.array([json.dumps(row, ensure_ascii=False, default=str) if row else None for row in kept], pa.string())


def _filled(row: dict[str, Any], as_json: list[str]) -> dict[str, Any]:
    row.update({name: json.loads(row[name]) for name in as_json if row[name] is not None})
    nested = row.pop("metadata", None)  # BEIR keeps its extra columns under this name already
    row.update(nested if isinstance(nested, dict) else {} if nested is None else {"metadata": nested})
    return {name: value for name, value in row.items() if value not in (None, "", {}, [])}
