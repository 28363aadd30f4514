"""The rows of a source file: the columns that have a role, and what the others hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.documents.columns import resolve_columns, taken_by
from operators.documents.sources import SourceFile
from operators.errors import InputError, listed


@dataclass(frozen=True)
class Rows:
    """Some rows of a file: the columns that have a role, and for each row what the other columns that are kept hold."""

    size: int
    names: Sequence[str]  # of all columns, also those that are left out
    roles: Mapping[str, str]  # role -> column
    columns: Mapping[str, pa.Array | list[Any]]  # of JSON: Python's values
    others: Sequence[Mapping[str, Any]]  # empty where no other column is kept


def roles_of(file: SourceFile, names: list[str]) -> dict[str, str]:
    """Return role -> column for a file that is a table.

    Raises:
        InputError: two columns have one name, or a needed column is not there.
    """
    if len(set(names)) < len(names):
        raise InputError(f"{file.uri}: two columns have one name. Its columns are {listed(names)}.")
    return resolve_columns(file, names)


def rows_of_table(file: SourceFile, names: list[str], table: pa.Table, first_row: int) -> Rows:
    """Return the rows of a table that was read from a file.

    Args:
        file: which one.
        names: of all its columns; the table may have fewer.
        table: some of its rows.
        first_row: how many rows stand before them, for messages.

    Raises:
        InputError: as `roles_of` does, or a value cannot be kept as metadata.
    """
    roles = roles_of(file, names)
    columns = {name: _plain(table.column(name).combine_chunks()) for name in roles.values()}
    others: dict[str, Sequence[Any]] = {
        name: _values(f"{file.uri}, from row {first_row + 1}, column {name!r}", table.column(name))
        for name in kept_columns(file, names, roles)
    }
    rows = [dict(zip(others, values, strict=True)) for values in zip(*others.values(), strict=True)]
    return Rows(table.num_rows, names, roles, columns, rows)


def _plain(column: pa.Array) -> pa.Array:
    """Return a column as a plain array: without an encoding or an extension around it."""
    if isinstance(column.type, pa.BaseExtensionType):
        is_uuid = column.type.extension_name == "arrow.uuid"
        column = pa.array(map(_uuid, column.to_pylist()), pa.string()) if is_uuid else column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return pc.run_end_decode(column) if pa.types.is_run_end_encoded(column.type) else column


def _uuid(value: object) -> str | None:
    return None if value is None else str(value)


def _values(place: str, column: pa.ChunkedArray) -> Sequence[Any]:
    """Return Python's values of a column; as text where Python has none, such as for years after 9999."""
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError, LookupError):
        try:
            values = column.cast(pa.string()).to_pylist()
        except pa.ArrowException as error:
            raise InputError(f"{place}: {column.type} cannot be kept as metadata. Write it as text.") from error
    return values


def kept_columns(file: SourceFile, names: Sequence[str], roles: Mapping[str, str]) -> list[str]:
    """Return the columns that become metadata."""
    taken = taken_by(roles)
    return [name for name in names if name not in taken and (file.metadata == "all" or name in file.metadata)]
