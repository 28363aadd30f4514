"""Read: every format says the same, nothing is lost, and errors name the place."""

import bz2
import csv
import gzip
import io
import json
import math
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.documents import read as reading
from operators.documents.read import ROWS_AT_ONCE, check, read
from operators.documents.sources import SourceConfig, SourceFile, list_files
from operators.errors import InputError

Row = dict[str, Any]


def _file(path: Path, kind: str = "corpus", **config: Any) -> SourceFile:  # noqa: ANN401 - of SourceConfig
    (file,) = list_files(kind, SourceConfig(path=(str(path),), **config))
    return file


def _read(path: Path, kind: str = "corpus", **config: Any) -> pa.Table:  # noqa: ANN401 - of SourceConfig
    return pa.concat_tables(read(_file(path, kind, **config))).combine_chunks()


def _rows(path: Path, kind: str = "corpus", **config: Any) -> list[Row]:  # noqa: ANN401 - of SourceConfig
    rows: list[Row] = _read(path, kind, **config).to_pylist()
    return rows


def _metadata(path: Path, kind: str = "corpus") -> list[Any]:
    return [None if row["metadata"] is None else json.loads(row["metadata"]) for row in _rows(path, kind)]


def _refused(path: Path, kind: str = "corpus", **config: Any) -> str:  # noqa: ANN401 - of SourceConfig
    """Return the message with which a file is refused; it names the file."""
    with pytest.raises(InputError) as caught:
        list(read(_file(path, kind, **config)))
    assert path.name in str(caught.value)
    return str(caught.value)


