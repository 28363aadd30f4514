"""Partitions are gathered into shards: all of them once, those that are there as they are, none empty."""

from hypothesis import given
from hypothesis import strategies as st

from pipelines.stages.index import _shards


@given(sizes=st.lists(st.integers(0, 5), max_size=12), rows=st.integers(1, 9), before=st.integers(0, 12))
def test_shards_hold_all_that_has_rows_and_keep_what_was_built(sizes: list[int], rows: int, before: int) -> None:
    parts = [{"digest": str(i), "rows": size} for i, size in enumerate(sizes)]
    built = [[part["digest"] for part in shard] for shard in _shards(parts[:before], rows, [])]
    shards = _shards(parts, rows, built)
    assert [part for shard in shards for part in shard] == [part for part in parts if part["rows"]]
    assert all(shards)
    assert all(len(shard) == 1 or sum(part["rows"] for part in shard) <= rows for shard in shards)
    assert [[part["digest"] for part in shard] for shard in shards[: len(built)]] == built
