"""Check: the beginnings of files, many at a time, and nothing that reading them would not say."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.documents import check as checking
from operators.documents.check import check
from operators.documents.columns import shows_its_role
from operators.documents.parse import rows_of
from operators.documents.read import columns_of, read
from operators.documents.sources import SourceFile
from operators.errors import InputError
from tests.unit.operators.documents.files import Row, as_jsonl, as_parquet, file_of

GOOD: list[Row] = [{"id": "1", "text": "one"}, {"id": "2", "text": "two"}]


def _zip(content: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("x", content)
    return written.getvalue()


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pa.compress(content, "zstd", asbytes=True),
    ".lz4": lambda content: pa.compress(content, "lz4", asbytes=True),
    ".zip": _zip,
}


def _first_rows(file: SourceFile) -> str | None:
    """What is wrong with the first rows of a file, as it is read; None where nothing is."""
    try:
        next(read(file), None)
    except InputError as refused:
        return str(refused)
    return None


def _said(*files: SourceFile) -> str | None:
    try:
        check(files)
    except InputError as refused:
        return str(refused)
    return None


def _any_text(draw: random.Random) -> str:
    words = [
        "a",
        "bc",
        "",
        " ",
        '"',
        '""',
        ",",
        "\t",
        "\n",
        "\r\n",
        "\u00e9",
        "\U0001f600",
        "long " * draw.randint(1, 60),
    ]
    return "".join(draw.choices(words, weights=[9, 9, 1, 9, *[draw.random()] * 6, 3, 3, 1], k=draw.randint(1, 8)))


def _jsonl(rows: list[Row], draw: random.Random) -> bytes:
    blank = ["\n"] * draw.randint(0, 1)
    return "".join([*blank, *(json.dumps(row, ensure_ascii=draw.random() < 0.5) + "\n" for row in rows)]).encode()


def _separated(delimiter: str) -> Callable[[list[Row], random.Random], bytes]:
    def write(rows: list[Row], draw: random.Random) -> bytes:
        written = io.StringIO()
        if draw.random() < 0.7:
            writer = csv.writer(written, delimiter=delimiter, lineterminator=draw.choice(["\n", "\r\n"]))
            writer.writerows([("id", "text"), *(row.values() for row in rows)])
        else:  # as people write it: quotes are text
            plain = ("".join(letter for letter in row["text"] if letter not in "\t\r\n,") for row in rows)
            lines = [f"id{delimiter}text", *(f"{i}{delimiter}{text}" for i, text in enumerate(plain))]
            written.write("\n".join(lines) + "\n")
        return written.getvalue().encode()

    return write


def _columns(rows: list[Row], draw: random.Random) -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), written, row_group_size=draw.randint(1, 50))
    return written.getvalue()


WRITERS = {"jsonl": _jsonl, "csv": _separated(","), "tsv": _separated("\t"), "parquet": _columns}


@pytest.mark.parametrize("compression", sorted(COMPRESSED))
@pytest.mark.parametrize("format_", sorted(WRITERS))
def test_whatever_is_read_is_let_through_and_what_is_refused_is_refused_in_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str, compression: str
) -> None:
    """With so few bytes at first that rows, quotes, letters and footers are cut at every place."""
    monkeypatch.setattr(checking, "GROWTH", 3)
    refused = 0
    for seed in range(60):
        draw = random.Random(f"{format_}{compression}{seed}")
        monkeypatch.setattr(checking, "FIRST_BYTES", draw.choice([20, 64, 300, 1 << 16]))
        monkeypatch.setattr(checking, "ENOUGH", draw.choice([7, 30, 1 << 14]))
        rows: list[Row] = [{"id": str(i), "text": _any_text(draw)} for i in range(draw.randint(1, 40))]
        content = WRITERS[format_](rows, draw)
        if draw.random() < 0.4:
            place, size = draw.randrange(len(content)), draw.randint(0, 5)
            content = content[:place] + draw.choice([b"", b"\xff", b"\n", b'"', b"{"]) + content[place + size :]
        path = tmp_path / f"{seed}.{format_}{compression}"
        path.write_bytes(COMPRESSED[compression](content))
        wrong, said = _first_rows(file_of(path)), _said(file_of(path))
        if wrong is None:
            assert said is None or said.endswith("the file has no rows. Give at least one file with rows."), said
        elif said is not None:  # else it is wrong in rows that are not looked at
            assert said == wrong
            refused += 1
    assert refused > 1


@pytest.mark.parametrize("write", [as_jsonl, as_parquet])
@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([{"id": "1", "body": "x"}], "corpus"),
        ([{"id": "1", "text": ["x"]}], "corpus"),
        ([{"id": "1", "text": 1.5}], "queries"),
        ([{"id": True, "text": "x"}], "corpus"),
        ([{"id": 1.5, "text": "x"}], "corpus"),
        ([{"id": {"a": 1}, "text": "x"}], "corpus"),
        ([{"query_id": "1", "doc_id": "2", "score": "high"}], "judgements"),
        ([{"query_id": "1", "doc_id": "2", "label": "yes"}], "judgements"),
        ([{"query": "q", "positive": ["a"], "positive_id": "1"}], "pairs"),
    ],
)
def test_a_column_that_does_not_fit_is_refused_in_the_words_of_reading(
    tmp_path: Path, write: Callable[[Path, list[Row]], Path], rows: list[Row], kind: str
) -> None:
    path = write(tmp_path / ("x.jsonl" if write is as_jsonl else "x.parquet"), rows)
    said = _said(file_of(path, kind))
    assert said is not None
    assert said == _first_rows(file_of(path, kind)) or "positive_labels" in said


TYPES: list[tuple[pa.DataType, Any]] = [
    (pa.string(), "1"),
    (pa.large_string(), "1"),
    (pa.string_view(), "1"),
    (pa.dictionary(pa.int8(), pa.string()), "1"),
    (pa.dictionary(pa.int8(), pa.list_(pa.string())), ["1"]),
    (pa.binary(), b"1"),
    (pa.binary(4), b"1234"),
    (pa.int8(), 1),
    (pa.uint64(), 1),
    (pa.float16(), 1.0),
    (pa.float64(), 1.5),
    (pa.decimal128(5, 2), 1),
    (pa.bool_(), True),
    (pa.date32(), 1),
    (pa.null(), None),
    (pa.struct({"a": pa.int8()}), {"a": 1}),
    (pa.list_(pa.string()), ["1"]),
    (pa.list_(pa.int64()), [1]),
    (pa.list_(pa.float32()), [1.0]),
    (pa.large_list(pa.float64()), [1.0]),
    (pa.list_(pa.float16(), 1), [1.0]),
    (pa.list_(pa.list_(pa.float32())), [[1.0]]),
]


@pytest.mark.parametrize(
    ("kind", "role", "others"),
    [
        ("corpus", "doc_id", ["text"]),
        ("corpus", "text", ["doc_id"]),
        ("corpus", "title", ["doc_id", "text"]),
        ("corpus", "vector", ["doc_id", "text"]),
        ("judgements", "score", ["query_id", "doc_id"]),
        ("judgements", "label", ["query_id", "doc_id"]),
        ("pairs", "negative", ["query", "positive"]),
    ],
)
@pytest.mark.parametrize(("type_", "value"), TYPES, ids=lambda one: str(one) if isinstance(one, pa.DataType) else "")
def test_a_type_that_is_let_through_unread_is_one_that_is_read(
    tmp_path: Path, kind: str, role: str, others: list[str], type_: pa.DataType, value: object
) -> None:
    if not shows_its_role(type_, role):
        return
    try:
        array = pa.array([value], type_)
    except pa.ArrowNotImplementedError:
        array = pa.array([value], type_.value_type).dictionary_encode()
    pq.write_table(pa.table({role: array, **{name: ["1"] for name in others}}), tmp_path / "x.parquet")
    config = {"columns": {"vector": "vector"}} if role == "vector" else {}
    file = file_of(tmp_path / "x.parquet", kind, **config)
    (rows,) = rows_of(file)
    assert role in columns_of(file, rows)


def test_the_types_that_are_usual_are_let_through_unread() -> None:
    for role in ("doc_id", "text", "title"):
        assert shows_its_role(pa.string(), role)
    assert shows_its_role(pa.int64(), "query_id")
    assert shows_its_role(pa.list_(pa.float32(), 384), "vector")
    assert shows_its_role(pa.float32(), "score")
    assert not shows_its_role(pa.string(), "label")


def test_the_first_file_that_is_wrong_is_named_whatever_it_takes_to_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "BYTES_AT_ONCE", 4 * checking.FIRST_BYTES)
    long = {"id": "1", "text": "long " * 30_000}
    paths = [as_jsonl(tmp_path / f"{i:02d}.jsonl", [long] if i % 2 else GOOD) for i in range(20)]
    assert _said(*map(file_of, paths)) is None
    for wrong in (17, 14, 13, 3):
        as_jsonl(paths[wrong], [{**(long if wrong % 2 else GOOD[0]), "id": None}])
        said = _said(*map(file_of, paths))
        assert said is not None
        assert f"{wrong:02d}.jsonl, row 1: no doc_id " in said


@pytest.mark.parametrize("compression", sorted(COMPRESSED))
@pytest.mark.parametrize(
    ("format_", "content"),
    [
        ("jsonl", b""),
        ("jsonl", b"\n \n"),
        ("csv", b""),
        ("csv", b"\n\n"),
        ("csv", b"\xef\xbb\xbf"),
        ("csv", b"id,text\n"),
        ("csv", b"id,other\r\n"),
        ("tsv", b""),
        ("tsv", b"\r\n"),
        ("tsv", b"id\ttext"),
        ("parquet", b""),
    ],
)
def test_a_file_without_rows_is_let_through_beside_one_with_rows(
    tmp_path: Path, format_: str, content: bytes, compression: str
) -> None:
    empty = tmp_path / f"empty.{format_}{compression}"
    empty.write_bytes(COMPRESSED[compression](content))
    _let_through_beside_one_with_rows(empty)


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.jsonl.zip", "x.csv.xz", "x.parquet.zst", "x.tsv.bz2"])
def test_a_file_of_no_bytes_has_no_rows_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    _let_through_beside_one_with_rows(tmp_path / name)


@pytest.mark.parametrize("columns", [{"id": [], "text": []}, {"other": []}, {}])
def test_a_parquet_file_without_rows_is_let_through(tmp_path: Path, columns: dict[str, Any]) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    _let_through_beside_one_with_rows(tmp_path / "x.parquet")


def _let_through_beside_one_with_rows(empty: Path) -> None:
    assert list(read(file_of(empty))) == []
    good = as_jsonl(empty.with_name("good.jsonl"), GOOD)
    check([file_of(empty), file_of(good)])
    said = _said(file_of(empty))
    assert said is not None
    assert said.startswith(f"{file_of(empty).uri}: the file has no rows. ")
    said = _said(file_of(good, "queries"), file_of(empty), file_of(empty), file_of(empty))
    assert said == f"{file_of(empty).uri}: this file and 2 more have no rows. Give at least one file with rows."


# Columns that are left out


def _wide(path: Path) -> Path:
    rows: list[Row] = [{"id": str(i), "title": "t", "text": "x", "lang": "en", "page": {"a": i}} for i in range(3)]
    return as_parquet(path, rows) if path.suffix == ".parquet" else as_jsonl(path, rows)


@pytest.mark.parametrize("metadata", ["page", "some", True, {"lang": 1}, [1], None])
def test_metadata_is_all_none_or_a_list(tmp_path: Path, metadata: object) -> None:
    with pytest.raises(ValueError, match=r"all, none or a list of columns|no value for this key"):
        file_of(_wide(tmp_path / "x.jsonl"), metadata=metadata)


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl"])
def test_a_name_that_is_in_no_file_or_has_a_role_is_refused(tmp_path: Path, name: str) -> None:
    wide, narrow = _wide(tmp_path / name), as_jsonl(tmp_path / "narrow.jsonl", GOOD)
    assert _said(*(file_of(path, metadata=["lang", "title"]) for path in (narrow, wide))) is None
    said = _said(*(file_of(path, metadata=["lang", "langs", "pages"]) for path in (narrow, wide)))
    assert said is not None
    assert said.startswith("data.corpus.metadata: the first rows of no file have 'langs', 'pages'. Their columns are ")
    assert "'lang'" in said
    said = _said(file_of(wide, metadata=["text"]))
    assert said is not None
    assert said.startswith("data.corpus.metadata: 'text' has a role")


def test_a_key_that_few_rows_have_is_found(tmp_path: Path) -> None:
    rows = [{"id": str(i), "text": "x" * 200, **({"note": "n"} if i == 1000 else {})} for i in range(1001)]
    paths = [as_jsonl(tmp_path / "x.jsonl", []), as_jsonl(tmp_path / "y.jsonl", rows)]
    assert _said(*(file_of(path, metadata=["note"]) for path in paths)) is None
    assert _said(*(file_of(path, metadata=["notes"]) for path in paths)) is not None


def test_judgements_have_no_metadata(tmp_path: Path) -> None:
    path = as_jsonl(tmp_path / "x.jsonl", [{"query_id": "1", "doc_id": "2", "note": "x"}])
    with pytest.raises(InputError, match=r"data\.judgements\.metadata: judgements have no metadata"):
        file_of(path, "judgements", metadata=["note"])
    (table,) = read(file_of(path, "judgements"))
    assert table.column("metadata").null_count == 1
