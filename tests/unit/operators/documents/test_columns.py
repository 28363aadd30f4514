"""Columns: ids, texts and vectors of every type become what they stand for, or the row is named."""

import datetime
import decimal
import math
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.documents.read import read
from operators.errors import InputError
from tests.unit.operators.documents.files import as_jsonl, as_parquet, file_of, read_all, refusal_of

UUIDS = [uuid.UUID(int=n << 90 | 0xFF << 60) for n in (1, 2, 3)]


def _parquet(path: Path, **columns: pa.Array) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([one.bytes for one in UUIDS], pa.binary(16)), [one.hex for one in UUIDS]),
        (pa.array([one.bytes for one in UUIDS], pa.uuid()), [str(one) for one in UUIDS]),
        (pa.array([b"a", b"b", "\u00e9".encode()]), ["a", "b", "\u00e9"]),
        (pa.array([b"a", b"b", b"c"], pa.large_binary()), ["a", "b", "c"]),
        (pa.array(["a", "b", "c"], pa.string_view()), ["a", "b", "c"]),
        (pa.array(["a", "b", "c"], pa.large_string()), ["a", "b", "c"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array([1, 2, 2**64 - 1], pa.uint64()), ["1", "2", str(2**64 - 1)]),
        (pa.array([1.0, -2.0, 2.0**53]), ["1", "-2", str(2**53)]),
        (pa.array(list(map(decimal.Decimal, (1, 2, 10**30)))), ["1", "2", str(10**30)]),
        (pa.array([datetime.date(2020, 1, day) for day in (1, 2, 3)]), ["2020-01-01", "2020-01-02", "2020-01-03"]),
    ],
)
def test_ids_of_every_type_are_texts(tmp_path: Path, ids: pa.Array, expected: list[str]) -> None:
    path = _parquet(tmp_path / "x.parquet", id=ids, text=pa.array(["x"] * 3))
    assert read_all(path).column("doc_id").to_pylist() == expected


@pytest.mark.parametrize(
    ("ids", "row"),
    [
        (pa.array([b"a", b"\xff", b"b"]), 2),
        (pa.array([1.0, 2.0, 2.5]), 3),
        (pa.array([1.0, math.nan, 3.0]), 2),
        (pa.array([1.0, math.inf, 3.0]), 2),
        (pa.array([1.0, 2.0**54, 3.0]), 2),
        (pa.array([1.0, None, 3.0]), 2),
        (pa.array([True, False, True]), 1),
        (pa.nulls(3), 1),
        (pa.array([b"ab", None, b"cd"], pa.binary(2)), 2),
    ],
)
def test_ids_that_could_be_taken_for_others_are_refused_with_their_row(tmp_path: Path, ids: pa.Array, row: int) -> None:
    path = _parquet(tmp_path / "x.parquet", id=ids, text=pa.array(["x"] * 3))
    assert f"row {row}: " in refusal_of(path)


@given(st.lists(st.binary(min_size=4, max_size=4), min_size=2, max_size=8, unique=True))
def test_ids_of_different_bytes_stay_different(tmp_path_factory: pytest.TempPathFactory, ids: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("ids")
    for kind in (pa.binary(4), pa.binary()):
        path = _parquet(folder / "x.parquet", id=pa.array(ids, kind), text=pa.array(["x"] * len(ids)))
        try:
            found = read_all(path).column("doc_id").to_pylist()
        except InputError:
            assert kind == pa.binary()
            continue
        assert len(set(found)) == len(ids)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([1, 1.0, "1"], ["1", "1", "1"]),
        (["a", 2**80, 3.0], ["a", str(2**80), "3"]),
        ([2**53 + 1, 7.0, 8], [str(2**53 + 1), "7", "8"]),
        (["a", True, "b"], 2),
        (["a", "b", 1.5], 3),
        (["a", [1], "b"], 2),
        ([{"a": 1}, {"a": 1}, {"a": 1}], None),
    ],
)
def test_ids_of_json_are_texts_or_refused_with_their_row(
    tmp_path: Path, ids: list[Any], expected: list[str] | int | None
) -> None:
    path = as_jsonl(tmp_path / "x.jsonl", [{"id": one, "text": "x"} for one in ids])
    if isinstance(expected, list):
        assert read_all(path).column("doc_id").to_pylist() == expected
    else:
        message = refusal_of(path)
        assert expected is None or f"row {expected}: " in message


@pytest.mark.parametrize("column", ["id", "text", "extra"])
@pytest.mark.parametrize("row", [0, 9000])
def test_text_of_a_parquet_file_that_is_not_utf8_is_refused_with_its_row(tmp_path: Path, column: str, row: int) -> None:
    names = [b"d%d" % i for i in range(9100)]
    columns = {"id": names, "text": list(names), "extra": list(names)}
    columns[column][row] = b"a\xffb"
    table = pa.table({name: pa.array(values).view(pa.string()) for name, values in columns.items()})
    pq.write_table(table, tmp_path / "x.parquet")
    message = refusal_of(tmp_path / "x.parquet")
    assert f"row {row + 1}, column {column!r}" in message


