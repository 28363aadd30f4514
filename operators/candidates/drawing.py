"""Draw: one draw after the other takes the candidates of its window that have the highest priorities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from operators.candidates.draw import Draw
from operators.candidates.pairs import Floats, Ints, Pairs
from operators.candidates.rule import rule_column
from operators.candidates.sources import NOT_NAMED, rank_column
from operators.segments import count_before, rank_within

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int8]

# Where a pair that passed the filters is in a window; the last two are those that it does not count.
PLACES = range(5)
INSIDE, BEFORE, AFTER, NOT_MET, NOT_OF_SOURCE = PLACES


@dataclass(frozen=True)
class Window:
    """From what a draw takes: some of the best pairs of each row that passed the filters.

    Attributes:
        source: counts only what this source named; all where it is None.
        first: how many of the best are skipped.
        end: how many of the best are looked at.
        where: counts only what meets this rule; all where it is None.
    """

    source: str | None
    first: int
    end: int
    where: str | None = None

    def __call__(self, pairs: Pairs) -> Places:
        """Return where each pair is: INSIDE, BEFORE, AFTER, NOT_MET or NOT_OF_SOURCE, int8 of shape (n,).

        Args:
            pairs: those that passed the filters.
        """
        code = np.full(len(pairs), INSIDE, dtype=np.int8)
        if self.where is not None:
            code[pairs[rule_column(self.where)] != 1] = NOT_MET
        if self.source is not None:
            code[pairs[rank_column(self.source)] == NOT_NAMED] = NOT_OF_SOURCE
        counted = code == INSIDE
        place = rank_within(pairs.row) if counted.all() else count_before(counted, pairs.row)
        code[counted & (place >= self.end)] = AFTER
        if self.first:
            code[counted & (place < self.first)] = BEFORE
        return code


def draw_all(
    pairs: Pairs, draws: Sequence[tuple[Draw, Window]], inside: Mapping[Window, Ints], away: Mask
) -> tuple[npt.NDArray[np.int16], Floats]:
    """Draw for every row.

    Args:
        pairs: those that passed the filters.
        draws: each with its window.
        inside: the numbers of the pairs inside each window, ascending.
        away: the pairs that no draw may take, though they are inside.

    Returns:
        The number of the draw that took each pair, int16 of shape (n,), or -1; and with which probability it did,
        float32 of shape (n,), not a number where that is not defined.
    """
    taken_by = np.full(len(pairs), -1, dtype=np.int16)
    probability = np.full(len(pairs), np.nan, dtype=np.float32)
    eligible = {window: pairs.take(at) for window, at in inside.items()}
    some_away = away.any()
    missing = np.zeros(pairs.rows.num_rows, dtype=np.int64)  # what draws before this one left short
    for number, (draw, window) in enumerate(draws):
        at, some = inside[window], eligible[window]
        priority = checked_priority(draw, some)
        if number or some_away:
            priority[(taken_by[at] >= 0) | away[at]] = -np.inf
        quota = np.minimum(missing, draw.num_negatives) if draw.fill else np.full_like(missing, draw.num_negatives)
        first = highest(some.row, priority, quota)
        taken_by[at[first]] = number
        found = np.bincount(some.row[first], minlength=len(missing))
        missing = missing - found if draw.fill else missing + quota - found
        shares = checked_probability(draw, some)
        if shares is not None:
            probability[at[first]] = shares[first]
    return taken_by, probability


def checked_priority(draw: Draw, pairs: Pairs) -> npt.NDArray[np.float64]:
    """Return the priorities of a draw; those that are not a number are not drawn.

    Raises:
        ValueError: the draw gives something else than a number for each pair.
    """
    given = _numbers_of(f"{type(draw).__name__}.priority", draw.priority(pairs), pairs)
    priority: npt.NDArray[np.float64] = given.astype(np.float64)
    priority[np.isnan(priority)] = -np.inf
    return priority


def checked_probability(draw: Draw, pairs: Pairs) -> npt.NDArray[np.generic] | None:
    """Return the probabilities of a draw, or None where it gives none.

    Raises:
        ValueError: the draw gives something else than a number for each pair.
    """
    given = draw.probability(pairs)
    return None if given is None else _numbers_of(f"{type(draw).__name__}.probability", given, pairs)


def _numbers_of(name: str, given: npt.ArrayLike, pairs: Pairs) -> npt.NDArray[np.generic]:
    numbers = np.asarray(given)
    if numbers.shape != (len(pairs),) or numbers.dtype.kind not in "fiub":
        raise ValueError(f"{name}: numbers of shape {(len(pairs),)} are wanted, not {numbers.dtype} of {numbers.shape}")
    return numbers


def highest(row: Ints, priority: npt.NDArray[np.float64], count: Ints | int) -> Mask:
    """Return which elements have the highest priorities of their row: bool of shape (n,).

    Of equal priorities the first ones count. What has a priority of minus infinity is left out.

    Args:
        row: ascending, shape (n,).
        priority: shape (n,).
        count: how many: of each row, int64 of shape (rows,), or of all.
    """
    # Rows are together, so a place in the sorted order has the row that it had before.
    wanted = rank_within(row) < (count if isinstance(count, int) else count[row])
    if (priority[1:] > priority[:-1]).any():  # the best-scored are in their order already
        taken = np.zeros(len(row), dtype=np.bool_)
        taken[np.lexsort((-priority, row))[wanted]] = True
        wanted = taken
    return wanted & (priority > -np.inf)
