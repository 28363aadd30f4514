"""Arithmetic over segments, against loops."""

import math
from decimal import Decimal
from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.segments import (
    count_before,
    first_index,
    group_indices,
    in_sorted,
    join_sorted,
    join_sorted_in_blocks,
    log_shares,
    pair_in,
    rank_within,
    starts_of,
)

SEGMENTS = st.lists(st.integers(-3, 3), max_size=30)
# Few values, so that some meet; and the ends of what a key can be.
KEYS = st.one_of(st.integers(0, 8), st.sampled_from([2**63 - 1, 2**63 - 2]))
PAIRS = st.lists(st.tuples(st.integers(0, 5), KEYS), max_size=30)


def _ints(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def _columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return _ints([first for first, _ in pairs]), _ints([second for _, second in pairs])


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([-math.inf, -1e300, -800.0, -0.5, 0.0, 700.0, 1e5]))))
def test_logarithms_of_shares_are_those_of_exact_numbers(pairs: list[tuple[int, float]]) -> None:
    """Shares of decimals of any exponent; what is below a float is cut."""
    segment, weights = [one for one, _ in pairs], np.array([weight for _, weight in pairs], dtype=np.float64)
    expected: list[float] = []
    for _, run in groupby(pairs, key=lambda pair: pair[0]):
        of_run = [weight for _, weight in run]
        total = sum((Decimal(max(weight, -1e6)).exp() for weight in of_run if weight > -math.inf), Decimal(0))
        highest = max(of_run)
        beyond = float((total / Decimal(max(highest, -1e6)).exp()).ln()) if highest > -math.inf else 0.0
        expected += [weight if weight == -math.inf else weight - highest - beyond for weight in of_run]
    assert log_shares(weights, _ints(segment)) == pytest.approx(np.array(expected, dtype=np.float64))


@given(SEGMENTS)
def test_starts_and_ranks_are_those_of_runs(segment: list[int]) -> None:
    runs = [list(run) for _, run in groupby(segment)]
    assert starts_of(_ints(segment)).tolist() == [sum(map(len, runs[:i])) for i in range(len(runs))]
    assert rank_within(_ints(segment)).tolist() == [rank for run in runs for rank in range(len(run))]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2)), max_size=30))
def test_flags_are_counted_within_their_run_and_before_the_element(rows: list[tuple[bool, int]]) -> None:
    expected = []
    for _, run in groupby(rows, key=lambda row: row[1]):
        seen = 0
        for flag, _ in run:
            expected.append(seen)
            seen += flag
    flags = np.array([flag for flag, _ in rows], dtype=np.bool_)
    assert count_before(flags, _ints([segment for _, segment in rows])).tolist() == expected


@given(st.lists(KEYS, max_size=30), st.lists(KEYS, max_size=30))
def test_row_of_is_the_first_row_of_an_equal_key(keys: list[int], wanted: list[int]) -> None:
    expected = [keys.index(key) if key in keys else -1 for key in wanted]
    assert first_index(_ints(keys), _ints(wanted)).tolist() == expected


@given(PAIRS, PAIRS)
def test_pair_in_compares_both_of_a_pair(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    assert pair_in(_columns(left), _columns(right)).tolist() == [pair in right for pair in left]


@given(SEGMENTS.map(sorted), SEGMENTS.map(sorted))
def test_product_within_pairs_equal_segments_in_order(left: list[int], right: list[int]) -> None:
    expected = [(i, j) for i, j in product(range(len(left)), range(len(right))) if left[i] == right[j]]
    rows = join_sorted(_ints(left), _ints(right))
    assert list(zip(*(side.tolist() for side in rows), strict=True)) == expected


@given(SEGMENTS.map(sorted), SEGMENTS.map(sorted), st.integers(1, 40))
def test_blocks_of_a_product_are_its_pairs_in_order(left: list[int], right: list[int], most: int) -> None:
    blocks = list(join_sorted_in_blocks(_ints(left[::-1]), _ints(right), most))
    assert all(len(rows) <= most for rows, _ in blocks)
    whole = join_sorted(_ints(left[::-1]), _ints(right))
    for side, expected in zip(zip(*blocks, strict=True), whole, strict=False):
        assert np.concatenate(side).tolist() == expected.tolist()
    assert sum(len(rows) for rows, _ in blocks) == len(whole[0])


@given(st.lists(st.integers(-5, 5)), st.lists(st.integers(-5, 5)))
def test_what_is_among_ascending_values_is_what_a_set_holds(wanted: list[int], values: list[int]) -> None:
    found = in_sorted(np.array(wanted, dtype=np.int64), np.sort(np.array(values, dtype=np.int64)))
    assert found.tolist() == [one in set(values) for one in wanted]


@given(st.lists(st.integers(-5, 5)))
def test_groups_are_the_places_of_every_value(values: list[int]) -> None:
    found = {value: places.tolist() for value, places in group_indices(np.array(values, dtype=np.int64))}
    assert found == {value: [i for i, one in enumerate(values) if one == value] for value in sorted(set(values))}
    assert list(found) == sorted(found)
