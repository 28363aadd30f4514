"""Suspected false negatives with their texts, as people judge them: a table, and the same as CSV."""

from io import BytesIO

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from operators.datasets.layout import known
from operators.schemas import to_numpy
from operators.segments import first_index

# Spreadsheets read a file that begins with this mark as UTF-8, and another in the encoding of the machine.
BYTE_ORDER_MARK = "\ufeff".encode()
SEPARATOR = "; "

# The first columns, and their types; signals follow.
TO_FILL = {
    "query": pa.string(),
    "document": pa.string(),
    "relevant": pa.int8(),  # null: to be filled in
    "query_id": pa.string(),
    "document_id": pa.string(),
}
# Columns of pairs that people need not see.
INSIDE = ("query_key", "doc_key", "depth")


def with_queries(pairs: pa.Table, queries: pa.Table) -> pa.Table:
    """Append the ids and the texts of queries to pairs, as `query_id` and `query`.

    Args:
        pairs: has `query_key`.
        queries: schema QUERIES, all that the pairs name.
    """
    taken = queries.take(pa.array(known(first_index(to_numpy(queries, "query_key"), to_numpy(pairs, "query_key")))))
    return pairs.append_column("query_id", taken.column("query_id")).append_column("query", taken.column("text"))


def to_judge(pairs: pa.Table, texts: pa.Table) -> pa.Table:
    """Return pairs as they are judged: the columns of TO_FILL, then all that is known of each pair.

    Args:
        pairs: of `with_queries`.
        texts: schema TEXTS, all documents that the pairs name.
    """
    taken = texts.take(pa.array(known(first_index(to_numpy(texts, "doc_key"), to_numpy(pairs, "doc_key")))))
    given = {
        "query": pairs.column("query"),
        "document": taken.column("text"),
        "relevant": pa.nulls(pairs.num_rows),
        "query_id": pairs.column("query_id"),
        "document_id": taken.column("doc_id"),
    }
    first = {name: given[name].cast(kind) for name, kind in TO_FILL.items()}
    others = [name for name in pairs.column_names if name not in {*TO_FILL, *INSIDE}]
    return pa.table({**first, **{name: pairs.column(name) for name in others}})


def csv_of(table: pa.Table) -> bytes:
    """Write a table as CSV in UTF-8, with a mark that spreadsheets know it by; lists are joined to one text."""
    for number, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            joined = pc.binary_join(table.column(number), SEPARATOR)
            table = table.set_column(number, field.name, joined)
    sink = BytesIO(BYTE_ORDER_MARK)
    sink.seek(len(BYTE_ORDER_MARK))
    csv.write_csv(table, sink)
    return sink.getvalue()
