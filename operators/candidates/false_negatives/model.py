"""The model of false negatives: a logistic regression of what known positives and unjudged candidates look like.

Let a judge of the collection mark documents as relevant, and let a share u of what it would mark be unjudged, at
random. Hide a known positive, and look at it as the search would have found it with those that are left: at the
features x, hidden positives have the density k(x), over all queries, where those of a query count as many as are left,
and unjudged candidates the density c(x). For each known positive there are u / (1 - u) unjudged ones, which look like
hidden ones, so the probability that an unjudged candidate is one is

    P(x) = k(x) / c(x) * u / (1 - u).

The regression of known positives against unjudged candidates gives k / c as its odds (Elkan and Noto, "Learning
classifiers from only positive and unlabeled data", KDD 2008, estimate the same factor by a held-out set). How many
positives were hidden to fit it drops out; that both densities are seen with equally many known positives does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from operators.candidates.false_negatives.features import FEATURES
from operators.errors import shown
from operators.settings import Settings

Floats = npt.NDArray[np.float32]

# The name of the signal.
PROBABILITY = "false_negative_probability"
# Features are kept within so many standard deviations of what the model was fitted on.
FURTHEST = 5.0
# Standard deviations of a normal distribution within which 95 % lie.
SURE = 1.96

Share = Annotated[float, Field(gt=0, lt=1)]


class Observed(Settings):
    """What came of a selection by the model, on hidden positives of queries that it was not fitted on.

    All are of negatives, as odds of the share that is unjudged (u / (1 - u)) are 1.

    Attributes:
        predicted: mean probability of the negatives.
        rate: estimated share of unjudged positives among them.
        low: lower end of the 95 % interval of the rate.
        high: upper end.
    """

    predicted: float = Field(gt=0)
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Rate:
    """A rate that is expected, and its 95 % interval, where it is known."""

    rate: float
    interval: tuple[float, float] | None = None

    def among(self, count: int) -> tuple[float, float] | None:
        """Return the 95 % interval of the number among so many: of the rate, and of chance. None where it is not known.

        Args:
            count: at least 1.
        """
        if self.interval is None:
            return None
        chance = SURE * np.sqrt(self.rate * (1 - self.rate) / count)
        low, high = (end - self.rate for end in self.interval)
        ends = self.rate - np.hypot(low, chance), self.rate + np.hypot(high, chance)
        below, above = (np.clip(ends, 0, 1) * count).tolist()
        return below, above


class FalseNegativeModel(Settings):
    """How much denser known positives are than unjudged candidates, by their features.

    Attributes:
        features: the names of those that it reads.
        centre: what is taken from each.
        scale: by what each is divided then.
        coefficients: of each.
        intercept: of the regression.
        similarity: how the vectors were compared that it was fitted on.
        observed: selections by it, by ascending mean probability; none where it was not measured.
        fitted_on: on what: collections, encoder, counts.
    """

    features: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    similarity: str = "cosine"
    observed: tuple[Observed, ...] = ()
    fitted_on: Mapping[str, Any] = {}

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        numbers = {len(self.features), len(self.centre), len(self.scale), len(self.coefficients)}
        if len(numbers) > 1:
            raise ValueError("features, centre, scale and coefficients have to be equally many")
        unknown = [name for name in self.features if name not in FEATURES]
        if unknown:
            raise ValueError(f"features: there is no feature {shown(unknown[0])}")
        if not all(scale > 0 for scale in self.scale):
            raise ValueError("scale: numbers above 0 are wanted")
        if any(after.predicted <= before.predicted for before, after in pairwise(self.observed)):
            raise ValueError("observed: selections have to be in ascending order of predicted")
        return self

    def log_odds(self, features: Mapping[str, Floats]) -> npt.NDArray[np.float64]:
        """Return log(k / c) of each candidate: float64 of shape (n,).

        Args:
            features: name -> float32 of shape (n,).
        """
        total = np.full(len(next(iter(features.values()))), self.intercept)
        for name, centre, scale, weight in zip(self.features, self.centre, self.scale, self.coefficients, strict=True):
            total += weight * np.clip((features[name] - centre) / scale, -FURTHEST, FURTHEST)
        return total

    def probability(self, features: Mapping[str, Floats], unjudged_share: float) -> Floats:
        """Return the probability that each candidate is an unjudged positive: float32 of shape (n,).

        Args:
            features: name -> float32 of shape (n,).
            unjudged_share: which share of what a judge would mark is unjudged.
        """
        return probability_of(self.log_odds(features), unjudged_share)

    def expected(self, predicted: float, unjudged_share: float) -> Rate:
        """Return the rate of unjudged positives that is expected among negatives, from their mean probability.

        What was observed on hidden positives corrects it: the ratio of both, interpolated over the logarithm of the
        mean probability.

        Args:
            predicted: mean probability of the negatives.
            unjudged_share: which share of what a judge would mark is unjudged.
        """
        if not self.observed or not predicted > 0:
            return Rate(predicted)
        odds = unjudged_share / (1 - unjudged_share)
        seen = np.array([one.predicted for one in self.observed])
        at = np.log(predicted / odds)
        rate, low, high = (
            min(float(predicted * np.interp(at, np.log(seen), [getattr(one, name) for one in self.observed] / seen)), 1)
            for name in ("rate", "low", "high")
        )
        return Rate(rate, (low, high))


def probability_of(log_odds: npt.NDArray[np.float64], unjudged_share: float) -> Floats:
    """Return k / c u / (1 - u), at most 1, from log(k / c): float32 of the same shape; not a number stays so."""
    prior = np.log(unjudged_share) - np.log1p(-unjudged_share)
    return np.asarray(np.exp(np.minimum(log_odds + prior, 0)), dtype=np.float32)
