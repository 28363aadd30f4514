"""Read files of any format into batches of documents, queries, judgements or pairs, with errors that name the row."""

import gzip
import json
import lzma
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from operators.documents.sources import CONVENTIONS, OPTIONAL, SourceFile
from operators.errors import InputError
from operators.schemas import vectors_column
from operators.storage import open_uri

ROWS_AT_ONCE = 8192
LONGEST_ROW = 1 << 24  # bytes, of CSV and TSV

_IDS = {"doc_id", "query_id", "positive_id"}
_LISTS = {"positive", "negative"}  # of pairs: a list is as many pairs


@dataclass(frozen=True)
class _Rows:
    """Some rows of a file: the columns that have a role, and for each row what the other columns hold."""

    roles: Mapping[str, str]  # role -> column
    columns: pa.Table
    others: list[dict[str, Any]]


def read(file: SourceFile) -> Iterator[pa.Table]:
    """Yield the rows of one file as tables with one column per role, and `metadata` (the title and what has no role).

    Ids, texts and labels come as strings, scores as float32, vectors as fixed-size lists of float32, metadata as a
    JSON object or null. Optional roles that the file does not have are left out.

    Raises:
        InputError: a file of another format, a missing column, a row that does not parse, a missing id, a list where a
            text belongs, and vectors of unequal length or with values that are not finite. The message names the file
            and the row.
    """
    first_row = 0
    dimension: int | None = None
    for rows in _rows(file):
        names = rows.roles.items()
        table = pa.table({role: _column(file, rows.columns, role, name, first_row) for role, name in names})
        if "vector" in rows.roles:
            table, dimension = _with_vectors(file, table, dimension, first_row)
        if "positive_id" in rows.roles and pa.types.is_list(table.schema.field("positive").type):
            raise InputError(
                f"{file.uri}: column {rows.roles['positive']!r} holds lists, so {rows.roles['positive_id']!r} cannot "
                f"name each positive. Spread the lists over rows, or leave the ids out."
            )
        yield table.append_column("metadata", _metadata(rows.others))
        first_row += table.num_rows


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


