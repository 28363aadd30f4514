"""Select negatives: filter the candidates, cut the window, draw, and account for every candidate."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from operators.candidates.filters import NEGATIVE, NOT_DRAWN, SUSPECTED, Candidates, FilterConfig, active_filters
from operators.candidates.sampling import STRATEGIES, SamplingStrategy
from operators.schemas import SELECTED, numbers
from operators.segments import count_before, product_within, row_of, starts_of

Ints = npt.NDArray[np.int64]


class SelectConfig(FilterConfig):
    """Which candidates become negatives. Names and meanings are those of sentence-transformers.

    Attributes:
        num_negatives: how many negatives each (query, positive) row gets, at most.
        range_min: skip so many of the best candidates that passed the filters.
        range_max: draw only from so many of the best that passed the filters.
        sampling_strategy: `top` takes the best of that window, `random` a uniform sample of it.
        seed: of the sample. The same seed gives the same sample, in whatever order and on how many workers.
    """

    num_negatives: int = Field(default=4, ge=1)
    range_min: int = Field(default=0, ge=0)
    range_max: int = Field(default=100, ge=1)
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

    def __call__(self, candidates: pa.Table, positives: pa.Table) -> Selection:
        """Select for every positive of a batch.

        Args:
            candidates: schema CANDIDATES, those of one query together, best first.
            positives: schema POSITIVES, in the order of the candidates' queries; each one is a row of the output.

        With several positives per query, margins are taken against the positive of the row (`margin_positive: row`),
        or against the lowest of them.
        """
        row_query, of_query, query_keys = _numbered(positives, candidates)
        row, at = product_within(row_query, of_query)
        signals = self._signals(candidates, positives, row_query, row, at)
        reason, kept = np.zeros(len(row), dtype=np.int8), np.ones(len(row), dtype=np.bool_)
        names = [NEGATIVE]
        for name, drop in active_filters(self.config).items():
            names.append(name)
            dropped = kept & drop(signals, self.config)
            reason[dropped] = len(names) - 1
            kept &= ~dropped

        place = count_before(kept, row)
        for name, outside in (
            ("range_min", place < self.config.range_min),
            ("range_max", place >= self.config.range_max),
        ):
            names.append(name)
            reason[kept & outside] = len(names) - 1
            kept &= ~outside

        names.append(NOT_DRAWN)
        window = np.flatnonzero(kept)
        keys = query_keys[row_query[row[window]]], numbers(positives, "doc_key")[row[window]]
        identity = (*keys, numbers(candidates, "doc_key")[at[window]])
        draw = STRATEGIES[self.config.sampling_strategy]
        drawn = draw(row[window], identity, self.config.seed, self.config.num_negatives)
        reason[window[~drawn]] = len(names) - 1

        chosen = np.flatnonzero(reason == 0)
        suspects = np.flatnonzero(np.isin(reason, [names.index(name) for name in SUSPECTED if name in names]))
        found = np.bincount(row[chosen], minlength=positives.num_rows)
        totals = np.bincount(reason, minlength=len(names))
        return Selection(
            negatives=_rows(candidates, positives, (row[chosen], at[chosen]), [names[i] for i in (0,)], reason[chosen]),
            suspected=_rows(candidates, positives, (row[suspects], at[suspects]), names, reason[suspects]),
            counts={name: int(total) for name, total in zip(names, totals, strict=True)},
            short_rows=int(((found > 0) & (found < self.config.num_negatives)).sum()),
            empty_rows=int((found == 0).sum()),
        )

    def _signals(self, candidates: pa.Table, positives: pa.Table, row_query: Ints, row: Ints, at: Ints) -> Candidates:
        margin_score = numbers(positives, "score")
        if self.config.margin_positive == "lowest" and len(row_query):
            starts = starts_of(row_query)
            lowest = np.minimum.reduceat(margin_score, starts)
            margin_score = np.repeat(lowest, np.diff(np.append(starts, len(row_query))))
        return Candidates(
            score=numbers(candidates, "score")[at],
            positive_score=margin_score[row],
            max_positive_similarity=numbers(candidates, "max_positive_similarity")[at],
            positive=numbers(candidates, "positive")[at],
        )


def _numbered(positives: pa.Table, candidates: pa.Table) -> tuple[Ints, Ints, Ints]:
    """Return the number of each positive's and of each candidate's query, in the order of positives, and the keys."""
    keys = numbers(positives, "query_key")
    query_keys = keys[starts_of(keys)]
    return row_of(query_keys, keys), row_of(query_keys, numbers(candidates, "query_key")), query_keys


def _rows(
    candidates: pa.Table, positives: pa.Table, pairs: tuple[Ints, Ints], names: list[str], reason: npt.NDArray[np.int8]
) -> pa.Table:
    row, at = (pa.array(rows) for rows in pairs)
    of_row = positives.select(["query_key", "doc_key", "score"]).take(row)
    of_candidate = candidates.select(
        ["doc_key", "score", "rank", "max_positive_similarity", "mean_positive_similarity"]
    ).take(at)
    reasons = pa.array(np.array(names, dtype=object)[reason], pa.string())
    columns = [*of_row.columns, *of_candidate.columns, reasons]
    return pa.table(columns, names=SELECTED.names).cast(SELECTED)
