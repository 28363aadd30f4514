"""A sample of vectors: spread evenly, in a number of runs that does not grow, and read without the rest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.schemas import VectorDType, Vectors, matrix_of, vectors_column, vectors_schema
from pipelines.runtime.storage.arrow_layout import vectors_at
from pipelines.runtime.storage.folder import Folder
from pipelines.runtime.storage.records import DamagedError
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages import index_sample
from pipelines.text.stages.index_sample import Encoded, read_sample, runs_of, sample_rows


def table_of(matrix: Vectors) -> pa.Table:
    keys, dtype = pa.array(np.arange(len(matrix))), matrix.dtype.name
    return pa.table([keys, keys, vectors_column(matrix)], schema=vectors_schema(matrix.shape[1], dtype))  # type: ignore[arg-type]


def write(folder: Folder, name: str, table: pa.Table) -> dict[str, Any]:
    return {**folder.write_table(name, table), "vectors_at": vectors_at(table), "rows": table.num_rows}


@given(wanted=st.integers(1, 300), more=st.integers(0, 2000), runs=st.integers(1, 50))
def test_a_sample_is_spread_evenly_in_at_most_so_many_runs(wanted: int, more: int, runs: int) -> None:
    total = wanted + more
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_sample, "MOST_RUNS", runs)
        rows, taken = sample_rows(total, wanted), runs_of(total, wanted)
    assert len(rows) == len(np.unique(rows)) == wanted
    assert rows[0] == 0
    assert rows[-1] < total
    assert (rows[-1] == total - 1) == (taken > 1 or total in {1, wanted})
    breaks = np.flatnonzero(np.diff(rows) > 1)
    assert len(breaks) < taken
    if total >= 2 * wanted:
        assert taken == min(wanted, runs)
        starts = rows[np.append(0, breaks + 1)]
        apart = np.diff(starts)
        assert apart.max(initial=0) - apart.min(initial=total) <= 2  # a row more in a run, a row more between two


@given(wanted=st.integers(2, 300), more=st.integers(0, 5000))
def test_few_rows_are_each_a_run(wanted: int, more: int) -> None:
    expected = [i * (wanted + more - 1) // (wanted - 1) for i in range(wanted)]
    assert sample_rows(wanted + more, wanted).tolist() == expected


def test_a_billion_rows_make_no_more_requests_than_a_million() -> None:
    rows = sample_rows(1_000_000_000, 500_000)
    assert np.count_nonzero(np.diff(rows) > 1) + 1 == index_sample.MOST_RUNS
    assert rows[-1] == 999_999_999


@settings(deadline=None)  # the first takes longer
@given(rows=st.integers(1, 40), dimension=st.integers(1, 9), dtype=st.sampled_from(["float16", "float32"]))
def test_vectors_are_at_their_computed_place_in_the_file(rows: int, dimension: int, dtype: VectorDType) -> None:
    matrix: Vectors = np.arange(rows * dimension, dtype=dtype).reshape(rows, dimension)
    folder = Folder("memory://arrow_layout")
    table = table_of(matrix)
    halves = pa.concat_tables([table.slice(rows // 2), table.slice(0, rows // 2)])
    for name, written in (("whole", table), ("rest", table.slice(rows // 2)), ("chunks", halves)):
        record = write(folder, f"{name}.arrow", written)
        expected = matrix_of(written.column("vector"))
        read = np.frombuffer(folder.read_bytes(f"{name}.arrow"), dtype, expected.size, record["vectors_at"])
        assert read.tolist() == expected.ravel().tolist()


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(any),
    share=st.floats(0, 1),
    runs=st.integers(1, 20),
    at_once=st.integers(1, 5),
    dtype=st.sampled_from(["float16", "float32"]),
)
def test_what_is_read_are_the_rows_of_the_sample_and_at_most_twice_their_bytes(
    sizes: list[int], share: float, runs: int, at_once: int, dtype: VectorDType
) -> None:
    dimension = 3
    corpus: Vectors = np.random.default_rng(0).random((sum(sizes), dimension)).astype(dtype)
    encoded = Encoded(Counted("memory://sample"), dimension, dtype)
    ends = np.cumsum(sizes)
    parts = [
        write(encoded.folder, f"{i}.arrow", table_of(corpus[end - size : end]))
        for i, (size, end) in enumerate(zip(sizes, ends, strict=True))
    ]
    wanted = max(1, round(share * len(corpus)))
    Counted.read = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_sample, "MOST_RUNS", runs)
        patch.setattr(index_sample, "REQUESTS_AT_ONCE", at_once)
        sample = read_sample(encoded, parts, wanted)
        rows = sample_rows(len(corpus), wanted)
    assert sample.dtype == dtype
    assert sample.tolist() == corpus[rows].tolist()
    assert sample.nbytes <= Counted.read <= 2 * sample.nbytes


class Counted(StageFolder):
    """A folder that counts what is read by range: bytes, and requests."""

    read = 0
    requests = 0

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        content = super().read_ranges(ranges)
        Counted.read += sum(map(len, content))
        Counted.requests += len(ranges)
        return content


@pytest.mark.parametrize("runs", [5, 8192])
def test_bytes_and_requests_are_bounded_whatever_the_share(runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_sample, "MOST_RUNS", runs)
    encoded = Encoded(Counted("memory://bounded"), 2, "float32")
    table = table_of(np.ones((100, 2), np.float32))
    parts = [write(encoded.folder, f"{i}.arrow", table) for i in range(3)]
    for wanted in range(1, 301):
        Counted.read = Counted.requests = 0
        sample = read_sample(encoded, parts, wanted)
        assert sample.nbytes <= Counted.read <= 2 * sample.nbytes
        dense = 2 * wanted > 300
        assert Counted.requests <= (len(parts) if dense else min(runs, wanted) + len(parts) - 1)
        if dense:  # then nearly all is read anyway, and as many places as there can be are as well
            assert np.diff(sample_rows(300, wanted)).max() <= 2


def test_a_file_that_is_missing_or_cut_or_has_no_numbers_is_named(tmp_path: Path) -> None:
    folder = StageFolder(str(tmp_path))
    matrix = np.ones((10, 4), np.float32)
    parts = [write(folder, f"{name}.arrow", table_of(matrix)) for name in "ab"]
    encoded = Encoded(folder, 4, "float32")
    assert read_sample(encoded, parts, 20).tolist() == np.ones((20, 4)).tolist()
    whole = folder.read_bytes("b.arrow")
    at = parts[1]["vectors_at"]
    for damage, said in (
        (whole[:at] + np.float32(np.nan).tobytes() + whole[at + 4 :], "not finite"),
        (whole[: at + 20], "ends before"),
        (b"", "ends before"),
        (None, "missing"),
    ):
        if damage is None:
            folder.remove("b.arrow")
        else:
            folder.write_bytes("b.arrow", damage)
        with pytest.raises(DamagedError, match=rf"b\.arrow: .*{said}"):
            read_sample(encoded, parts, 20)