def _jsonl(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _parquet(path: Path, rows: list[Row]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def _csv(rows: list[Row]) -> bytes:
    written = io.StringIO()
    writer = csv.DictWriter(written, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue().encode()


def _tsv(rows: list[Row]) -> bytes:
    lines = [list(rows[0]), *(["" if row[name] is None else str(row[name]) for name in rows[0]] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def _lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _columns(rows: list[Row]) -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), written, row_group_size=2)
    return written.getvalue()


WRITERS: dict[str, Callable[[list[Row]], bytes]] = {
    "x.jsonl": _lines,
    "x.jsonl.gz": lambda rows: gzip.compress(_lines(rows)),
    "x.jsonl.bz2": lambda rows: bz2.compress(_lines(rows)),
    "x.parquet": _columns,
    "x.csv": _csv,
    "x.csv.gz": lambda rows: gzip.compress(_csv(rows)),
    "x.tsv": _tsv,
}
FORMATS = pytest.mark.parametrize("name", sorted(WRITERS))
# Words that a reader of CSV may take for nothing or for a number.
DOCUMENTS: list[Row] = [
    {"_id": "001", "title": "NA", "text": 'a "quoted", text', "lang": "en", "note": None},
    {"_id": "NULL", "title": "nan", "text": "1e5", "lang": "null", "note": "x"},
    {"_id": "1.0", "title": None, "text": "caf\u00e9 \U0001f600", "lang": "", "note": "None"},
]


@FORMATS
def test_every_format_reads_the_same_documents(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WRITERS[name](DOCUMENTS))
    table = _read(tmp_path / name)
    assert table.schema == pa.schema(dict.fromkeys(("doc_id", "text", "title", "metadata"), pa.string()))
    assert [(row["doc_id"], row["title"], row["text"]) for row in table.to_pylist()] == [
        (row["_id"], row["title"], row["text"]) for row in DOCUMENTS
    ]
    assert _metadata(tmp_path / name) == [
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
    table = _read(tmp_path / name, "judgements")
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
        found = _rows(folder / name)
        assert [(row["doc_id"], row["text"]) for row in found] == [(row["id"], row["text"]) for row in rows]
        assert [json.loads(row["metadata"]) for row in found] == [{"extra": row["extra"]} for row in rows]


def test_csv_cells_may_hold_line_breaks(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(_csv([{"id": "1", "text": "one\ntwo,\r\nthree"}, {"id": "2", "text": "x"}]))
    assert [row["text"] for row in _rows(tmp_path / "x.csv")] == ["one\ntwo,\r\nthree", "x"]


def test_quotes_in_tsv_are_text(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(_tsv([{"id": "1", "text": 'a 5" disk'}, {"id": "2", "text": '"b"'}]))
    assert [row["text"] for row in _rows(tmp_path / "x.tsv")] == ['a 5" disk', '"b"']


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.tsv", "x.parquet"])
def test_a_document_of_three_megabytes_is_read(tmp_path: Path, name: str) -> None:
    text = "hard negative " * 220_000
    (tmp_path / name).write_bytes(WRITERS[name]([{"id": "1", "text": "short"}, {"id": "2", "text": text}]))
    assert [row["text"] for row in _rows(tmp_path / name)] == ["short", text]


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet"])
def test_long_files_come_in_batches_and_in_order(tmp_path: Path, name: str) -> None:
    rows: list[Row] = [{"id": f"d{i}", "text": "x" * 2500, "row": str(i)} for i in range(ROWS_AT_ONCE + 100)]
    (tmp_path / name).write_bytes(WRITERS[name](rows))
    tables = list(read(_file(tmp_path / name)))
    assert len(tables) > 1
    together = pa.concat_tables(tables)
    assert together.column("doc_id").to_pylist() == [row["id"] for row in rows]
    assert [json.loads(one)["row"] for one in together.column("metadata").to_pylist()] == [row["row"] for row in rows]


def test_blank_lines_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('\n{"id": "1", "text": "one"}\r\n  \n{"id": "2", "text": "two"}')
    assert [row["doc_id"] for row in _rows(tmp_path / "x.jsonl")] == ["1", "2"]


def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    rows: list[Row] = [{"id": "1", "text": "one"}]
    for name in ("x.jsonl", "x.csv", "x.tsv"):
        (tmp_path / name).write_bytes(mark + WRITERS[name](rows))
        assert _rows(tmp_path / name) == [{"doc_id": "1", "text": "one", "metadata": None}]


# Metadata


def test_other_columns_survive_as_they_are(tmp_path: Path) -> None:
    extras: list[Row] = [
        {"year": 1999, "tags": ["a", "b"], "score": 0, "ok": False},
        {"year": "unknown", "parts": [{"a": 1}, {"b": [2, None]}], "big": 2**70},
        {"year": 1.5, "mixed": [1, "x"], "nested": {"p": {"q": None}}},
        {},
    ]
    _jsonl(tmp_path / "x.jsonl", [{"id": i, "text": "x", **extra} for i, extra in enumerate(extras)])
    assert _metadata(tmp_path / "x.jsonl") == [extra or None for extra in extras]


def test_nested_metadata_with_other_keys_in_each_row_survives(tmp_path: Path) -> None:
    # As in BEIR's queries.jsonl, where the keys are ids of documents.
    nested: list[Row] = [{}, {"13734012": [{"sentences": [4], "label": "CONTRADICT"}]}, {"7": [], "url": "u"}]
    rows: list[Row] = [{"_id": str(i), "text": "x", "metadata": one} for i, one in enumerate(nested)]
    assert _metadata(_jsonl(tmp_path / "x.jsonl", rows), "queries") == [None, nested[1], {"url": "u"}]


def test_nested_metadata_does_not_hide_a_column_of_the_same_name(tmp_path: Path) -> None:
    rows: list[Row] = [{"_id": "1", "text": "x", "year": 1, "metadata": {"year": 2}}]
    assert _metadata(_jsonl(tmp_path / "x.jsonl", rows)) == [{"year": 1, "metadata": {"year": 2}}]


def test_missing_values_leave_no_trace_in_metadata(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"id": "1", "text": "x", "a": None, "b": math.nan, "c": 1.5},
        {"id": "2", "text": "x", "c": None},
    ]
    for path in (_jsonl(tmp_path / "x.jsonl", rows), _parquet(tmp_path / "x.parquet", rows)):
        assert _metadata(path) == [{"c": 1.5}, None]


def test_a_renamed_title_stays_in_metadata_too(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "x.jsonl", [{"id": "1", "text": "x", "headline": "A"}])
    (row,) = _rows(path, columns={"title": "headline"})
    assert (row["title"], json.loads(row["metadata"])) == ("A", {"headline": "A"})


# Columns and kinds of values


def test_integer_ids_become_strings_also_where_some_are_text(tmp_path: Path) -> None:
    rows: list[Row] = [{"id": value, "text": "x"} for value in (4983, "a7", 2**70, -1)]
    assert [row["doc_id"] for row in _rows(_jsonl(tmp_path / "x.jsonl", rows))] == ["4983", "a7", str(2**70), "-1"]
    whole: list[Row] = [{"id": value, "text": "x"} for value in (4983, 7)]
    for path in (_jsonl(tmp_path / "y.jsonl", whole), _parquet(tmp_path / "y.parquet", whole)):
        assert [row["doc_id"] for row in _rows(path)] == ["4983", "7"]


def test_columns_are_renamed_and_the_usual_names_then_mean_nothing(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "x.jsonl", [{"id": "no", "text": "no", "key": 1, "abstract": "yes"}])
    (row,) = _rows(path, columns={"doc_id": "key", "text": "abstract"})
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
    path = _jsonl(tmp_path / "x.jsonl", [{"key": "1", "txt": "x"}])
    message = _refused(path, kind, columns=columns)
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
    assert [(row["doc_id"], row["text"], row["title"]) for row in _rows(tmp_path / "x.parquet")] == [
        ("a", "x", "t"),
        ("b", "x", None),
    ]


@pytest.mark.parametrize(
    ("value", "said"), [(["a"], "list"), ({"a": 1}, "struct"), (3, "int64"), (1.5, "double"), (True, "bool")]
)
@pytest.mark.parametrize("write", [_jsonl, _parquet])
def test_a_text_that_is_none_is_refused(
    tmp_path: Path, write: Callable[[Path, list[Row]], Path], value: object, said: str
) -> None:
    path = write(tmp_path / f"x.{'jsonl' if write is _jsonl else 'parquet'}", [{"id": "1", "text": value}])
    message = _refused(path, "queries")
    assert "column 'text' holds " + said in message
    assert "text" in message


@pytest.mark.parametrize("odd", [["a"], {"a": "b"}])
def test_one_list_or_object_among_texts_is_refused_and_turns_no_text_into_json(tmp_path: Path, odd: object) -> None:
    path = _jsonl(tmp_path / "x.jsonl", [{"id": "1", "text": "fine"}, {"id": "2", "text": odd}])
    assert "column 'text' holds values of several kinds" in _refused(path, "queries")


def test_a_list_of_queries_is_refused_but_lists_of_positives_are_pairs(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "x.jsonl", [{"query": ["q", "r"], "positive": ["a", "b"]}])
    assert "data.pairs.columns.query" in _refused(path, "pairs")
    rows: list[Row] = [{"query": "q", "positive": ["a", "b"], "negative": None}, {"query": "r", "positive": []}]
    for write, name in ((_jsonl, "y.jsonl"), (_parquet, "y.parquet")):
        table = _read(write(tmp_path / name, rows), "pairs")
        assert table.column("positive").to_pylist() == [["a", "b"], []]


def test_ids_beside_lists_of_positives_are_refused(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "x.jsonl", [{"query": "q", "positive": ["a", "b"], "positive_id": "1"}] * 2)
    assert "'positive_id'" in _refused(path, "pairs")


# Rows that cannot be worked on


@pytest.mark.parametrize("broken", ["{", "[1]", '"text"', "nonsense", '{"id": 1} {"id": 2}'])
def test_a_line_that_is_no_object_is_refused_with_its_number(tmp_path: Path, broken: str) -> None:
    (tmp_path / "x.jsonl").write_text(f'{{"id": "1", "text": "x"}}\n\n{broken}\n{{"id": "2", "text": "x"}}\n')
    assert "x.jsonl, line 3: " in _refused(tmp_path / "x.jsonl")


@pytest.mark.parametrize("missing", [None, ""])
@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet"])
def test_a_missing_id_is_refused_with_its_row(tmp_path: Path, name: str, missing: str | None) -> None:
    rows: list[Row] = [{"id": f"d{i}", "text": "x"} for i in range(ROWS_AT_ONCE + 10)]
    rows[ROWS_AT_ONCE + 5]["id"] = missing
    (tmp_path / name).write_bytes(WRITERS[name](rows))
    assert f"row {ROWS_AT_ONCE + 6}: no doc_id (column 'id')" in _refused(tmp_path / name)


@pytest.mark.parametrize("role", ["query", "positive"])
def test_a_pair_without_one_side_is_refused_with_its_row(tmp_path: Path, role: str) -> None:
    rows: list[Row] = [{"query": "q", "positive": "p"}, {"query": "q", "positive": "p", role: None}]
    assert f"row 2: no {role} " in _refused(_jsonl(tmp_path / "x.jsonl", rows), "pairs")


@pytest.mark.parametrize("score", ["high", "", None, math.nan, math.inf, "1,5"])
@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet"])
def test_a_score_that_is_no_number_is_refused(tmp_path: Path, name: str, score: object) -> None:
    rows: list[Row] = [{"query_id": "q", "doc_id": "d", "score": "1" if isinstance(score, str) else 1.0} for _ in "ab"]
    rows[1]["score"] = score
    (tmp_path / name).write_bytes(WRITERS[name](rows))
    message = _refused(tmp_path / name, "judgements")
    assert "column 'score'" in message
    assert re.search(r"row [12]:", message)


def test_rows_of_another_length_are_refused_and_shown(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("id\ttext\n1\tone\n2\ttwo\ttoo much\n")
    assert "Expected 2 columns, got 3: 2\ttwo\ttoo much" in _refused(tmp_path / "x.tsv")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,text,text\n1,one,two\n")
    assert "two columns have one name" in _refused(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.parquet", b"no parquet file at all"),
        ("x.parquet", _columns(DOCUMENTS)[:-20]),
        ("x.jsonl.gz", b"not compressed"),
        ("x.jsonl.gz", gzip.compress(_lines(DOCUMENTS * 50))[:-30]),
        ("x.jsonl.xz", b"not compressed"),
        ("x.jsonl", _columns(DOCUMENTS)),
        ("x.jsonl", b'{"id": "1", "text": "\xff\xfe"}\n'),
        ("x.csv", b"id,text\n1,\xff\xfe\n"),
        ("x.csv", b""),
    ],
)
def test_a_file_of_another_format_or_cut_short_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    _refused(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.jsonl", b""), ("x.jsonl", b"\n \n"), ("x.csv", b"id,text\n"), ("x.tsv", b"id\ttext\n"), ("x.csv", b"")],
)
def test_check_refuses_a_file_without_rows(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(name)):
        check(_file(tmp_path / name))


def test_check_reads_no_more_than_the_first_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 2)
    (tmp_path / "x.jsonl").write_text('{"id": "1", "text": "x"}\n' * 2 + "broken\n")
    check(_file(tmp_path / "x.jsonl"))
    assert "line 3" in _refused(tmp_path / "x.jsonl")


# Vectors

VECTOR: dict[str, Any] = {"columns": {"vector": "v"}}


def _with_vectors(vectors: list[Any]) -> list[Row]:
    return [
        {"id": letter, "text": "x", "v": vector} for letter, vector in zip(string.ascii_letters, vectors, strict=False)
    ]


def test_vectors_of_every_type_become_float32_lists_of_one_length(tmp_path: Path) -> None:
    vectors = [[1, 2.5], [0.5, -1], [3, 4]]
    tables = [_read(_jsonl(tmp_path / "x.jsonl", _with_vectors(vectors)), **VECTOR)]
    for kind in (pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float16(), 2)):
        table = pa.table({"id": ["a", "b", "c"], "text": ["x"] * 3, "v": pa.array(vectors, kind)})
        pq.write_table(table, tmp_path / "x.parquet")
        tables.append(_read(tmp_path / "x.parquet", **VECTOR))
    for table in tables:
        assert table.schema.field("vector").type == pa.list_(pa.float32(), 2)
        assert table.column("vector").to_pylist() == vectors
        assert table.column("metadata").null_count == 3


@pytest.mark.parametrize("wrong", [[1.0], [1.0, 2.0, 3.0], [], None])
def test_vectors_of_unequal_length_are_refused_with_the_row(tmp_path: Path, wrong: list[float] | None) -> None:
    rows = _with_vectors([[1.0, 2.0], [1.0, 2.0], wrong, [1.0, 2.0]])
    for path in (_jsonl(tmp_path / "x.jsonl", rows), _parquet(tmp_path / "x.parquet", rows)):
        assert "column 'v', row 3: a vector of " in _refused(path, **VECTOR)


def test_vectors_of_another_length_in_a_later_batch_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 2)
    rows = _with_vectors([[1.0, 2.0], [1.0, 2.0], [1.0], [1.0]])
    for path in (_jsonl(tmp_path / "x.jsonl", rows), _parquet(tmp_path / "x.parquet", rows)):
        assert "row 3: a vector of 1 values among vectors of 2" in _refused(path, **VECTOR)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, 1e300])
