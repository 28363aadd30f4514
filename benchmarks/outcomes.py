"""Negatives of one rule, of a collection of which some positives are hidden: rate, hardness, yield."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.hidden import Hidden, K
from operators.candidates.config import SelectConfig
from operators.candidates.select import Select
from operators.candidates.sources import distinct, keys_of_pairs
from operators.schemas import to_numpy
from operators.segments import first_index, rank_within

Mask = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]

NEGATIVES = 4
MARGIN = 0.05
CUTS = 200
RESAMPLES = 2_000


@dataclass(frozen=True)
class Outcome:
    """Negatives of one rule.

    Attributes:
        found: of each query, how many hidden positives are among its distinct negatives.
        negatives: of each query, how many distinct negatives it has.
        hardness: mean score.
        full: share of the rows with all their negatives.
        predicted: mean probability, where there is one.
    """

    found: Doubles
    negatives: Doubles
    hardness: float
    full: float
    predicted: float = float("nan")

    @property
    def rate(self) -> float:
        """Share of the negatives that are hidden positives."""
        return float(self.found.sum() / self.negatives.sum())

    @property
    def per_query(self) -> float:
        """The same share of each query, and the mean over the queries that have negatives."""
        some = self.negatives > 0
        return float((self.found[some] / self.negatives[some]).mean())


def first_kept(hidden: Hidden, kept: Mask, probability: Doubles | None = None) -> Outcome:
    """Take the first negatives of each query among the kept candidates."""
    at = np.flatnonzero(kept)
    at = at[rank_within(hidden.query[at]) < NEGATIVES]
    queries = int(hidden.query.max()) + 1
    negatives = np.bincount(hidden.query[at], minlength=queries).astype(np.float64)
    found = np.bincount(hidden.query[at], weights=hidden.truth[at], minlength=queries).astype(np.float64)
    hardness = float(to_numpy(hidden.candidates, "score")[at].mean()) if len(at) else float("nan")
    predicted = float("nan") if probability is None or not len(at) else float(probability[at].mean())
    return Outcome(found, negatives, hardness, float((negatives == NEGATIVES).mean()), predicted)


def by_margin(hidden: Hidden, reference: str, margin: float = MARGIN) -> Outcome:
    """Select as `relative_margin` does: to the row's positive, or to the lowest."""
    config = SelectConfig.model_validate(
        {"relative_margin": margin, "margin_positive": reference, "num_negatives": NEGATIVES, "range_max": K}
    )
    selection = Select(config)(hidden.candidates, hidden.positives)
    chosen = distinct(selection.negatives)
    truth = hidden.truth[first_index(keys_of_pairs(hidden.candidates), keys_of_pairs(chosen))]
    query, queries = to_numpy(chosen, "query_key"), int(hidden.query.max()) + 1
    return Outcome(
        np.bincount(query, weights=truth, minlength=queries).astype(np.float64),
        np.bincount(query, minlength=queries).astype(np.float64),
        float(to_numpy(selection.negatives, "score").mean()),
        1 - (selection.short_rows + selection.empty_rows) / selection.rows,
    )


def at_hardness(hidden: Hidden, values: Doubles, hardness: float, probability: Doubles | None = None) -> Outcome:
    """Keep candidates up to the cut of a signal at which the negatives are as hard as this."""
    cuts = np.unique(np.quantile(values, np.linspace(0, 1, CUTS)))
    outcomes = [first_kept(hidden, values <= cut, probability) for cut in cuts]
    return min((one for one in outcomes if one.negatives.sum()), key=lambda one: abs(one.hardness - hardness))


def mean(outcomes: Sequence[Outcome], what: str) -> float:
    """Return the mean of a number over seeds."""
    return float(np.mean([getattr(one, what) for one in outcomes]))


def ratio(one: Sequence[Outcome], other: Sequence[Outcome]) -> float:
    """Return the rate of one rule as a share of that of another, over all seeds."""
    return mean(one, "rate") / mean(other, "rate")


def paired(one: Sequence[Outcome], other: Sequence[Outcome]) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two rates, over resampled queries, each with all its seeds."""
    return _interval(_resampled(one) - _resampled(other))


def rate_interval(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """Return the 95 % interval of a rate, over resampled queries, each with all its seeds."""
    return _interval(_resampled(outcomes))


def _resampled(outcomes: Sequence[Outcome]) -> Doubles:
    """Return the rate of each sample of queries; the samples are the same for outcomes of the same queries."""
    queries = len(outcomes[0].found)
    weights = np.random.default_rng(0).multinomial(queries, np.full(queries, 1 / queries), size=RESAMPLES)
    found, negatives = (np.sum([getattr(one, what) for one in outcomes], axis=0) for what in ("found", "negatives"))
    return np.asarray(weights @ found / (weights @ negatives))


def _interval(values: Doubles) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
