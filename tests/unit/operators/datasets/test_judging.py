"""The file that people judge: what is written as CSV is read back as it was."""

import csv
from io import StringIO

import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.datasets.judging import TO_FILL, csv_of, to_judge, with_queries
from operators.schemas import QUERIES, TEXTS

PAIRS = pa.schema(
    {
        "query_key": pa.int64(),
        "doc_key": pa.int64(),
        "depth": pa.int64(),
        "value": pa.float32(),
        "reasons": pa.list_(pa.string()),
        "rank": pa.int32(),
    }
)
# Without half characters and zero bytes, which no source may have.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30) | st.sampled_from(
    ['a "quoted" word', "two\nlines", "a\r\nb", "one, two; three", "", " ", "=1+1", "NA", "null", "0012"]
)


def tables(texts: list[tuple[str, str]]) -> tuple[pa.Table, pa.Table, pa.Table]:
    numbers = range(len(texts))
    queries = [
        {"query_id": f"q{n}", "text": query, "metadata": None, "query_key": n, "text_key": n}
        for n, (query, _) in enumerate(texts)
    ]
    documents = [
        {"doc_key": 100 + n, "doc_id": f"0{n}", "text": document, "metadata": None}
        for n, (_, document) in enumerate(texts)
    ]
    pairs = [
        {"query_key": n, "doc_key": 100 + n, "depth": n, "value": 1 / (1 + n), "reasons": ["a", "b"], "rank": None}
        for n in reversed(numbers)
    ]
    return (
        pa.Table.from_pylist(pairs, PAIRS),
        pa.Table.from_pylist(queries, QUERIES),
        pa.Table.from_pylist(documents, TEXTS),
    )


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_texts_and_ids_are_read_back_whatever_is_in_them(texts: list[tuple[str, str]]) -> None:
    pairs, queries, documents = tables(texts)
    table = to_judge(with_queries(pairs, queries), documents)
    assert table.column_names == [*TO_FILL, "value", "reasons", "rank"]
    written = csv_of(table)
    rows = list(csv.DictReader(StringIO(written.decode("utf-8-sig"), newline="")))
    assert [(row["query"], row["document"]) for row in rows] == texts[::-1]
    assert [(row["query_id"], row["document_id"]) for row in rows] == [
        (f"q{n}", f"0{n}") for n in reversed(range(len(texts)))
    ]
    assert {row["relevant"] for row in rows} <= {""}
    assert {row["reasons"] for row in rows} <= {"a; b"}
    assert [row["rank"] for row in rows] == [""] * len(rows)
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    types = pa.csv.ConvertOptions(column_types={name: table.schema.field(name).type for name in TO_FILL})
    again = pa.csv.read_csv(pa.BufferReader(written), parse_options=parse, convert_options=types)
    assert again.column_names == table.column_names


def test_a_document_without_text_is_refused() -> None:
    pairs, queries, documents = tables([("a", "b"), ("c", "d")])
    with pytest.raises(LookupError):
        to_judge(with_queries(pairs, queries), documents.slice(0, 1))
