"""Take the files of each format apart into rows: JSON lines, Parquet, CSV and TSV."""

import io
import json
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from operators.documents.columns import resolve_columns, row_that_fails
from operators.documents.delimited import csv_rows, tsv_rows
from operators.documents.open import DAMAGE, damaged, opened
from operators.documents.rows import Rows, kept_columns, roles_of, rows_of_table
from operators.documents.sources import SourceFile
from operators.errors import InputError, shown

ROWS_AT_ONCE = 8192


def rows_of(file: SourceFile) -> Iterator[Rows]:
    """Yield the rows of one file, some at a time and never none. A file that is empty has no rows.

    Raises:
        InputError: the file cannot be opened or is damaged, a row does not parse, or a needed column is missing.
    """
    with opened(file) as stream:
        yield from rows_in(file, stream)


def rows_in(file: SourceFile, stream: IO[bytes]) -> Iterator[Rows]:
    """Yield the rows in the bytes of a file without compression, as `rows_of` does.

    Raises:
        InputError: as `rows_of` does; what Arrow raises for bytes that make no sense stays as it is.
    """
    read = {"jsonl": _json_rows, "parquet": _parquet_rows, "csv": csv_rows, "tsv": tsv_rows}[file.format]
    yield from read(file, stream)


def _json_rows(file: SourceFile, stream: IO[bytes]) -> Iterator[Rows]:
    # Arrow's own JSON reader would make a struct field of every key it meets in a nested object, and names no row.
    rows: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    for number, line in enumerate(stream, start=1):
        content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not content.strip():
            continue
        row = _object(f"{file.uri}, line {number}", content)
        rows.append(row)
        names.update(dict.fromkeys(row))
        if len(rows) == ROWS_AT_ONCE:
            yield _of_objects(file, rows, list(names))
            rows = []
    if rows:
        yield _of_objects(file, rows, list(names))


def _object(place: str, line: bytes) -> dict[str, Any]:
    try:
        row = _DECODER.decode(line.decode().rstrip("\r\n"))
        if b"\\ud" in line or b"\\uD" in line:  # a surrogate that has no partner is no character
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place}: the byte 0x{line[error.start]:02x} is not UTF-8. Write the file as UTF-8."
        ) from error
    except UnicodeEncodeError as error:
        raise InputError(f"{place}: the escape {shown(error.object[error.start])} is half a character.") from error
    except RecursionError as error:
        raise InputError(f"{place}: lists or objects are nested too deeply. Make it flat.") from error
    except json.JSONDecodeError as error:  # it knows of one line only
        raise InputError(f"{place}: not valid JSON ({error.msg}: column {error.colno}).") from error
    except ValueError as error:
        raise InputError(f"{place}: not valid JSON ({error}).") from error
    if not isinstance(row, dict):
        raise InputError(f"{place}: a JSON object is wanted, one a line.")
    return row


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {shown(next(name for name in names if names.count(name) > 1))} stands there twice")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_once_each)


def _of_objects(file: SourceFile, rows: list[dict[str, Any]], names: list[str]) -> Rows:
    roles = resolve_columns(file, names)
    columns = {name: [row.get(name) for row in rows] for name in roles.values()}
    kept = set(kept_columns(file, names, roles))
    others = [{name: value for name, value in row.items() if name in kept} for row in rows] if kept else []
    return Rows(len(rows), names, roles, columns, others)


def _parquet_rows(file: SourceFile, stream: IO[bytes]) -> Iterator[Rows]:
    if not stream.seek(0, io.SEEK_END):
        return
    parquet = pq.ParquetFile(stream, page_checksum_verification=True)
    first_row, expected = 0, parquet.metadata.num_rows
    names = parquet.schema_arrow.names
    roles = roles_of(file, names) if expected else {}
    wanted = {*roles.values(), *kept_columns(file, names, roles)}
    # A struct a{b} and a column "a.b" are the same to Arrow here: what comes as well is left out later.
    batches = parquet.iter_batches(ROWS_AT_ONCE, columns=None if len(wanted) == len(names) else sorted(wanted))
    while True:
        try:
            batch = next(batches, None)
        except DAMAGE as error:
            raise damaged(file, error, first_row) from error
        if batch is None:
            break
        if batch.num_rows:
            yield rows_of_table(file, names, _valid(file, pa.Table.from_batches([batch]), first_row), first_row)
        first_row += batch.num_rows
    if first_row != expected:
        raise InputError(f"{file.uri}: {first_row} rows were found where its footer says {expected}: it is damaged.")


def _valid(file: SourceFile, table: pa.Table, first_row: int) -> pa.Table:
    """Check what Arrow takes from a file as it is: that text is UTF-8, and that lists lie within their values."""
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        for name, column in zip(table.column_names, table.columns, strict=True):
            row = row_that_fails(column, lambda one: one.validate(full=True))
            if row is not None:
                place = f"{file.uri}, row {first_row + row + 1}, column {name!r}"
                raise InputError(f"{place}: {error}. Write the file again, its texts as UTF-8.") from error
        raise
    return table
