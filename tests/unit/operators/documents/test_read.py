"""Read: every format says the same, and nothing is lost."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.documents.parse import ROWS_AT_ONCE
from operators.documents.read import read
from tests.unit.operators.documents.files import (
    DOCUMENTS,
    WRITERS,
    Row,
    as_jsonl,
    as_parquet,
    file_of,
    metadata_of,
    read_all,
    refusal_of,
    rows_of,
)

FORMATS = pytest.mark.parametrize("name", sorted(WRITERS))


@FORMATS
def test_every_format_reads_the_same_documents(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WRITERS[name](DOCUMENTS))
    table = read_all(tmp_path / name)
    assert table.schema == pa.schema(dict.fromkeys(("doc_id", "text", "title", "metadata"), pa.string()))
    assert [(row["doc_id"], row["title"], row["text"]) for row in table.to_pylist()] == [
        (row["_id"], row["title"], row["text"]) for row in DOCUMENTS
    ]
    assert metadata_of(tmp_path / name) == [
        {"title": "NA", "lang": "en"},
        {"title": "nan", "lang": "null", "note": "x"},
        {"note": "None"},
    ]


@FORMATS
def test_every_format_reads_the_same_judgements(tmp_path: Path, name: str) -> None:
    rows: list[Row] = [
        {"query-id": 1, "corpus-id": 31715818, "score": 1},
        {"query-id": 2, "corpus-id": 7, "score": 0},
        {"query-id": 10, "corpus-id": 8, "score": 2},
    ]
    (tmp_path / name).write_bytes(WRITERS[name](rows))
    table = read_all(tmp_path / name, "judgements")
    assert table.schema.field("score").type == pa.float32()
    assert table.select(["query_id", "doc_id", "score"]).to_pylist() == [
        {"query_id": str(row["query-id"]), "doc_id": str(row["corpus-id"]), "score": row["score"]} for row in rows
    ]


CELLS = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12)


@settings(max_examples=25)
@given(st.lists(st.fixed_dictionaries({"id": CELLS, "text": CELLS, "extra": CELLS}), min_size=1, max_size=8))
def test_any_text_survives_every_format(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    folder = tmp_path_factory.mktemp("formats")
    for name, write in WRITERS.items():
        (folder / name).write_bytes(write(rows))
        found = rows_of(folder / name)
        assert [(row["doc_id"], row["text"]) for row in found] == [(row["id"], row["text"]) for row in rows]
        assert [json.loads(row["metadata"]) for row in found] == [{"extra": row["extra"]} for row in rows]


def test_csv_cells_may_hold_line_breaks(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(
        WRITERS["x.csv"]([{"id": "1", "text": "one\ntwo,\r\nthree"}, {"id": "2", "text": "x"}])
    )
    assert [row["text"] for row in rows_of(tmp_path / "x.csv")] == ["one\ntwo,\r\nthree", "x"]


def test_quotes_in_tsv_are_text(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(WRITERS["x.tsv"]([{"id": "1", "text": 'a 5" disk'}, {"id": "2", "text": '"b"'}]))
    assert [row["text"] for row in rows_of(tmp_path / "x.tsv")] == ['a 5" disk', '"b"']


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.tsv", "x.parquet"])
def test_a_document_of_three_megabytes_is_read(tmp_path: Path, name: str) -> None:
    text = "hard negative " * 220_000
    (tmp_path / name).write_bytes(WRITERS[name]([{"id": "1", "text": "short"}, {"id": "2", "text": text}]))
    assert [row["text"] for row in rows_of(tmp_path / name)] == ["short", text]


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet"])
def test_long_files_come_in_batches_and_in_order(tmp_path: Path, name: str) -> None:
    rows: list[Row] = [{"id": f"d{i}", "text": "x" * 2500, "row": str(i)} for i in range(ROWS_AT_ONCE + 100)]
    (tmp_path / name).write_bytes(WRITERS[name](rows))
    tables = list(read(file_of(tmp_path / name)))
    assert len(tables) > 1
    together = pa.concat_tables(tables)
    assert together.column("doc_id").to_pylist() == [row["id"] for row in rows]
    assert [json.loads(one)["row"] for one in together.column("metadata").to_pylist()] == [row["row"] for row in rows]


def test_blank_lines_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('\n{"id": "1", "text": "one"}\r\n  \n{"id": "2", "text": "two"}')
    assert [row["doc_id"] for row in rows_of(tmp_path / "x.jsonl")] == ["1", "2"]


def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    rows: list[Row] = [{"id": "1", "text": "one"}]
    for name in ("x.jsonl", "x.csv", "x.tsv"):
        (tmp_path / name).write_bytes(mark + WRITERS[name](rows))
        assert rows_of(tmp_path / name) == [{"doc_id": "1", "text": "one", "metadata": None}]


# Metadata


def test_other_columns_survive_as_they_are(tmp_path: Path) -> None:
    extras: list[Row] = [
        {"year": 1999, "tags": ["a", "b"], "score": 0, "ok": False},
        {"year": "unknown", "parts": [{"a": 1}, {"b": [2, None]}], "big": 2**70},
        {"year": 1.5, "mixed": [1, "x"], "nested": {"p": {"q": None}}},
        {},
    ]
    as_jsonl(tmp_path / "x.jsonl", [{"id": i, "text": "x", **extra} for i, extra in enumerate(extras)])
    assert metadata_of(tmp_path / "x.jsonl") == [extra or None for extra in extras]


def test_nested_metadata_with_other_keys_in_each_row_survives(tmp_path: Path) -> None:
    # As in BEIR's queries.jsonl, where the keys are ids of documents.
    nested: list[Row] = [{}, {"13734012": [{"sentences": [4], "label": "CONTRADICT"}]}, {"7": [], "url": "u"}]
    rows: list[Row] = [{"_id": str(i), "text": "x", "metadata": one} for i, one in enumerate(nested)]
    assert metadata_of(as_jsonl(tmp_path / "x.jsonl", rows), "queries") == [None, nested[1], {"url": "u"}]


def test_nested_metadata_does_not_hide_a_column_of_the_same_name(tmp_path: Path) -> None:
    rows: list[Row] = [{"_id": "1", "text": "x", "year": 1, "metadata": {"year": 2}}]
    assert metadata_of(as_jsonl(tmp_path / "x.jsonl", rows)) == [{"year": 1, "metadata": {"year": 2}}]


def test_missing_values_leave_no_trace_in_metadata(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"id": "1", "text": "x", "a": None, "b": math.nan, "c": 1.5},
        {"id": "2", "text": "x", "c": None},
    ]
    for path in (as_jsonl(tmp_path / "x.jsonl", rows), as_parquet(tmp_path / "x.parquet", rows)):
        assert metadata_of(path) == [{"c": 1.5}, None]


def test_a_renamed_title_stays_in_metadata_too(tmp_path: Path) -> None:
    path = as_jsonl(tmp_path / "x.jsonl", [{"id": "1", "text": "x", "headline": "A"}])
    (row,) = rows_of(path, columns={"title": "headline"})
    assert (row["title"], json.loads(row["metadata"])) == ("A", {"headline": "A"})


# Columns and kinds of values


def test_integer_ids_become_strings_also_where_some_are_text(tmp_path: Path) -> None:
    rows: list[Row] = [{"id": value, "text": "x"} for value in (4983, "a7", 2**70, -1)]
    assert [row["doc_id"] for row in rows_of(as_jsonl(tmp_path / "x.jsonl", rows))] == ["4983", "a7", str(2**70), "-1"]
    whole: list[Row] = [{"id": value, "text": "x"} for value in (4983, 7)]
    for path in (as_jsonl(tmp_path / "y.jsonl", whole), as_parquet(tmp_path / "y.parquet", whole)):
        assert [row["doc_id"] for row in rows_of(path)] == ["4983", "7"]


def test_columns_are_renamed_and_the_usual_names_then_mean_nothing(tmp_path: Path) -> None:
    path = as_jsonl(tmp_path / "x.jsonl", [{"id": "no", "text": "no", "key": 1, "abstract": "yes"}])
    (row,) = rows_of(path, columns={"doc_id": "key", "text": "abstract"})
    assert (row["doc_id"], row["text"]) == ("1", "yes")
    assert json.loads(row["metadata"]) == {"id": "no", "text": "no"}


@pytest.mark.parametrize(
    ("kind", "columns", "role"),
    [
        ("corpus", {}, "doc_id"),
        ("corpus", {"doc_id": "key", "text": "body"}, "text"),
        ("corpus", {"doc_id": "key", "text": "txt", "title": "headline"}, "title"),
        ("queries", {"query_id": "key"}, "text"),
        ("judgements", {"query_id": "key"}, "doc_id"),
        ("pairs", {"query": "key"}, "positive"),
    ],
)
def test_a_missing_column_is_refused_with_those_there_are(
    tmp_path: Path, kind: str, columns: dict[str, str], role: str
) -> None:
    path = as_jsonl(tmp_path / "x.jsonl", [{"key": "1", "txt": "x"}])
    message = refusal_of(path, kind, columns=columns)
    assert "key, txt" in message
    assert f"data.{kind}.columns.{role}" in message


def test_categories_and_large_strings_are_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array(["a", "b"]).dictionary_encode(),
            "text": pa.array(["x", "x"]).dictionary_encode(),
            "title": pa.array(["t", None], pa.large_string()),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    assert [(row["doc_id"], row["text"], row["title"]) for row in rows_of(tmp_path / "x.parquet")] == [
        ("a", "x", "t"),
        ("b", "x", None),
    ]


def test_scifact_is_read_whole(scifact: Path) -> None:
    corpus = read_all(scifact / "corpus.jsonl")
    raw = [json.loads(line) for line in (scifact / "corpus.jsonl").read_text().splitlines()]
    assert corpus.column("doc_id").to_pylist() == [row["_id"] for row in raw]
    assert corpus.column("text").to_pylist() == [row["text"] for row in raw]
    judgements = read_all(scifact / "qrels" / "train.tsv", "judgements")
    lines = (scifact / "qrels" / "train.tsv").read_text().splitlines()[1:]
    assert [tuple(row.values())[:3] for row in judgements.to_pylist()] == [
        (query, doc, float(score)) for query, doc, score in (line.split("\t") for line in lines)
    ]
