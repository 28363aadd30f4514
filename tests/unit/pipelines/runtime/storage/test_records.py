"""Records tell what was written from anything else."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.runtime.storage.folder import Folder
from pipelines.runtime.storage.object_store import ONE_REQUEST
from pipelines.runtime.storage.records import DamagedError, files_in, record_of, sealed, unsealed

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
objects = st.dictionaries(st.text().filter(lambda key: key != "record_xxh3"), values, max_size=4)


@given(objects)
def test_a_sealed_record_is_read_back(value: dict[str, Any]) -> None:
    assert unsealed("a/b.json", sealed("a/b.json", value)) == value
    assert unsealed("run/a/b.json", sealed("b.json", value)) == value
    assert unsealed("run/c/_units/a/b.json", sealed("_units/a/b.json", value)) == value
    assert unsealed("a/c.json", sealed("a/b.json", value)) is None
    assert unsealed("_units/c/b.json", sealed("_units/a/b.json", value)) is None


@given(objects, st.data())
def test_a_record_of_which_a_byte_changed_is_the_same_or_nothing(value: dict[str, Any], data: st.DataObject) -> None:
    content = bytearray(sealed("name", value))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert unsealed("name", bytes(content)) in (None, value)


@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_what_was_not_sealed_is_nothing(content: bytes) -> None:
    assert unsealed("name", content) is None


def test_the_records_of_files_are_found_however_deep() -> None:
    one, two = ({"path": name, "bytes": 1, "xxh3": "0", "rows": 2} for name in "ab")
    assert list(files_in({"parts": {"x": [one], "y": {"z": [[two]]}}, "path": "c", "bytes": 3})) == [one, two]


@given(st.lists(st.binary(max_size=40) | st.lists(st.integers(0, 255)).map(lambda of: np.array(of, "<i4").data)))
def test_what_is_recorded_while_writing_is_what_was_written(pieces: list[bytes | memoryview]) -> None:
    with TemporaryDirectory() as place:
        folder = Folder(place)

        def write(stream: IO[bytes]) -> None:
            for piece in pieces:
                stream.write(piece)

        record = folder.write("file", write)
        with (Path(place) / "file").open("rb") as written:
            assert record == record_of("file", written)


@pytest.mark.parametrize("name", ["part-0.parquet", "part-0.arrow"])
def test_a_changed_byte_anywhere_is_noticed(tmp_path: Path, name: str) -> None:
    folder = Folder(str(tmp_path))
    record = folder.write_table(name, pa.table({"a": range(50), "b": [str(n) for n in range(50)]}))
    content = (tmp_path / name).read_bytes()
    for place in range(0, len(content), 7):
        (tmp_path / name).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DamagedError, match="checksum"):
            folder.read_table(record, ["a"])
    (tmp_path / name).write_bytes(content)
    assert folder.read_table(record, ["a"]).column("a").to_pylist() == list(range(50))


def test_of_a_large_file_the_columns_that_are_read_are_compared(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    noise = np.random.default_rng(0).bytes(2 * ONE_REQUEST)
    table = pa.table({"a": range(256), "b": [noise[n::256] for n in range(256)]})
    record = folder.write_table("part-0.parquet", table)
    assert record["bytes"] > ONE_REQUEST
    assert folder.read_table(record, ["a"]).equals(table.select(["a"]))
    with (tmp_path / "part-0.parquet").open("r+b") as file:
        file.seek(record["bytes"] // 2)
        file.write(bytes(8))
    assert folder.read_table(record, ["a"]).equals(table.select(["a"]))
    for columns in (["b"], None):
        with pytest.raises(DamagedError, match="checksum"):
            folder.read_table(record, columns)
    os.truncate(tmp_path / "part-0.parquet", record["bytes"] - 1)
    with pytest.raises(DamagedError, match="bytes where"):
        folder.read_table(record, ["a"])
