"""Draw: one draw after the other takes the candidates of its window that have the highest priorities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from operators.candidates.draw import Draw, Mask
from operators.candidates.pairs import Floats, Ints, Pairs
from operators.candidates.rule import rule_column
from operators.candidates.sources import NOT_NAMED, rank_column
from operators.errors import InputError
from operators.plugins import calling
from operators.segments import count_before, rank_within

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


@dataclass(frozen=True)
class Share:
    """What a draw should take, and took.

    Attributes:
        wanted: how many negatives; of a draw with `fill`, how many those before it left short, up to its own number.
        taken: how many it took.
        short_rows: how many rows it left short.
    """

    wanted: int
    taken: int
    short_rows: int


def draw_all(
    pairs: Pairs, draws: Sequence[tuple[Draw, Window]], inside: Mapping[Window, Ints], away: Mask
) -> tuple[npt.NDArray[np.int16], Floats, tuple[Share, ...]]:
    """Draw for every row.

    Args:
        pairs: those that passed the filters.
        draws: each with its window.
        inside: the numbers of the pairs inside each window, ascending.
        away: the pairs that no draw may take, though they are inside.

    Returns:
        The number of the draw that took each pair, int16 of shape (n,), or -1; the log-probability with which that draw
        takes it first for its row, float32 of shape (n,), not a number where that is not defined; and the share of
        each draw.
    """
    taken_by = np.full(len(pairs), -1, dtype=np.int16)
    log_probability = np.full(len(pairs), np.nan, dtype=np.float32)
    eligible = {window: pairs.take(at) for window, at in inside.items()}
    shares = []
    missing = np.zeros(pairs.rows.num_rows, dtype=np.int64)  # what draws before this one left short
    for number, (draw, window) in enumerate(draws):
        at, some = inside[window], eligible[window]
        free = (taken_by[at] < 0) & ~away[at]
        priority = np.where(free, checked_priority(draw, some, free), -np.inf)
        quota = np.minimum(missing, draw.num_negatives) if draw.fill else np.full_like(missing, draw.num_negatives)
        first = highest(some.row, priority, quota)
        taken_by[at[first]] = number
        found = np.bincount(some.row[first], minlength=len(missing))
        missing = missing - found if draw.fill else missing + quota - found
        shares.append(Share(int(quota.sum()), int(found.sum()), int((found < quota).sum())))
        with calling(f"select.draws: {draw.strategy}", draw, "log_probability"):
            of_draw = draw.log_probability(some, free)
        if of_draw is not None:
            log_probability[at[first]] = _checked(draw, "log_probability", of_draw, len(some))[first]
    return taken_by, log_probability, tuple(shares)


def checked_priority(draw: Draw, pairs: Pairs, free: Mask) -> npt.NDArray[np.float64]:
    """Return the priorities of a draw.

    Raises:
        InputError: the draw gives something else than a number for each pair.
    """
    with calling(f"select.draws: {draw.strategy}", draw, "priority"):
        given = draw.priority(pairs, free)
    priority = _checked(draw, "priority", given, len(pairs))
    unknown = int(np.isnan(priority).sum())
    if unknown:
        raise InputError(
            f"select.draws: {draw.strategy}: {type(draw).__name__}.priority: {unknown:,} of {len(pairs):,} priorities "
            f"are not a number. Give -inf for a candidate that is not to be drawn."
        )
    return priority


def _checked(draw: Draw, method: str, given: object, length: int) -> npt.NDArray[np.float64]:
    numbers = np.asarray(given)
    if numbers.shape != (length,) or numbers.dtype.kind not in "fiub":
        raise InputError(
            f"select.draws: {draw.strategy}: {type(draw).__name__}.{method}: numbers of shape {(length,)} are wanted, "
            f"not {numbers.dtype} of {numbers.shape}"
        )
    return numbers.astype(np.float64)


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