@pytest.mark.parametrize("column", ["text", "extra"])
def test_half_a_character_in_json_is_refused_with_its_line(tmp_path: Path, column: str) -> None:
    good = '{"id": 1, "text": "\\ud83d\\ude00", "extra": "\\\\ud800"}\n'
    bad = good.replace("\\\\ud800" if column == "extra" else "\\ud83d\\ude00", "a\\uD800b")
    (tmp_path / "x.jsonl").write_text(good + bad)
    assert "line 2: the escape '\\ud800' is half a character" in refusal_of(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_text(good)
    assert read_all(tmp_path / "x.jsonl").column("text").to_pylist() == ["\U0001f600"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"id": 1, "text": "a\xff"}', "line 2: the byte 0xff is not UTF-8"),
        (b'{"id": 1, "text": "a", "text": "b"}', "line 2: .*'text' stands there twice"),
        (b'{"id": ' + b"9" * 5000 + b', "text": "a"}', "line 2: "),
        (b'{"id": 1, "text": ' + b"[" * 90_000, "line 2: .*nested too deeply"),
    ],
)
def test_a_line_that_no_table_can_hold_is_refused(tmp_path: Path, line: bytes, said: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"id": 0, "text": "fine"}\n' + line + b"\n")
    with pytest.raises(InputError, match=said):
        list(read(file_of(tmp_path / "x.jsonl")))


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.tsv"])
def test_utf16_is_called_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes('{"id": "1"}\n'.encode("utf-16"))
    assert "the file is UTF-16" in refusal_of(tmp_path / name)


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path: Path, name: str) -> None:
    lines = [b"id,text", *(b"%d,fine" % i for i in range(100_000)), b"x,caf\xe9", b"y,z"]
    (tmp_path / name).write_bytes(b"\n".join(lines).replace(b",", b"," if name == "x.csv" else b"\t"))
    assert "line 100002: the byte 0xe9 is not UTF-8" in refusal_of(tmp_path / name)


def test_values_of_several_kinds_are_refused_with_the_row_that_differs(tmp_path: Path) -> None:
    rows = [{"id": i, "text": "x" if i < 70 else 5} for i in range(90)]
    assert "row 71: column 'text' holds values of several kinds" in refusal_of(as_jsonl(tmp_path / "x.jsonl", rows))
    scores = [{"query_id": "q", "doc_id": "d", "score": "1" if i != 5 else "high"} for i in range(9)]
    for write, name in ((as_jsonl, "y.jsonl"), (as_parquet, "y.parquet")):
        assert "row 6: column 'score' is no number" in refusal_of(write(tmp_path / name, scores), "judgements")


@pytest.mark.parametrize(
    "positives", [[[["a"]]], [[1, 2]], [{"a": "b"}], [[{"a": "b"}]], ["a", ["b"]], [[b"\xff"]], [True]]
)
def test_positives_that_are_no_list_of_texts_are_refused(tmp_path: Path, positives: list[Any]) -> None:
    rows = [{"query": f"q{i}", "positive": one} for i, one in enumerate(positives)]
    if len(rows) == 1:
        assert "'positive'" in refusal_of(as_parquet(tmp_path / "x.parquet", rows), "pairs")
    if positives != [[b"\xff"]]:
        assert "'positive'" in refusal_of(as_jsonl(tmp_path / "x.jsonl", rows), "pairs")


@pytest.mark.parametrize(
    "kind",
    [pa.large_list(pa.string()), pa.list_(pa.large_string()), pa.list_(pa.string(), 2), pa.list_(pa.string_view())],
)
def test_lists_of_positives_of_every_type_are_pairs(tmp_path: Path, kind: pa.DataType) -> None:
    path = _parquet(tmp_path / "x.parquet", query=pa.array(["q"]), positive=pa.array([["a", "b"]], kind))
    assert read_all(path, "pairs").column("positive").to_pylist() == [["a", "b"]]


@pytest.mark.parametrize(
    ("vectors", "row"),
    [
        (pa.array([[1, 2], [3, 4]], pa.list_(pa.int8())), None),
        (pa.array([[1, 2], [3, 4]], pa.large_list(pa.float16())), None),
        (pa.array([[1, 2], [3, 4]], pa.list_(pa.float64(), 2)), None),
        (pa.array([[1, 2], [3, 2**30 + 1]], pa.list_(pa.int64())), 2),
        (pa.array([[1.0, 2.0], None]), 2),
        (pa.array([[1.0, 2.0], [None, 1.0]]), 2),
        (pa.array([["1", "2"], ["1", "x"]]), 2),
        (pa.array([{"a": 1.0}, {"a": 2.0}]), 0),
        (pa.array([[[1.0]], [[2.0]]]), 1),
        (pa.array([b"ab", b"cd"]), 0),
        (pa.nulls(2), 0),
    ],
)
def test_vectors_of_every_type_are_lists_of_float32_or_refused(
    tmp_path: Path, vectors: pa.Array, row: int | None
) -> None:
    path = _parquet(tmp_path / "x.parquet", id=pa.array(["a", "b"]), text=pa.array(["x", "y"]), v=vectors)
    config: dict[str, Any] = {"columns": {"vector": "v"}}
    if row is None:
        found = np.array(read_all(path, **config).column("vector").to_pylist())
        assert np.array_equal(found, np.array(vectors.to_pylist(), dtype=np.float32))
    else:
        message = refusal_of(path, **config)
        assert "column 'v'" in message
        assert not row or f"row {row}: " in message


def test_json_vectors_name_the_row_that_is_none(tmp_path: Path) -> None:
    rows = [{"id": i, "text": "x", "v": [1, 2.5] if i != 6 else [1, "a"]} for i in range(9)]
    assert "row 7: " in refusal_of(as_jsonl(tmp_path / "x.jsonl", rows), columns={"vector": "v"})