def test_a_vector_with_a_value_that_is_not_finite_is_refused_with_the_row(tmp_path: Path, value: float | None) -> None:
    rows = _with_vectors([[1.0, 2.0], [1.0, value], [1.0, 2.0]])
    for path in (_jsonl(tmp_path / "x.jsonl", rows), _parquet(tmp_path / "x.parquet", rows)):
        assert "column 'v', row 2: " in _refused(path, **VECTOR)


@pytest.mark.parametrize("vectors", [["1 2", "3 4"], [["a", "b"], ["c", "d"]], [[[1.0]], [[2.0]]], [1.0, 2.0]])
def test_what_is_no_list_of_numbers_is_no_vector(tmp_path: Path, vectors: list[Any]) -> None:
    assert "column 'v'" in _refused(_jsonl(tmp_path / "x.jsonl", _with_vectors(vectors)), **VECTOR)


def test_scifact_is_read_whole(scifact: Path) -> None:
    corpus = _read(scifact / "corpus.jsonl")
    raw = [json.loads(line) for line in (scifact / "corpus.jsonl").read_text().splitlines()]
    assert corpus.column("doc_id").to_pylist() == [row["_id"] for row in raw]
    assert corpus.column("text").to_pylist() == [row["text"] for row in raw]
    judgements = _read(scifact / "qrels" / "train.tsv", "judgements")
    lines = (scifact / "qrels" / "train.tsv").read_text().splitlines()[1:]
    assert [tuple(row.values())[:3] for row in judgements.to_pylist()] == [
        (query, doc, float(score)) for query, doc, score in (line.split("\t") for line in lines)
    ]
