"""A stream of tables is cut into partitions: nothing lost, none too long, none too large."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.stages import prepare_corpus
from pipelines.stages.prepare_corpus import partitions


@given(sizes=st.lists(st.integers(0, 30), max_size=8), rows=st.integers(1, 20))
def test_partitions_hold_all_rows_in_order_and_are_full_but_for_the_last(sizes: list[int], rows: int) -> None:
    numbers = iter(range(1000))
    tables = [pa.table({"n": pa.array([next(numbers) for _ in range(size)], pa.int64())}) for size in sizes]
    cut = list(partitions(iter(tables), rows))
    assert [n for table in cut for n in table.column("n").to_pylist()] == list(range(sum(sizes)))
    assert all(table.num_rows == rows for table in cut[:-1])
    assert all(0 < table.num_rows <= rows for table in cut)


def test_long_rows_make_short_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_corpus, "PARTITION_BYTES", 10_000)
    tables = [pa.table({"text": ["x" * 3000] * 5}), pa.table({"text": ["y" * 30_000] * 2}), pa.table({"text": ["z"]})]
    cut = list(partitions(iter(tables), 1024))
    assert "".join(text[0] for table in cut for text in table.column("text").to_pylist()) == "xxxxxyyz"
    assert all(table.nbytes <= 10_100 or table.num_rows == 1 for table in cut)
