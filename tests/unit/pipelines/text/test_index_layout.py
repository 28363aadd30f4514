"""Partitions are divided into shards: all of them once, few shards, few vectors built again, the same after a kill."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.stages.index_layout import CLEARLY_LARGER, shards_of

SIZES = st.lists(st.integers(0, 5), max_size=40)
Shards = list[list[str]]


def parts_of(sizes: Sequence[int]) -> list[dict[str, Any]]:
    return [{"digest": str(i), "rows": size} for i, size in enumerate(sizes)]


def digests(parts: Sequence[dict[str, Any]], rows: int, built: Shards) -> Shards:
    return [[part["digest"] for part in shard] for shard in shards_of(parts, rows, built)]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[dict[str, Any]], Shards]:
    """Partitions, and shards that are there of these and of others: what any past may have left."""
    parts = parts_of(draw(SIZES))
    alphabet = [part["digest"] for part in parts if part["rows"]] + ["other"]
    cut = st.tuples(st.integers(0, len(alphabet)), st.integers(1, 8)).map(lambda one: alphabet[one[0] : sum(one)])
    return parts, [shard for shard in draw(st.lists(cut, max_size=12)) if shard]


@given(history=histories(), rows=st.integers(1, 25))
def test_every_partition_with_rows_is_in_one_shard_and_only_what_was_built_is_too_large(
    history: tuple[list[dict[str, Any]], Shards], rows: int
) -> None:
    parts, built = history
    shards = shards_of(parts, rows, built)
    assert [part for shard in shards for part in shard] == [part for part in parts if part["rows"]]
    assert all(shards)
    for shard in shards:
        known = [part["digest"] for part in shard] in built
        assert known or len(shard) == 1 or sum(part["rows"] for part in shard) <= rows


@given(history=histories(), rows=st.integers(1, 25), data=st.data())
def test_a_restart_with_some_of_the_shards_built_leads_to_the_same(
    history: tuple[list[dict[str, Any]], Shards], rows: int, data: st.DataObject
) -> None:
    parts, built = history
    shards = digests(parts, rows, built)
    some = [shard for shard in shards if data.draw(st.booleans())]
    assert digests(parts, rows, built + some) == shards
    assert digests(parts, rows, some[::-1] + built) == shards
    assert digests(parts, rows, shards) == shards  # and so does a run on a copy that has no others


@given(sizes=SIZES, rows=st.integers(1, 25))
def test_a_new_corpus_is_filled_shard_by_shard(sizes: list[int], rows: int) -> None:
    parts, held = parts_of(sizes), rows
    expected: list[list[dict[str, Any]]] = []
    for part in parts:
        if not part["rows"]:
            continue
        if held + part["rows"] > rows:
            expected.append([])
            held = 0
        expected[-1].append(part)
        held += part["rows"]
    assert shards_of(parts, rows, []) == expected


@given(
    growths=st.lists(st.integers(1, 40), min_size=1, max_size=60), largest=st.integers(1, 4), rows=st.integers(4, 60)
)
def test_growth_by_small_pieces_leaves_few_shards_and_builds_few_vectors_again(
    growths: list[int], largest: int, rows: int
) -> None:
    """Each growth is some partitions of up to `largest` documents."""
    sizes: list[int] = []
    built: Shards = []
    times: dict[str, int] = {}
    full: Shards = []
    for growth in growths:
        sizes += [1 + (len(sizes) + i) % largest for i in range(growth)]
        parts = parts_of(sizes)
        shards = digests(parts, rows, built)
        for digest in (digest for shard in shards if shard not in built for digest in shard):
            times[digest] = times.get(digest, 0) + 1
        assert shards[: len(full)] == full  # what is full is never built again
        full = digests(parts, rows, [])[:-1]  # as in a new corpus
        assert shards[: len(full)] == full
        tail = [sum(sizes[int(digest)] for digest in shard) for shard in shards[len(full) :]]
        assert sum(tail) <= rows
        assert all(one >= CLEARLY_LARGER * other for one, other in pairwise(tail))
        assert len(shards) <= len(full) + 1 + math.log2(rows)
        built += [shard for shard in shards if shard not in built]
        assert digests(parts, rows, built) == shards
    most = math.log(rows, 1 + 1 / CLEARLY_LARGER)
    assert max(times.values()) <= 2 + most
    assert sum(sizes[int(digest)] * count for digest, count in times.items()) <= sum(sizes) * (2 + most)


def test_equal_pieces_are_joined_as_a_binary_counter_counts() -> None:
    built: Shards = []
    lengths = []
    for pieces in range(1, 18):
        shards = digests(parts_of([1] * pieces), 16, built)
        lengths.append([len(shard) for shard in shards])
        built += [shard for shard in shards if shard not in built]
    assert lengths[:8] == [[1], [2], [2, 1], [4], [4, 1], [4, 2], [4, 2, 1], [8]]
    assert lengths[14:] == [[8, 4, 2, 1], [16], [16, 1]]


def test_a_change_in_the_middle_leaves_the_shards_around_it() -> None:
    built = digests(parts_of([4] * 12), 16, [])
    changed = [{**part, "digest": "new"} if part["digest"] == "5" else part for part in parts_of([4] * 12)]
    assert digests(changed, 16, built) == [built[0], ["4", "new", "6", "7"], built[2]]


def test_very_many_partitions_take_seconds_not_hours() -> None:
    parts = parts_of([1000] * 200_000)
    built = digests(parts, 1_000_000, [])
    assert len(built) == 200
    assert digests(parts, 1_000_000, built) == built