def _rows(file: SourceFile) -> Iterator[_Rows]:
    try:
        fs, path = open_uri(file.uri, file.storage_options)
        with fs.open(path, "rb", compression="infer") as stream:
            if file.format == "jsonl":
                yield from _json_rows(file, stream)
            elif file.format == "parquet":
                for batch in pq.ParquetFile(stream).iter_batches(ROWS_AT_ONCE):
                    yield _of_table(file, pa.Table.from_batches([batch]))
            else:
                yield from _separated_rows(file, stream)
    except (pa.ArrowInvalid, EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise InputError(
            f"{file.uri}: cannot be read as {file.format} ({error}). "
            f"Is the file complete, and are its name and data.{file.kind}.format right?"
        ) from error


def _json_rows(file: SourceFile, stream: Any) -> Iterator[_Rows]:  # noqa: ANN401 - fsspec is untyped
    # Arrow's own JSON reader would make a struct field of every key it meets in a nested object, and names no row.
    rows: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    first_line = 1
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
            yield _of_objects(file, rows, list(names), first_line)
            rows, first_line = [], number + 1
    if rows:
        yield _of_objects(file, rows, list(names), first_line)


def _of_objects(file: SourceFile, rows: list[dict[str, Any]], names: list[str], first_line: int) -> _Rows:
    roles = resolve_columns(file, names)
    columns = {}
    for name in roles.values():
        values = [row.get(name) for row in rows]
        try:
            columns[name] = _array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise InputError(
                f"{file.uri}, from line {first_line}: column {name!r} holds values of several kinds ({error})."
            ) from error
    taken = _taken(roles)
    others = [{name: value for name, value in row.items() if name not in taken} for row in rows]
    return _Rows(roles, pa.table(columns), others)


def _array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        if not all(isinstance(value, str | int | None) for value in values):
            raise
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _separated_rows(file: SourceFile, stream: Any) -> Iterator[_Rows]:  # noqa: ANN401 - fsspec is untyped
    tabs = file.format == "tsv"
    try:
        reader = pa.csv.open_csv(
            stream,
            read_options=pa.csv.ReadOptions(block_size=LONGEST_ROW),
            # Types are guessed from the first block alone: ids that look like numbers there would fail later. And of
            # what Arrow takes for null, "NA" and "nan" are words.
            convert_options=pa.csv.ConvertOptions(
                default_column_type=pa.string(), strings_can_be_null=True, null_values=[""]
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter="\t" if tabs else ",", quote_char=False if tabs else '"', newlines_in_values=not tabs
            ),
        )
        for batch in reader:
            yield _of_table(file, pa.Table.from_batches([batch]))
    except pa.ArrowInvalid as error:
        raise InputError(f"{file.uri}: {error}. A header line is wanted, and the same columns in each row.") from error


def _of_table(file: SourceFile, table: pa.Table) -> _Rows:
    names = table.column_names
    if len(set(names)) < len(names):
        raise InputError(f"{file.uri}: two columns have one name. Its columns are {', '.join(names)}.")
    roles = resolve_columns(file, names)
    taken = _taken(roles)
    others = table.select([name for name in names if name not in taken])
    return _Rows(roles, table, others.to_pylist() if others.num_columns else [{}] * table.num_rows)


def _taken(roles: Mapping[str, str]) -> set[str]:
    # The title becomes a part of the text; metadata keeps it apart.
    return {name for role, name in roles.items() if role != "title"}


def _column(file: SourceFile, raw: pa.Table, role: str, name: str, first_row: int) -> pa.Array:
    column = raw.column(name).combine_chunks()
    if role == "vector":
        return column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_list(column.type) and role in _LISTS:
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
    column = column.cast(pa.string())
    if role in _IDS or role in {"query", "positive"}:
        _refuse_missing(file, column, role, name, first_row)
    return column


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _refuse_missing(file: SourceFile, column: pa.Array, role: str, name: str, first_row: int) -> None:
    missing = pc.is_null(column)
    if role in _IDS:
        missing = pc.or_kleene(missing, pc.equal(column, ""))
    row = pc.index(missing, pa.scalar(True)).as_py()
    if row >= 0:
        raise InputError(f"{file.uri}, row {first_row + row + 1}: no {role} (column {name!r}). Give every row one.")


def _scores(file: SourceFile, column: pa.Array, name: str, first_row: int) -> pa.Array:
    try:
        scores = column.cast(pa.float32())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{file.uri}, from row {first_row + 1}: column {name!r} is no number ({error}).") from error
    broken = np.flatnonzero(~np.isfinite(scores.to_numpy(zero_copy_only=False)))
    if len(broken):
        raise InputError(
            f"{file.uri}, row {first_row + broken[0] + 1}: column {name!r} has a score that is missing or not finite."
        )
    return scores


def _with_vectors(
    file: SourceFile, table: pa.Table, dimension: int | None, first_row: int
) -> tuple[pa.Table, int | None]:
    column = table.column("vector").combine_chunks()
    place = f"{file.uri}, column {file.columns['vector']!r}"
    if not _is_list(column.type):
        raise InputError(f"{place}: vectors are wanted as lists of numbers, and it holds {column.type}.")
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    if not len(lengths):
        return table, dimension
    dimension = int(lengths[0]) if dimension is None else dimension
    wrong = np.flatnonzero((lengths != dimension) | (lengths == 0))
    if len(wrong):
        raise InputError(
            f"{place}, row {first_row + wrong[0] + 1}: a vector of {lengths[wrong[0]]} values among vectors of "
            f"{dimension}. All vectors of a corpus and its queries have the same length, and every row has one."
        )
    try:
        values = column.flatten().cast(pa.float32())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{place}, from row {first_row + 1}: a vector is no list of numbers ({error}).") from error
    matrix = values.to_numpy(zero_copy_only=False).reshape(-1, dimension)
    broken = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(broken):
        raise InputError(f"{place}, row {first_row + broken[0] + 1}: the vector has a value that is not finite.")
    return table.set_column(table.schema.get_field_index("vector"), "vector", vectors_column(matrix)), dimension


def _metadata(others: list[dict[str, Any]]) -> pa.Array:
    kept = map(_filled, others)
    return pa.array([json.dumps(row, ensure_ascii=False, default=str) if row else None for row in kept], pa.string())


def _filled(row: dict[str, Any]) -> dict[str, Any]:
    row = {name: value for name, value in row.items() if not _is_missing(value)}
    nested = row.get("metadata")  # BEIR keeps its extra columns under this name already
    if not isinstance(nested, dict) or nested.keys() & row.keys():
        return row
    del row["metadata"]
    return row | {name: value for name, value in nested.items() if not _is_missing(value)}


def _is_missing(value: object) -> bool:
    return value in (None, "", {}, []) or (isinstance(value, float) and math.isnan(value))
