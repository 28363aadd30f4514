"""A stream of tables is cut into partitions: nothing lost, none too long, none too large."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.text.stages import partitions as module
from pipelines.text.stages.join_judgements import rows_of_partition
from pipelines.text.stages.partitions import partitions

MIB = 1 << 20


@settings(deadline=None)  # the first example takes pyarrow a quarter of a second
@given(sizes=st.lists(st.integers(0, 30), max_size=8), rows=st.integers(1, 20))
def test_partitions_hold_all_rows_in_order_and_are_full_but_for_the_last(sizes: list[int], rows: int) -> None:
    numbers = iter(range(1000))
    tables = [pa.table({"n": pa.array([next(numbers) for _ in range(size)], pa.int64())}) for size in sizes]
    cut = list(partitions(iter(tables), rows))
    assert [n for table in cut for n in table.column("n").to_pylist()] == list(range(sum(sizes)))
    assert all(table.num_rows == rows for table in cut[:-1])
    assert all(0 < table.num_rows <= rows for table in cut)


def test_long_rows_make_short_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTITION_BYTES", 10_000)
    tables = [pa.table({"text": ["x" * 3000] * 5}), pa.table({"text": ["y" * 30_000] * 2}), pa.table({"text": ["z"]})]
    cut = list(partitions(iter(tables), 1024))
    assert "".join(text[0] for table in cut for text in table.column("text").to_pylist()) == "xxxxxyyz"
    assert all(table.nbytes <= 10_100 or table.num_rows == 1 for table in cut)


def tables(rows: int, characters: int, values: int = 0, at_once: int = 1000) -> Iterator[pa.Table]:
    """Rows of texts so long, with vectors so long if any, in tables as a reader yields them."""
    for first in range(0, rows, at_once):
        size = min(at_once, rows - first)
        table = pa.table({"text": pa.array(["x" * characters] * size)})
        if values:
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(size * values, np.float32)), values)
            table = table.append_column("vector", vectors)
        yield table


@pytest.mark.parametrize(("characters", "values"), [(10, 0), (100, 0), (10, 16), (10, 240)])
def test_auto_takes_16384_short_rows(characters: int, values: int) -> None:
    cut = [table.num_rows for table in partitions(tables(40_000, characters, values), "auto")]
    assert cut == [16_384, 16_384, 40_000 - 2 * 16_384]


@pytest.mark.parametrize(
    ("characters", "values", "most"),
    [
        (1_000, 0, 2 * MIB),
        (20_000, 0, 2 * MIB),
        (100, 384, 16 * MIB),
        (100, 1_024, 16 * MIB),
        (8_000, 16, 16 * MIB),
    ],
)
def test_auto_takes_2_mib_of_texts_or_16_with_vectors(characters: int, values: int, most: int) -> None:
    of_row = characters + 4 * (values + 1)  # where a text ends is four bytes
    *full, last = partitions(tables(4 * most // of_row, characters, values, at_once=90), "auto")
    assert 3 <= len(full) <= 4
    assert all(0.98 * most < table.num_rows * of_row <= most for table in full)
    assert 0 < last.num_rows * of_row <= most


def test_auto_takes_one_row_that_is_larger_than_a_partition() -> None:
    assert [table.num_rows for table in partitions(tables(3, 3 * MIB), "auto")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("queries", "rows"),
    [(1, 1_024), (65_536, 1_024), (65_537, 1_025), (1_000_000, 15_625), (1_048_576, 16_384), (10**7, 16_384)],
)
def test_auto_takes_a_64th_of_the_queries(queries: int, rows: int) -> None:
    assert rows_of_partition("auto", queries) == rows


def test_rows_of_a_partition_of_queries_may_be_given() -> None:
    assert rows_of_partition(7, 10**7) == 7
