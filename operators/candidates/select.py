"""Select negatives: filter the candidates, cut the window, draw, and account for every candidate."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.candidates.config import SelectConfig
from operators.candidates.draw import Draw
from operators.candidates.filter import NEGATIVE, NOT_DRAWN, WINDOW, Filter
from operators.candidates.pairs import ALWAYS_THERE, Pairs, pairs_of
from operators.candidates.sources import NOT_NAMED, SEARCH, names_of, rank_column
from operators.schemas import POSITIVE_DOCUMENT, SELECTED, to_numpy
from operators.segments import count_before, rank_within

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Selection:
    """What was selected from one batch.

    Attributes:
        negatives: schema SELECTED; in the order of the rows, best score first.
        suspected: schema SELECTED; the candidates dropped because they are probably relevant.
        counts: reason -> how many candidates; the sum is all that were found, once for each row of their query.
        short_rows: how many (query, positive) rows got some, but fewer than they should.
        empty_rows: how many rows got none.
    """

    negatives: pa.Table
    suspected: pa.Table
    counts: dict[str, int]
    short_rows: int
    empty_rows: int


class Select:
    """Choose the negatives of (query, positive) rows among the candidates of their queries."""

    def __init__(self, config: SelectConfig, sources: Sequence[str] = ()) -> None:
        """Select as configured, among candidates of the search and of these proposers."""
        self.config, self.sources = config, (SEARCH, *sources)
        self.filters, self.draws = config.active_filters(), config.active_draws()

    @cached_property
    def reasons(self) -> list[str]:
        """What becomes of candidates; reason codes are places in this list."""
        return list(dict.fromkeys([NEGATIVE, *(one.reason for one in self.filters), *WINDOW, NOT_DRAWN]))

    @cached_property
    def labels(self) -> list[str]:
        """The name of each draw: its strategy; with its place from 1 where several have the same."""
        strategies = [one.strategy for one in self.draws]
        places = enumerate(strategies, start=1)
        return [name if strategies.count(name) == 1 else f"{name} ({place})" for place, name in places]

    def __call__(self, candidates: pa.Table, positives: pa.Table) -> Selection:
        """Select for every positive of a batch.

        Args:
            candidates: schema CANDIDATES, the ranks of every proposer, and a column for every further signal in use;
                those of one query together, best first. Those of a query without positives have no row to be drawn
                for: they are left out.
            positives: schema POSITIVES, those of one query together; each one is a row of the output.

        With several positives per query, margins are taken against the positive of the row (`margin_positive: row`),
        or against the lowest of them.
        """
        pairs = self._pairs(candidates, positives)
        reason = self._filtered(pairs, self.filters)
        draw = self._drawn(pairs, reason)
        chosen = np.flatnonzero(reason == 0)
        suspected = {one.reason for one in self.filters if one.suspected} | {"range_min"}
        suspects = np.flatnonzero(np.array([name in suspected for name in self.reasons])[reason])
        found = np.bincount(pairs.row[chosen], minlength=positives.num_rows)
        totals = np.bincount(reason, minlength=len(self.reasons))
        return Selection(
            negatives=self._rows(pairs.take(chosen), reason[chosen], draw[chosen]),
            suspected=self._rows(pairs.take(suspects), reason[suspects], draw[suspects]),
            counts={name: int(total) for name, total in zip(self.reasons, totals, strict=True)},
            short_rows=int(((found > 0) & (found < self.config.negatives_per_row)).sum()),
            empty_rows=int((found == 0).sum()),
        )

    def short_queries(self, candidates: pa.Table, positives: pa.Table, k: int) -> Ints:
        """Return the keys of queries for which a search deeper than `k` may find what is missing: int64 of shape (n,).

        Those with a row for which fewer candidates pass the filters than decide what is drawn (`SelectConfig.needed`),
        although the search found as many as it was asked for.

        Args:
            candidates: schema CANDIDATES, as for a selection.
            positives: schema POSITIVES, as for a selection.
            k: how many documents that are not judged positive were asked for.
        """
        query = to_numpy(positives, "query_key")
        if self.config.depth is not None and self.config.depth <= k:
            return np.zeros(0, dtype=np.int64)
        pairs = self._pairs(candidates, positives)
        # Signals that are computed after the search cannot decide how deep it goes.
        known = [one for one in self.filters if set(one.needs).issubset(ALWAYS_THERE)]
        passed = self._filtered(pairs, known) == 0
        passing = np.bincount(pairs.row[passed], minlength=len(query))
        counted = pairs["positive_kind"] != POSITIVE_DOCUMENT
        found = np.bincount(pairs.row[counted], minlength=len(query))
        missing = (passing < self.config.needed) & (found >= k)
        return np.asarray(np.unique(query[missing]))

    def _pairs(self, candidates: pa.Table, positives: pa.Table) -> Pairs:
        return pairs_of(candidates, positives, lowest=self.config.margin_positive == "lowest")

    def _filtered(self, pairs: Pairs, filters: Sequence[Filter]) -> npt.NDArray[np.int16]:
        """Return the reason code of each pair, shape (n,), 0 for those that passed."""
        reason, kept = np.zeros(len(pairs), dtype=np.int16), np.ones(len(pairs), dtype=np.bool_)
        for one in filters:
            mask = one.drops(pairs)
            if mask.shape != kept.shape or mask.dtype != np.bool_:
                found = f"{mask.dtype} of {mask.shape}"
                raise ValueError(f"{type(one).__name__}.drops: bool of shape {kept.shape} is wanted, not {found}")
            dropped = kept & mask
            reason[dropped] = self.reasons.index(one.reason)
            kept &= ~dropped
        return reason

    def _drawn(self, pairs: Pairs, reason: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
        """Draw; what is not drawn gets its reason. Returns which draw took each pair, shape (n,), or -1."""
        taken_by, passed = np.full(len(pairs), -1, dtype=np.int16), reason == 0
        windows = {draw.source: self._window(pairs, passed, draw.source) for draw in self.draws}
        left = passed.copy()
        for number, draw in enumerate(self.draws):
            at = np.flatnonzero(left & (windows[draw.source] == 0))
            eligible = pairs.take(at)
            taken = at[highest(eligible.row, _checked(draw, eligible), draw.num_negatives)]
            taken_by[taken] = number
            left[taken] = False
        reason[left] = self._outside(list(windows.values()))[left]
        return taken_by

    def _window(self, pairs: Pairs, passed: npt.NDArray[np.bool_], source: str | None) -> npt.NDArray[np.int16]:
        """Return 0 for each pair inside the window of a source, else the reason code why it is not: shape (n,)."""
        named = passed if source is None else passed & (pairs[rank_column(source)] != NOT_NAMED)
        place = count_before(named, pairs.row)
        code = np.where(named, np.int16(0), np.int16(self.reasons.index(NOT_DRAWN)))
        before, after = (np.int16(self.reasons.index(name)) for name in WINDOW)
        code[named & (place < self.config.range_min)] = before
        code[named & (place >= self.config.range_max)] = after
        return code

    def _outside(self, windows: Sequence[npt.NDArray[np.int16]]) -> npt.NDArray[np.int16]:
        """Return why a pair that passed was not drawn: it is outside the first window of its sources, or inside one."""
        not_drawn = np.int16(self.reasons.index(NOT_DRAWN))
        code = np.full(len(windows[0]), not_drawn)
        for window in reversed(windows):
            code = np.where(window == not_drawn, code, window)
        inside = np.any([window == 0 for window in windows], axis=0)
        return np.where(inside, not_drawn, code)

    def _rows(self, pairs: Pairs, reason: npt.NDArray[np.int16], draw: npt.NDArray[np.int16]) -> pa.Table:
        row, candidate = pa.array(pairs.row), pa.array(pairs.candidate)
        of_row = pairs.rows.select(["query_key", "doc_key", "score"]).take(row)
        of_candidate = pairs.candidates.select(
            ["doc_key", "score", "rank", "max_positive_similarity", "mean_positive_similarity"]
        ).take(candidate)
        sources = names_of(pairs.candidates, self.sources, pairs.candidate)
        names = [sources, _named(draw, self.labels), _named(reason, self.reasons)]
        return pa.table([*of_row.columns, *of_candidate.columns, *names], names=SELECTED.names).cast(SELECTED)


def _checked(draw: Draw, pairs: Pairs) -> npt.NDArray[np.float64]:
    """Return the priorities of a draw; those that are not a number are not drawn."""
    priority = np.asarray(draw.priority(pairs))
    if priority.shape != (len(pairs),) or priority.dtype.kind not in "fiub":
        raise ValueError(
            f"{type(draw).__name__}.priority: numbers of shape {(len(pairs),)} are wanted, not {priority.dtype} of "
            f"{priority.shape}"
        )
    priority = priority.astype(np.float64)
    return np.where(np.isnan(priority), -np.inf, priority)


def highest(row: Ints, priority: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.bool_]:
    """Return which elements have the `count` highest priorities of their row: bool of shape (n,).

    Of equal priorities the first ones count. What has a priority of minus infinity is left out.

    Args:
        row: ascending, shape (n,).
        priority: shape (n,).
        count: at least 1.
    """
    taken = np.zeros(len(row), dtype=np.bool_)
    # As it is for the best-scored, in their order: no sorting.
    order = np.lexsort((-priority, row)) if (priority[1:] > priority[:-1]).any() else np.arange(len(row))
    taken[order] = rank_within(row[order]) < count
    return taken & (priority > -np.inf)


def _named(codes: npt.NDArray[np.int16], names: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(names)).cast(pa.string())
