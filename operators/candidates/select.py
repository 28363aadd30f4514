"""Select negatives: filter the candidates, cut the window, draw, and account for every candidate."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from operators.candidates.filters import NEGATIVE, NOT_DRAWN, SUSPECTED, Candidates, FilterConfig, active_filters
from operators.candidates.sampling import STRATEGIES, SamplingStrategy
from operators.schemas import POSITIVE_DOCUMENT, SELECTED, numbers
from operators.segments import count_before, row_of, starts_of
from operators.settings import AtLeastOne, AtLeastZero

Ints = npt.NDArray[np.int64]

# A row of n-tuple has three columns for each.
MOST_NEGATIVES = 1_000

# Outside the window of the candidates that passed the filters: before its beginning, after its end.
WINDOW = ("range_min", "range_max")


class SelectConfig(FilterConfig):
    """Which candidates become negatives. Names and meanings are those of sentence-transformers.

    Attributes:
        num_negatives: how many negatives each (query, positive) row gets, at most.
        range_min: skip so many of the best candidates that passed the filters.
        range_max: draw only from so many of the best that passed the filters.
        sampling_strategy: `top` takes the best of that window, `random` a uniform sample of it.
        seed: of the sample. The same seed gives the same sample, in whatever order and on how many workers.
    """

    num_negatives: int = Field(default=4, ge=1, le=MOST_NEGATIVES)
    range_min: AtLeastZero = 0
    range_max: AtLeastOne = 100
    sampling_strategy: SamplingStrategy = "top"
    seed: int = 0

    @model_validator(mode="after")
    def _window_holds_the_negatives(self) -> Self:
        window = self.range_max - self.range_min
        if self.num_negatives > window:
            raise ValueError(
                f"num_negatives ({self.num_negatives}) is larger than the candidate window: range_max - range_min is "
                f"{max(window, 0)}. Lower num_negatives or range_min, or raise range_max."
            )
        return self

    @property
    def needed(self) -> int:
        """How many candidates have to pass the filters so that more of them would change nothing.

        `top` looks at no more than the first ones of the window, any other strategy at all of it.
        """
        return self.range_min + self.num_negatives if self.sampling_strategy == "top" else self.range_max


@dataclass(frozen=True)
class Selection:
    """What was selected from one batch.

    Attributes:
        negatives: schema SELECTED; in the order of the rows, best score first.
        suspected: schema SELECTED; the candidates dropped because they are probably relevant.
        counts: reason -> how many candidates; the sum is all that were found, once for each row of their query.
        short_rows: how many (query, positive) rows got some, but fewer than num_negatives.
        empty_rows: how many rows got none.
    """

    negatives: pa.Table
    suspected: pa.Table
    counts: dict[str, int]
    short_rows: int
    empty_rows: int


class Select:
    """Choose the negatives of (query, positive) rows among the candidates of their queries."""

    def __init__(self, config: SelectConfig) -> None:
        self.config = config
        self.filters = active_filters(config)
        self.reasons = [NEGATIVE, *self.filters, *WINDOW, NOT_DRAWN]  # reason codes are places in this list

    def __call__(self, candidates: pa.Table, positives: pa.Table) -> Selection:
        """Select for every positive of a batch.

        Args:
            candidates: schema CANDIDATES, those of one query together, best first. Those of a query without
                positives have no row to be drawn for: they are left out.
            positives: schema POSITIVES, those of one query together; each one is a row of the output.

        With several positives per query, margins are taken against the positive of the row (`margin_positive: row`),
        or against the lowest of them.
        """
        query = numbers(positives, "query_key")
        row, at = _paired(query, numbers(candidates, "query_key"))
        signals = self._signals(candidates, positives, row, at)
        reason = self._filtered(signals, row)

        window = np.flatnonzero(reason == 0)
        keys = query[row[window]], numbers(positives, "doc_key")[row[window]]
        identity = (*keys, numbers(candidates, "doc_key")[at[window]])
        draw = STRATEGIES[self.config.sampling_strategy]
        drawn = draw(row[window], identity, self.config.seed, self.config.num_negatives)
        reason[window[~drawn]] = self.reasons.index(NOT_DRAWN)

        chosen = np.flatnonzero(reason == 0)
        suspected = np.array([name in SUSPECTED for name in self.reasons])
        suspects = np.flatnonzero(suspected[reason])
        found = np.bincount(row[chosen], minlength=positives.num_rows)
        totals = np.bincount(reason, minlength=len(self.reasons))
        return Selection(
            negatives=_rows(candidates, positives, (row[chosen], at[chosen]), self.reasons, reason[chosen]),
            suspected=_rows(candidates, positives, (row[suspects], at[suspects]), self.reasons, reason[suspects]),
            counts={name: int(total) for name, total in zip(self.reasons, totals, strict=True)},
            short_rows=int(((found > 0) & (found < self.config.num_negatives)).sum()),
            empty_rows=int((found == 0).sum()),
        )

    def short(self, candidates: pa.Table, positives: pa.Table, k: int) -> Ints:
        """Return the keys of queries for which a search deeper than `k` may find what is missing: int64 of shape (n,).

        Those with a row for which fewer candidates pass the filters than decide what is drawn (`SelectConfig.needed`),
        although the search found as many as it was asked for.

        Args:
            candidates: schema CANDIDATES, as for a selection.
            positives: schema POSITIVES, as for a selection.
            k: how many documents that are not judged positive were asked for.
        """
        query = numbers(positives, "query_key")
        row, at = _paired(query, numbers(candidates, "query_key"))
        reason = self._filtered(self._signals(candidates, positives, row, at), row)
        passed = np.isin(reason, [0, *(self.reasons.index(name) for name in WINDOW)])
        passing = np.bincount(row[passed], minlength=len(query))
        counted = numbers(candidates, "positive")[at] != POSITIVE_DOCUMENT
        found = np.bincount(row[counted], minlength=len(query))
        missing = (passing < self.config.needed) & (found >= k)
        return np.asarray(np.unique(query[missing]))

    def _filtered(self, signals: Candidates, row: Ints) -> npt.NDArray[np.int8]:
        """Return the reason code of each candidate, shape (n,), 0 for those that negatives are drawn from."""
        reason, kept = np.zeros(len(row), dtype=np.int8), np.ones(len(row), dtype=np.bool_)
        for code, drop in enumerate(self.filters.values(), start=1):
            dropped = kept & drop(signals, self.config)
            reason[dropped] = code
            kept &= ~dropped
        place = count_before(kept, row)
        outside = {"range_min": place < self.config.range_min, "range_max": place >= self.config.range_max}
        for name in WINDOW:
            reason[kept & outside[name]] = self.reasons.index(name)
        return reason

    def _signals(self, candidates: pa.Table, positives: pa.Table, row: Ints, at: Ints) -> Candidates:
        margin_score = numbers(positives, "score")
        if self.config.margin_positive == "lowest" and len(margin_score):
            starts = starts_of(numbers(positives, "query_key"))
            lowest = np.minimum.reduceat(margin_score, starts)
            margin_score = np.repeat(lowest, np.diff(np.append(starts, len(margin_score))))
        return Candidates(
            score=numbers(candidates, "score")[at],
            positive_score=margin_score[row],
            max_positive_similarity=numbers(candidates, "max_positive_similarity")[at],
            positive=numbers(candidates, "positive")[at],
        )


def _paired(row_keys: Ints, candidate_keys: Ints) -> tuple[Ints, Ints]:
    """Pair every row with every candidate of its query: the number of the row and of the candidate, int64 (pairs,).

    Args:
        row_keys: the key of each row's query, shape (rows,).
        candidate_keys: the key of each candidate's query, equal ones together, shape (n,).
    """
    starts = starts_of(candidate_keys)
    lengths = np.diff(np.append(starts, len(candidate_keys)))
    # One look-up for each row, none for each candidate. A query without candidates is -1: the last of what follows.
    run = row_of(candidate_keys[starts], row_keys)
    first, counts = np.append(starts, 0)[run], np.append(lengths, 0)[run]
    row = np.repeat(np.arange(len(row_keys)), counts)
    return row, np.arange(len(row)) + np.repeat(first - (np.cumsum(counts) - counts), counts)


def _rows(
    candidates: pa.Table, positives: pa.Table, pairs: tuple[Ints, Ints], names: list[str], reason: npt.NDArray[np.int8]
) -> pa.Table:
    row, at = (pa.array(rows) for rows in pairs)
    of_row = positives.select(["query_key", "doc_key", "score"]).take(row)
    of_candidate = candidates.select(
        ["doc_key", "score", "rank", "max_positive_similarity", "mean_positive_similarity"]
    ).take(at)
    reasons = pa.DictionaryArray.from_arrays(pa.array(reason), pa.array(names)).cast(pa.string())
    columns = [*of_row.columns, *of_candidate.columns, reasons]
    return pa.table(columns, names=SELECTED.names).cast(SELECTED)
