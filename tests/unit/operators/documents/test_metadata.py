"""Metadata: always JSON, and right for every row of a query."""

import datetime
import decimal
import json
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

from operators.documents.judgements import key_queries
from operators.documents.metadata import metadata_of, with_merged_metadata
from operators.documents.pairs import queries_of
from operators.documents.read import read
from operators.errors import InputError
from operators.schemas import to_numpy
from operators.segments import first_index
from tests.unit.operators.documents.files import WRITERS, Row, as_jsonl, file_of, read_all


def _strict(text: str | None) -> Any:  # noqa: ANN401 - any JSON
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return None if text is None else json.loads(text, parse_constant=refuse)


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=4), st.binary(max_size=4)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.text(max_size=3), st.integers(), st.binary()), inner)
    ),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(min_size=1, max_size=3), VALUES, max_size=4), min_size=1, max_size=4))
def test_whatever_values_are_there_the_metadata_is_json(rows: list[Row]) -> None:
    for row, written in zip(rows, metadata_of("x", rows).to_pylist(), strict=True):
        found = _strict(written) or {}
        for name, value in row.items():
            if isinstance(value, str | bool | int) and value != "" and name != "metadata" and "metadata" not in row:
                assert found[name] == value


def test_what_json_has_no_value_for_is_written_as_documented(tmp_path: Path) -> None:
    row: Row = {
        "inf": math.inf,
        "nested": {"nan": math.nan, "list": [1.0, -math.inf]},
        "raw": b"\xff\x00",
        "text": b"abc",
        "day": datetime.date(2020, 1, 2),
        "money": decimal.Decimal("1.10"),
        "half": np.float16(1.5),
        "id": uuid.UUID(int=1),
    }
    (written,) = metadata_of("x", [row]).to_pylist()
    assert _strict(written) == {
        "inf": "Infinity",
        "nested": {"nan": None, "list": [1.0, "-Infinity"]},
        "raw": "ff00",
        "text": "abc",
        "day": "2020-01-02",
        "money": "1.10",
        "half": 1.5,
        "id": "00000000-0000-0000-0000-000000000001",
    }
    (tmp_path / "x.jsonl").write_text('{"id": 1, "text": "x", "a": Infinity, "b": [NaN], "c": 1e999}\n')
    (found,) = read_all(tmp_path / "x.jsonl").column("metadata").to_pylist()
    assert _strict(found) == {"a": "Infinity", "b": [None], "c": "Infinity"}


def test_columns_of_every_type_of_arrow_are_kept(tmp_path: Path) -> None:
    far = pa.array([2**53], pa.int64()).cast(pa.timestamp("ms"))
    columns = {
        "far": far,
        "nano": pa.array([1], pa.timestamp("ns", "Europe/Berlin")),
        "time": pa.array([datetime.time(1, 2)]),
        "gap": pa.array([datetime.timedelta(1)]),
        "map": pa.array([[("k", math.nan)]], pa.map_(pa.string(), pa.float64())),
        "half": pa.array([np.float16(0.5)]),
        "uuid": pa.array([uuid.UUID(int=1).bytes], pa.uuid()),
        "view": pa.array(["v"], pa.string_view()),
        "none": pa.nulls(1),
    }
    pq.write_table(pa.table({"id": ["1"], "text": ["x"], **columns}), tmp_path / "x.parquet")
    (found,) = read_all(tmp_path / "x.parquet").column("metadata").to_pylist()
    assert set(_strict(found)) == set(columns) - {"none"}
    assert _strict(found)["map"] == [["k", None]]


def test_metadata_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InputError, match="nested too deeply"):
        metadata_of("x.jsonl", [{"deep": deep}])
    (tmp_path / "x.jsonl").write_text('{"id": 1, "text": "x", "d": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    with pytest.raises(InputError, match=r"x\.jsonl, line 1: .*nested too deeply"):
        list(read(file_of(tmp_path / "x.jsonl")))


PAIRS = st.lists(
    st.fixed_dictionaries(
        {"query": st.sampled_from(["p", "q", " q "]), "positive": st.sampled_from("abc")},
        optional={"lang": st.sampled_from(["en", "fr"]), "n": st.sampled_from([0, 1, True, 1.5, [1]])},
    ),
    min_size=1,
    max_size=10,
)


@given(PAIRS)
def test_the_metadata_of_a_query_holds_for_all_its_pairs(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row]
) -> None:
    path = as_jsonl(tmp_path_factory.mktemp("pairs") / "x.jsonl", rows)
    keyed = key_queries(queries_of(read_all(path, "pairs")))
    keys = to_numpy(keyed, "query_key")
    queries = with_merged_metadata(keyed, first_index(keys, keys)).to_pylist()
    assert [row["text"].strip() for row in queries] == list(dict.fromkeys(row["query"].strip() for row in rows))
    for query in queries:
        pairs = [row for row in rows if row["query"].strip() == query["text"].strip()]
        expected = {}
        for name in ("lang", "n"):
            different = {json.dumps(row.get(name)): row.get(name) for row in pairs}
            if set(different) != {"null"}:
                expected[name] = next(iter(different.values())) if len(different) == 1 else list(different.values())
        assert (_strict(query["metadata"]) or {}) == expected


# Columns that are left out

WIDE: list[Row] = [
    {
        "id": str(i),
        "title": "t",
        "text": "x",
        "a": {"b": i},
        "a.b": f"y{i}",
        "lang": "en" if i % 2 else None,
        "blob": [i],
    }
    for i in range(5)
]


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.csv", "x.tsv"])
@pytest.mark.parametrize(
    "metadata",
    ["all", "none", [], ["lang"], ["a.b"], ["a"], ["title", "lang"], ["a", "a.b", "blob"], ["lang", "nowhere"]],
)
def test_metadata_keeps_the_columns_that_are_named(tmp_path: Path, name: str, metadata: str | list[str]) -> None:
    flat = [{**row, "a": row["id"], "blob": "z", "lang": row["lang"] or ""} for row in WIDE]
    rows = flat if name in ("x.csv", "x.tsv") else WIDE
    (tmp_path / name).write_bytes(WRITERS[name](rows))
    table = read_all(tmp_path / name, metadata=metadata)
    names = [one for one in rows[0] if one not in ("id", "text") and (metadata == "all" or one in metadata)]
    wanted = [{one: row[one] for one in names if row[one] not in (None, "")} or None for row in rows]
    assert [_strict(text) for text in table.column("metadata").to_pylist()] == wanted
    assert table.drop_columns("metadata").equals(read_all(tmp_path / name).drop_columns("metadata"))


def test_columns_of_parquet_that_are_left_out_are_not_read(tmp_path: Path) -> None:
    """One is damaged: whoever reads it is refused."""
    path = tmp_path / "x.parquet"
    table = pa.table({"id": ["1"], "text": ["x"], "lang": ["en"], "page": ["0123456789" * 50]})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"9876543210"))
    with pytest.raises(InputError, match="cannot be read as parquet"):
        read_all(path)
    assert read_all(path, metadata=["lang"]).column("metadata").to_pylist() == ['{"lang": "en"}']
    assert read_all(path, metadata="none").column("metadata").to_pylist() == [None]
