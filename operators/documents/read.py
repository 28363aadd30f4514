"""Read files of any format into batches of documents, queries, judgements or pairs, with errors that name the row."""

from collections.abc import Iterator

import pyarrow as pa

from operators.documents.columns import column_of
from operators.documents.given_vectors import vectors_of
from operators.documents.metadata import metadata_of
from operators.documents.parse import rows_of
from operators.documents.rows import Rows
from operators.documents.sources import SourceFile, check_unchanged
from operators.errors import InputError


def read(file: SourceFile) -> Iterator[pa.Table]:
    """Yield the rows of one file as tables with one column per role, and `metadata` (the title and what has no role).

    Ids, texts and labels come as strings, scores as float32, vectors as fixed-size lists of float32, metadata as a
    JSON object or null. Optional roles that the file does not have are left out. No table is empty.

    Raises:
        InputError: a file of another format or that is damaged, a missing column, a row that does not parse, a missing
            id, a list where a text belongs, and vectors of unequal length or with values that are not finite. The
            message names the file and the row: the first is 1, and neither the header nor blank lines count.
        TransientError: the file was changed in the meantime.
    """
    first_row = 0
    dimension: int | None = None
    for rows in rows_of(file):
        columns = columns_of(file, rows, first_row, dimension)
        dimension = columns["vector"].type.list_size if "vector" in columns else None
        place = f"{file.uri}, from row {first_row + 1}"
        metadata = metadata_of(place, rows.others) if rows.others else pa.nulls(rows.size, pa.string())
        yield pa.table({**columns, "metadata": metadata})
        first_row += rows.size
    check_unchanged(file)


def columns_of(file: SourceFile, rows: Rows, first_row: int = 0, dimension: int | None = None) -> dict[str, pa.Array]:
    """Return the columns of the roles, as `read` does.

    Args:
        file: where the rows are from.
        rows: some of them.
        first_row: how many come before these.
        dimension: of the vectors that come before these; None where there are none.

    Raises:
        InputError: values of another kind than the role needs, or values that are missing.
    """
    columns = {}
    for role, name in rows.roles.items():
        if role == "vector":
            columns[role] = vectors_of(file, rows.columns[name], dimension, first_row)
        else:
            columns[role] = column_of(file, rows.columns[name], role, name, first_row)
    if "positive_id" in rows.roles and pa.types.is_list(columns["positive"].type):
        raise InputError(
            f"{file.uri}: column {rows.roles['positive']!r} holds lists, so {rows.roles['positive_id']!r} cannot "
            f"name each positive. Spread the lists over rows, or leave the ids out."
        )
    return columns
