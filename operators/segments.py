"""Arithmetic over flat arrays that lie in segments: all candidates of a batch side by side, one query after another."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def starts_of(segment: npt.NDArray[np.integer]) -> Ints:
    """Return where each run of equal values in `segment`, shape (n,), begins: int64 of shape (segments,)."""
    if not len(segment):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(np.concatenate(([True], segment[1:] != segment[:-1])))


def rank_within(segment: npt.NDArray[np.integer]) -> Ints:
    """Return the position of each element in its run of equal values: int64 of shape (n,), from 0."""
    starts = starts_of(segment)
    lengths = np.diff(np.append(starts, len(segment)))
    return np.arange(len(segment)) - np.repeat(starts, lengths)


def log_shares(log_weight: npt.NDArray[np.float64], segment: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Return the logarithm of each weight as a share of those of its run of equal values: float64 of shape (n,).

    Weights are given by their logarithms, and never computed: neither very large nor very small ones are lost. Where
    all weights of a run are 0, so are their shares: minus infinity.
    """
    starts = starts_of(segment)
    if not len(starts):
        return np.zeros(0)
    lengths = np.diff(np.append(starts, len(segment)))
    highest = np.maximum.reduceat(log_weight, starts)
    below = log_weight - np.repeat(np.where(highest > -np.inf, highest, 0.0), lengths)
    total = np.add.reduceat(np.exp(below), starts)
    return np.asarray(below - np.repeat(np.log(np.where(total > 0, total, 1.0)), lengths))


def count_before(flags: Mask, segment: npt.NDArray[np.integer]) -> Ints:
    """Return how many flags are set before each element in its own run: int64 of shape (n,)."""
    before: Ints = np.cumsum(flags) - flags
    starts = starts_of(segment)
    lengths = np.diff(np.append(starts, len(segment)))
    return before - np.repeat(before[starts], lengths)


def first_of_each(segment: Ints, key: Ints) -> Mask:
    """Return which elements are the first of their segment with their key: bool of shape (n,)."""
    first = np.ones(len(segment), dtype=np.bool_)
    order = np.lexsort((key, segment))  # stable: of equal pairs the first stays the first
    first[order[1:]] = (np.diff(segment[order]) != 0) | (np.diff(key[order]) != 0)
    return first


def first_index(keys: Ints, wanted: Ints) -> Ints:
    """Return the row of each wanted key in `keys`, or -1 where it is not there: int64 of shape (wanted,).

    Of equal keys the first row counts.
    """
    if not len(keys):
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(keys, kind="stable")
    place = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    rows = order[place]
    return np.where(keys[rows] == wanted, rows, -1)


def group_indices(values: npt.NDArray[np.integer]) -> Iterator[tuple[int, Ints]]:
    """Yield every value, smallest first, with the places at which it stands, ascending: int64 of shape (places,)."""
    order = np.argsort(values, kind="stable")
    for places in np.split(order, starts_of(values[order])[1:]):
        if len(places):
            yield int(values[places[0]]), places


def in_sorted(wanted: Ints, ascending: Ints) -> Mask:
    """Return which of the wanted values, shape (n,), are among ascending ones: bool of shape (n,)."""
    if not len(ascending):
        return np.zeros(len(wanted), dtype=np.bool_)
    place = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return np.asarray(ascending[place] == wanted)


def pair_in(left: tuple[Ints, Ints], right: tuple[Ints, Ints]) -> Mask:
    """Return which of the pairs (left[0][i], left[1][i]) are among those of `right`: bool of shape (left,).

    The first of a pair is a small number, such as the row of a query; the second is a key.
    """
    values = np.unique(right[1])
    if not len(values):
        return np.zeros(len(left[0]), dtype=np.bool_)
    place = np.minimum(np.searchsorted(values, left[1]), len(values) - 1)
    known = values[place] == left[1]
    pairs = left[0] * len(values) + place
    return np.asarray(known & np.isin(pairs, right[0] * len(values) + np.searchsorted(values, right[1])))


def join_sorted(left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """Pair every element of `left` with every element of `right` that has the same segment number.

    Segment numbers, shapes (n,) and (m,), those of `right` ascending. Returns the rows in `left` and in `right` of each
    pair, in the order of `left` and then of `right`: two int64 arrays of shape (pairs,).
    """
    first = np.searchsorted(right, left, side="left")
    counts = np.searchsorted(right, left, side="right") - first
    left_rows = np.repeat(np.arange(len(left)), counts)
    offset = np.arange(len(left_rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return left_rows, np.repeat(first, counts) + offset


def join_sorted_in_blocks(left: Ints, right: Ints, most: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield the pairs of `join_sorted` in the same order, at most `most` of them at a time."""
    first = np.searchsorted(right, left, side="left")
    counts = np.searchsorted(right, left, side="right") - first
    ends = np.cumsum(counts)
    begin = ends - counts
    for at in range(0, int(counts.sum()), most):
        pair = np.arange(at, min(at + most, ends[-1]))
        row = np.searchsorted(ends, pair, side="right")
        yield row, first[row] + pair - begin[row]
