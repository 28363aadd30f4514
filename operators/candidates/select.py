"""Select negatives: filter the candidates, cut the window, draw, and account for every candidate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, model_validator

from operators.candidates import draws as own_draws
from operators.candidates import filters as own_filters
from operators.candidates.draw import MOST_NEGATIVES, Draw
from operators.candidates.filter import Filter
from operators.candidates.pairs import ALWAYS_THERE, Pairs, pairs_of
from operators.plugins import code_of, find, made
from operators.schemas import POSITIVE_DOCUMENT, SELECTED, to_numpy
from operators.segments import count_before, rank_within
from operators.settings import AtLeastOne, AtLeastZero, Settings

Ints = npt.NDArray[np.int64]

NEGATIVE = "negative"  # chosen
NOT_DRAWN = "not_drawn"  # eligible, but enough negatives were already chosen
# Outside the window of the candidates that passed the filters: before its beginning, after its end.
WINDOW = ("range_min", "range_max")

# Filters that have a key of their own in `select`, and what that key is in their section.
SHORT_FORMS = {
    "max_positive_similarity": "limit",
    "absolute_margin": "margin",
    "relative_margin": "margin",
    "max_score": "limit",
    "min_score": "limit",
}


def _filter(settings: object) -> Filter:
    return made(settings, "filter", Filter, own_filters)  # type: ignore[type-abstract]


def _draw(settings: object) -> Draw:
    return made(settings, "strategy", Draw, own_draws)  # type: ignore[type-abstract]


def _strategy(name: str) -> str:
    find(name, Draw, own_draws)  # type: ignore[type-abstract]
    return name


AnyFilter = Annotated[SerializeAsAny[Filter], BeforeValidator(_filter)]
AnyDraw = Annotated[SerializeAsAny[Draw], BeforeValidator(_draw)]


class FilterConfig(Settings):
    """Which candidates are not fit to be negatives. Names and meanings are those of sentence-transformers.

    Attributes:
        max_positive_similarity: drop candidates whose similarity to a positive document of the query is higher.
        absolute_margin: drop candidates whose score is above the positive's score less this.
        relative_margin: drop candidates whose score is above the positive's score less this fraction of its magnitude:
            `score > positive - abs(positive) * relative_margin`, so right for negative scores too (0.05 is TopK-PercPos
            95 % of NV-Retriever, arXiv 2407.15831, section 3.2).
        margin_positive: against which positive the margins are taken where a query has several. `row`: the positive
            of the row that the negatives are drawn for, so rows of one query may have different negatives. `lowest`:
            the lowest-scored positive of the query for all its rows, as sentence-transformers does.
        max_score: drop candidates with a higher score.
        min_score: drop candidates with a lower score.
        filters: further filters: `{filter: name, ...}`, or `module:name` of your own.
    """

    max_positive_similarity: float | None = None
    absolute_margin: float | None = Field(default=None, ge=0)
    relative_margin: float | None = Field(default=None, ge=0)
    margin_positive: Literal["row", "lowest"] = "row"
    max_score: float | None = None
    min_score: float | None = None
    filters: tuple[AnyFilter, ...] = ()

    def active_filters(self) -> list[Filter]:
        """Return the filters in the order in which they are asked: the first that drops a candidate is its reason."""
        given = {name: value for name in SHORT_FORMS if (value := getattr(self, name)) is not None}
        short = [{"filter": name, SHORT_FORMS[name]: value} for name, value in given.items()]
        always = [{"filter": "positive"}, {"filter": "positive_text"}]
        return [*map(_filter, (*always, *short)), *self.filters]


class SelectConfig(FilterConfig):
    """Which candidates become negatives. Names and meanings are those of sentence-transformers.

    Attributes:
        num_negatives: how many negatives each (query, positive) row gets, at most.
        range_min: skip so many of the best candidates that passed the filters.
        range_max: draw only from so many of the best that passed the filters.
        sampling_strategy: `top` takes the best of that window, `random` a uniform sample of it.
        seed: of the sample. The same seed gives the same sample, in whatever order and on how many workers.
        draws: several draws one after the other, in the place of `num_negatives` and `sampling_strategy`:
            `{strategy: name, num_negatives: 2, ...}`, or `module:name` of your own. A candidate is drawn once.
    """

    num_negatives: int = Field(default=4, ge=1, le=MOST_NEGATIVES)
    range_min: AtLeastZero = 0
    range_max: AtLeastOne = 100
    sampling_strategy: Annotated[str, AfterValidator(_strategy)] = "top"
    seed: int = 0
    draws: tuple[AnyDraw, ...] = ()

    @model_validator(mode="after")
    def _window_holds_the_negatives(self) -> Self:
        short_form, fields = ("num_negatives", "sampling_strategy"), type(self).model_fields
        given = [name for name in short_form if getattr(self, name) != fields[name].default]
        if self.draws and given:
            raise ValueError(f"{' and '.join(given)}: the short form of one draw: give them in draws alone")
        wanted, window = self.negatives_per_row, self.range_max - self.range_min
        if wanted > MOST_NEGATIVES:
            raise ValueError(f"draws: {wanted:,} negatives for each row; the most is {MOST_NEGATIVES:,}")
        if wanted > window:
            raise ValueError(
                f"num_negatives ({wanted}) is larger than the candidate window: range_max - range_min is "
                f"{max(window, 0)}. Lower num_negatives or range_min, or raise range_max."
            )
        return self

    def active_draws(self) -> tuple[Draw, ...]:
        """Return the draws, or the one that the short form stands for."""
        short = {"strategy": self.sampling_strategy, "num_negatives": self.num_negatives, "seed": self.seed}
        return self.draws or (_draw(short),)

    @property
    def negatives_per_row(self) -> int:
        """How many negatives a full row has."""
        return sum(draw.num_negatives for draw in self.active_draws())

    @property
    def needed(self) -> int:
        """How many candidates have to pass the filters so that more of them would change nothing."""
        first_only = all(draw.first_only for draw in self.active_draws())
        return self.range_min + self.negatives_per_row if first_only else self.range_max

    @property
    def signals(self) -> frozenset[str]:
        """The signals that its filters and draws read."""
        needs = [*(one.needs for one in self.active_filters()), *(one.needs for one in self.active_draws())]
        return frozenset(name for names in needs for name in names)

    def code(self) -> Mapping[str, Any]:
        """Return a digest of the code of filters and draws that are not ours: they decide what is selected, too."""
        own = {type(one).__name__: code_of(one) for one in (*self.filters, *self.draws)}
        return {name: digest for name, digest in own.items() if digest is not None}


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

    def __init__(self, config: SelectConfig) -> None:
        self.config = config
        self.filters, self.draws = config.active_filters(), config.active_draws()

    @cached_property
    def reasons(self) -> list[str]:
        """What becomes of candidates; reason codes are places in this list."""
        return list(dict.fromkeys([NEGATIVE, *(one.reason for one in self.filters), *WINDOW, NOT_DRAWN]))

    def __call__(self, candidates: pa.Table, positives: pa.Table) -> Selection:
        """Select for every positive of a batch.

        Args:
            candidates: schema CANDIDATES and a column for every further signal in use; those of one query together,
                best first. Those of a query without positives have no row to be drawn for: they are left out.
            positives: schema POSITIVES, those of one query together; each one is a row of the output.

        With several positives per query, margins are taken against the positive of the row (`margin_positive: row`),
        or against the lowest of them.
        """
        pairs = self._pairs(candidates, positives)
        reason = self._reason_codes(pairs, self.filters)
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
        pairs = self._pairs(candidates, positives)
        # Signals that are computed after the search cannot decide how deep it goes.
        known = [one for one in self.filters if set(one.needs).issubset(ALWAYS_THERE)]
        reason = self._reason_codes(pairs, known)
        passed = np.isin(reason, [0, *(self.reasons.index(name) for name in WINDOW)])
        passing = np.bincount(pairs.row[passed], minlength=len(query))
        counted = pairs["positive"] != POSITIVE_DOCUMENT
        found = np.bincount(pairs.row[counted], minlength=len(query))
        missing = (passing < self.config.needed) & (found >= k)
        return np.asarray(np.unique(query[missing]))

    def _pairs(self, candidates: pa.Table, positives: pa.Table) -> Pairs:
        return pairs_of(candidates, positives, lowest=self.config.margin_positive == "lowest")

    def _reason_codes(self, pairs: Pairs, filters: Sequence[Filter]) -> npt.NDArray[np.int8]:
        """Return the reason code of each pair, shape (n,), 0 for those that negatives are drawn from."""
        reason, kept = np.zeros(len(pairs), dtype=np.int8), np.ones(len(pairs), dtype=np.bool_)
        for one in filters:
            dropped = kept & one.drops(pairs)
            reason[dropped] = self.reasons.index(one.reason)
            kept &= ~dropped
        place = count_before(kept, pairs.row)
        outside = {"range_min": place < self.config.range_min, "range_max": place >= self.config.range_max}
        for name in WINDOW:
            reason[kept & outside[name]] = self.reasons.index(name)
        return reason

    def _drawn(self, pairs: Pairs, reason: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """Draw; what is not drawn gets its reason. Returns which draw took each pair, shape (n,), or -1."""
        taken_by = np.full(len(pairs), -1, dtype=np.int8)
        left = np.flatnonzero(reason == 0)
        for number, draw in enumerate(self.draws):
            eligible = pairs.take(left)
            taken = highest(eligible.row, draw.priority(eligible), draw.num_negatives)
            taken_by[left[taken]] = number
            left = left[~taken]
        reason[left] = self.reasons.index(NOT_DRAWN)
        return taken_by

    def _rows(self, pairs: Pairs, reason: npt.NDArray[np.int8], draw: npt.NDArray[np.int8]) -> pa.Table:
        row, candidate = pa.array(pairs.row), pa.array(pairs.candidate)
        of_row = pairs.rows.select(["query_key", "doc_key", "score"]).take(row)
        of_candidate = pairs.candidates.select(
            ["doc_key", "score", "rank", "max_positive_similarity", "mean_positive_similarity"]
        ).take(candidate)
        names = [_named(draw, [one.strategy for one in self.draws]), _named(reason, self.reasons)]
        return pa.table([*of_row.columns, *of_candidate.columns, *names], names=SELECTED.names).cast(SELECTED)


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


def _named(codes: npt.NDArray[np.int8], names: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(names)).cast(pa.string())
