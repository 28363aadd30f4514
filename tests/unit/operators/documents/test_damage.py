"""Read: a file that was cut short or changed gives the rows that were written, or is refused in one line."""

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

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from fsspec.implementations.local import LocalFileSystem

from operators.documents import open as opening
from operators.documents import parse
from operators.documents.open import UNPACKERS
from operators.documents.read import read
from operators.errors import InputError
from tests.unit.operators.documents.files import file_of

Written = list[tuple[str, str]]
ROWS: Written = [(f"d{i}", f'text {i * 7919 % 1000}, "quoted" and\ttabbed') for i in range(60)]


def _zip(content: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside", content)
    return written.getvalue()


def _lz4(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


# Those that know a checksum of what they hold; of .zst it is optional, and Arrow's .lz4 has none.
CHECKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "zip": _zip,
}
COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    **CHECKED,
    "lz4": _lz4,
    "lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
}


def _jsonl(rows: Written) -> bytes:
    return "".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in rows).encode()


def _separated(delimiter: str) -> Callable[[Written], bytes]:
    def write(rows: Written) -> bytes:
        written = io.StringIO()
        csv.writer(written, delimiter=delimiter).writerows([("id", "text"), *rows])
        return written.getvalue().encode()

    return write


def _parquet(rows: Written) -> bytes:
    written = io.BytesIO()
    pd.DataFrame(rows, columns=["id", "text"]).to_parquet(
        written, row_group_size=20, use_dictionary=False, write_page_checksum=True
    )
    return written.getvalue()


FORMATS: dict[str, Callable[[Written], bytes]] = {
    "jsonl": _jsonl,
    "csv": _separated(","),
    "tsv": _separated("\t"),
    "parquet": _parquet,
}


def _outcome(path: Path, content: bytes) -> Written | None:
    """Return the rows that are read, or None where the file is refused, which takes one line that names it."""
    path.write_bytes(content)
    try:
        tables = list(read(file_of(path)))
    except InputError as refused:
        message = str(refused)
    else:
        return [(row["doc_id"], row["text"]) for table in tables for row in table.to_pylist()]
    assert path.name in message
    assert "\n" not in message
    return None


def _places(content: bytes, count: int, seed: str) -> list[int]:
    """Return places all over a file, each at its beginning and end among them."""
    size = len(content)
    drawn = random.Random(seed).sample(range(size), min(count, size))
    return sorted({*range(min(24, size)), *drawn, *range(max(size - 24, 0), size)})


@pytest.mark.parametrize("ending", sorted(COMPRESSED))
@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_what_is_compressed_is_read_whole_also_in_several_streams(tmp_path: Path, format_: str, ending: str) -> None:
    content = FORMATS[format_](ROWS)
    assert _outcome(tmp_path / f"x.{format_}.{ending}", COMPRESSED[ending](content)) == ROWS
    if ending not in ("zip", "lzma"):
        parts = [COMPRESSED[ending](part) for part in (content[:1000], b"", content[1000:])]
        assert _outcome(tmp_path / f"x.{format_}.{ending}", b"".join(parts)) == ROWS


def test_every_compression_that_is_read_is_tried() -> None:
    assert set(COMPRESSED) == set(UNPACKERS)


@pytest.mark.parametrize("ending", sorted(COMPRESSED))
@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_a_compressed_file_that_was_cut_short_is_refused(tmp_path: Path, format_: str, ending: str) -> None:
    whole = COMPRESSED[ending](FORMATS[format_](ROWS))
    path = tmp_path / f"x.{format_}.{ending}"
    for size in _places(whole, 60, f"{format_} {ending}"):
        assert not _outcome(path, whole[:size]), size  # no bytes are no rows, which `check` refuses
    if ending in ("zip", "lzma"):
        return
    for size in _places(whole, 30, ending)[1:]:
        assert _outcome(path, whole + whole[:size]) is None, size


@pytest.mark.parametrize("ending", sorted(CHECKED))
@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_a_changed_byte_behind_a_checksum_changes_no_row(tmp_path: Path, format_: str, ending: str) -> None:
    whole = CHECKED[ending](FORMATS[format_](ROWS))
    twice = whole if ending == "zip" or format_ == "parquet" else whole + CHECKED[ending](b"\n")
    for place in _places(twice, 60, f"{ending} {format_}"):
        changed = bytearray(twice)
        changed[place] ^= 1 << place % 8
        assert _outcome(tmp_path / f"x.{format_}.{ending}", bytes(changed)) in (None, ROWS), place


