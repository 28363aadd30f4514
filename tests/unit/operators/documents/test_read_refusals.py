"""Read: what cannot be read is refused, and the message names the place."""

import gzip
import math
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.documents import parse as reading
from operators.documents.check import check
from operators.documents.parse import ROWS_AT_ONCE
from operators.errors import InputError
from tests.unit.operators.documents.files import (
    DOCUMENTS,
    WRITERS,
    Row,
    as_jsonl,
    as_parquet,
    file_of,
    read_all,
    refusal_of,
)


@pytest.mark.parametrize(
    ("value", "said"), [(["a"], "list"), ({"a": 1}, "struct"), (3, "int64"), (1.5, "double"), (True, "bool")]
)
@pytest.mark.parametrize("write", [as_jsonl, as_parquet])
def test_a_text_that_is_none_is_refused(
    tmp_path: Path, write: Callable[[Path, list[Row]], Path], value: object, said: str
) -> None:
    path = write(tmp_path / f"x.{'jsonl' if write is as_jsonl else 'parquet'}", [{"id": "1", "text": value}])
    message = refusal_of(path, "queries")
    assert "column 'text' holds " + said in message
    assert "text" in message


@pytest.mark.parametrize("odd", [["a"], {"a": "b"}])
def test_one_list_or_object_among_texts_is_refused_and_turns_no_text_into_json(tmp_path: Path, odd: object) -> None:
    path = as_jsonl(tmp_path / "x.jsonl", [{"id": "1", "text": "fine"}, {"id": "2", "text": odd}])
    assert "column 'text' holds values of several kinds" in refusal_of(path, "queries")


def test_a_list_of_queries_is_refused_but_lists_of_positives_are_pairs(tmp_path: Path) -> None:
    path = as_jsonl(tmp_path / "x.jsonl", [{"query": ["q", "r"], "positive": ["a", "b"]}])
    assert "data.pairs.columns.query" in refusal_of(path, "pairs")
    rows: list[Row] = [{"query": "q", "positive": ["a", "b"], "negative": None}, {"query": "r", "positive": []}]
    for write, name in ((as_jsonl, "y.jsonl"), (as_parquet, "y.parquet")):
        table = read_all(write(tmp_path / name, rows), "pairs")
        assert table.column("positive").to_pylist() == [["a", "b"], []]


def test_ids_beside_lists_of_positives_are_refused(tmp_path: Path) -> None:
    path = as_jsonl(tmp_path / "x.jsonl", [{"query": "q", "positive": ["a", "b"], "positive_id": "1"}] * 2)
    assert "'positive_id'" in refusal_of(path, "pairs")


# Rows that cannot be worked on


@pytest.mark.parametrize("broken", ["{", "[1]", '"text"', "nonsense", '{"id": 1} {"id": 2}'])
def test_a_line_that_is_no_object_is_refused_with_its_number(tmp_path: Path, broken: str) -> None:
    (tmp_path / "x.jsonl").write_text(f'{{"id": "1", "text": "x"}}\n\n{broken}\n{{"id": "2", "text": "x"}}\n')
    assert "x.jsonl, line 3: " in refusal_of(tmp_path / "x.jsonl")


@pytest.mark.parametrize("missing", [None, ""])
@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet"])
def test_a_missing_id_is_refused_with_its_row(tmp_path: Path, name: str, missing: str | None) -> None:
    rows: list[Row] = [{"id": f"d{i}", "text": "x"} for i in range(ROWS_AT_ONCE + 10)]
    rows[ROWS_AT_ONCE + 5]["id"] = missing
    (tmp_path / name).write_bytes(WRITERS[name](rows))
    assert f"row {ROWS_AT_ONCE + 6}: no doc_id (column 'id')" in refusal_of(tmp_path / name)


@pytest.mark.parametrize("role", ["query", "positive"])
def test_a_pair_without_one_side_is_refused_with_its_row(tmp_path: Path, role: str) -> None:
    rows: list[Row] = [{"query": "q", "positive": "p"}, {"query": "q", "positive": "p", role: None}]
    assert f"row 2: no {role} " in refusal_of(as_jsonl(tmp_path / "x.jsonl", rows), "pairs")


@pytest.mark.parametrize("score", ["high", "", None, math.nan, math.inf, "1,5"])
@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet"])
def test_a_score_that_is_no_number_is_refused(tmp_path: Path, name: str, score: object) -> None:
    rows: list[Row] = [{"query_id": "q", "doc_id": "d", "score": "1" if isinstance(score, str) else 1.0} for _ in "ab"]
    rows[1]["score"] = score
    (tmp_path / name).write_bytes(WRITERS[name](rows))
    message = refusal_of(tmp_path / name, "judgements")
    assert "column 'score'" in message
    assert re.search(r"row [12]:", message)