@pytest.mark.parametrize("ending", ["", ".lz4", ".zst"])
@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_any_change_is_read_or_refused(tmp_path: Path, format_: str, ending: str) -> None:
    # Without a checksum a changed letter may be one that was written.
    content = FORMATS[format_](ROWS)
    whole = {"": content, ".lz4": _lz4(content), ".zst": zstandard.ZstdCompressor().compress(content)}[ending]
    draw = random.Random(f"{format_}{ending}")
    for place in _places(whole, 150, f"{format_}{ending}"):
        garbage = draw.choice([b"\xff", b"\x00", b'"', b"\n", b"\t", b"{", draw.randbytes(9), b""])
        _outcome(tmp_path / f"x.{format_}{ending}", whole[:place] + garbage + whole[place + draw.randint(0, 9) :])


@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_plain_text_that_was_cut_short_loses_rows_at_its_end_only(tmp_path: Path, format_: str) -> None:
    whole = FORMATS[format_](ROWS)
    for size in _places(whole, 150, format_):
        found = _outcome(tmp_path / f"x.{format_}", whole[:size])
        if format_ in ("jsonl", "parquet"):
            assert not found or (format_ == "jsonl" and found == ROWS[: len(found)])
        else:  # the last cell may be cut, but not where it is quoted
            assert not found or found[:-1] == ROWS[: len(found) - 1]
            assert not found or ROWS[len(found) - 1][1].startswith((found[-1][1] or "").strip('"'))


def test_a_changed_page_of_a_parquet_file_with_checksums_is_refused_by_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse, "ROWS_AT_ONCE", 20)
    whole = _parquet(ROWS)
    groups = pq.ParquetFile(io.BytesIO(whole)).metadata
    for group in range(groups.num_row_groups):
        column = groups.row_group(group).column(1)
        changed = bytearray(whole)
        changed[column.data_page_offset + column.total_compressed_size // 2] ^= 255
        path = tmp_path / "x.parquet"
        path.write_bytes(changed)
        with pytest.raises(InputError, match=f"after row {group * 20}" if group else "cannot be read as parquet"):
            list(read(file_of(path)))


@pytest.mark.parametrize("content", ['id,text\n1,one\n2,"two\n3,three\n', 'id,text\n1,one\n2,"two', 'id,text\n"1'])
def test_a_quote_that_nothing_closes_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(InputError, match="a quote opens a field and nothing closes it"):
        list(read(file_of(tmp_path / "x.csv")))


@pytest.mark.parametrize("names", [[], ["a", "b"], ["a/", "b/"]])
def test_an_archive_of_no_file_or_several_is_refused(tmp_path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(tmp_path / "x.jsonl.zip", "w") as archive:
        for name in names:
            archive.writestr(name, '{"id": "1", "text": "x"}\n')
    with pytest.raises(InputError, match="the archive holds"):
        list(read(file_of(tmp_path / "x.jsonl.zip")))


class _Broken(io.BytesIO):
    """A file whose storage fails after some reads."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        if self.reads <= 0:
            raise ConnectionResetError("the connection was reset")
        self.reads -= 1
        return super().read(size)


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.parquet", "x.csv.xz", "x.tsv.zip", "x.csv", "x.parquet.zst"])
@pytest.mark.parametrize("reads", [0, 1])
def test_a_storage_that_fails_is_not_taken_for_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reads: int
) -> None:
    content = FORMATS[name.split(".")[1]]([(f"d{i}", random.Random(i).randbytes(500).hex()) for i in range(60)])
    packed = COMPRESSED.get(name.rpartition(".")[2], bytes)(content)
    (tmp_path / name).write_bytes(packed)
    file = file_of(tmp_path / name)
    monkeypatch.setattr(opening, "BLOCK", 1 << 12)
    stream = _Broken(packed)
    stream.reads = reads
    monkeypatch.setattr(LocalFileSystem, "open", lambda *_, **__: stream)
    with pytest.raises(ConnectionResetError):
        list(read(file))