@pytest.mark.parametrize(("name", "delimiter"), [("x.csv", ","), ("x.tsv", "\t")])
@pytest.mark.parametrize("row", [0, 1, 300_000])
def test_a_row_of_another_length_is_refused_by_its_number_and_shown(
    tmp_path: Path, name: str, delimiter: str, row: int
) -> None:
    lines = [["id", "text"], *([str(i), "one"] for i in range(row)), ["2", "two", "too much"], ["3", "three"]]
    (tmp_path / name).write_text("".join(delimiter.join(line) + "\n" for line in lines))
    message = refusal_of(tmp_path / name)
    assert f"row {row + 1}: 3 fields where the header has 2: {delimiter.join(lines[row + 1])!r}" in message


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,text,text\n1,one,two\n")
    assert "two columns have one name" in refusal_of(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.parquet", b"no parquet file at all"),
        ("x.parquet", WRITERS["x.parquet"](DOCUMENTS)[:-20]),
        ("x.jsonl.gz", b"not compressed"),
        ("x.jsonl.gz", gzip.compress(WRITERS["x.jsonl"](DOCUMENTS * 50))[:-30]),
        ("x.jsonl.xz", b"not compressed"),
        ("x.jsonl", WRITERS["x.parquet"](DOCUMENTS)),
        ("x.jsonl", b'{"id": "1", "text": "\xff\xfe"}\n'),
        ("x.csv", b"id,text\n1,\xff\xfe\n"),
    ],
)
def test_a_file_of_another_format_or_cut_short_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refusal_of(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.jsonl", b""), ("x.jsonl", b"\n \n"), ("x.csv", b"id,text\n"), ("x.tsv", b"id\ttext\n"), ("x.csv", b"")],
)
def test_check_refuses_a_file_without_rows(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(name)):
        check([file_of(tmp_path / name)])


def test_check_reads_no_more_than_the_first_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 2)
    (tmp_path / "x.jsonl").write_text('{"id": "1", "text": "x"}\n' * 2 + "broken\n")
    check([file_of(tmp_path / "x.jsonl")])
    assert "line 3" in refusal_of(tmp_path / "x.jsonl")


# Vectors

VECTOR: dict[str, Any] = {"columns": {"vector": "v"}}


def _with_vectors(vectors: list[Any]) -> list[Row]:
    return [
        {"id": letter, "text": "x", "v": vector} for letter, vector in zip(string.ascii_letters, vectors, strict=False)
    ]


def test_vectors_of_every_type_become_float32_lists_of_one_length(tmp_path: Path) -> None:
    vectors = [[1, 2.5], [0.5, -1], [3, 4]]
    tables = [read_all(as_jsonl(tmp_path / "x.jsonl", _with_vectors(vectors)), **VECTOR)]
    for kind in (pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float16(), 2)):
        table = pa.table({"id": ["a", "b", "c"], "text": ["x"] * 3, "v": pa.array(vectors, kind)})
        pq.write_table(table, tmp_path / "x.parquet")
        tables.append(read_all(tmp_path / "x.parquet", **VECTOR))
    for table in tables:
        assert table.schema.field("vector").type == pa.list_(pa.float32(), 2)
        assert table.column("vector").to_pylist() == vectors
        assert table.column("metadata").null_count == 3


@pytest.mark.parametrize("wrong", [[1.0], [1.0, 2.0, 3.0], [], None])
def test_vectors_of_unequal_length_are_refused_with_the_row(tmp_path: Path, wrong: list[float] | None) -> None:
    rows = _with_vectors([[1.0, 2.0], [1.0, 2.0], wrong, [1.0, 2.0]])
    for path in (as_jsonl(tmp_path / "x.jsonl", rows), as_parquet(tmp_path / "x.parquet", rows)):
        assert "column 'v', row 3: a vector of " in refusal_of(path, **VECTOR)


def test_vectors_of_another_length_in_a_later_batch_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 2)
    rows = _with_vectors([[1.0, 2.0], [1.0, 2.0], [1.0], [1.0]])
    for path in (as_jsonl(tmp_path / "x.jsonl", rows), as_parquet(tmp_path / "x.parquet", rows)):
        assert "row 3: a vector of 1 values among vectors of 2" in refusal_of(path, **VECTOR)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, 1e300])
def test_a_vector_with_a_value_that_is_not_finite_is_refused_with_the_row(tmp_path: Path, value: float | None) -> None:
    rows = _with_vectors([[1.0, 2.0], [1.0, value], [1.0, 2.0]])
    for path in (as_jsonl(tmp_path / "x.jsonl", rows), as_parquet(tmp_path / "x.parquet", rows)):
        assert "column 'v', row 2: " in refusal_of(path, **VECTOR)


@pytest.mark.parametrize("vectors", [["1 2", "3 4"], [["a", "b"], ["c", "d"]], [[[1.0]], [[2.0]]], [1.0, 2.0]])
def test_what_is_no_list_of_numbers_is_no_vector(tmp_path: Path, vectors: list[Any]) -> None:
    assert "column 'v'" in refusal_of(as_jsonl(tmp_path / "x.jsonl", _with_vectors(vectors)), **VECTOR)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"_id": "1", "text": "a"', "line 2: not valid JSON (Expecting ',' delimiter: column 25)."),
        ('{"_id": "1", "text": "a', "line 2: not valid JSON (Unterminated string starting at: column 22)."),
        ('{"_id": "1", "_id": "2"}', "line 2: not valid JSON (the key '_id' stands there twice)."),
    ],
)
@pytest.mark.parametrize("ends", ["", "\n", "\r\n"])
def test_json_that_does_not_parse_is_named_by_its_line_and_column(
    tmp_path: Path, line: str, said: str, ends: str
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"_id": "0", "text": "b"}\n' + f"{line}{ends}".encode())
    assert refusal_of(path, "queries").endswith(said)
