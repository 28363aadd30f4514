"""Calibrate: fit the model on the positives of a collection, and measure it against classic rules on other queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit

from operators.candidates.false_negatives.config import FalseNegativeConfig
from operators.candidates.false_negatives.features import FEATURES, features_of
from operators.candidates.false_negatives.fit import fitted
from operators.candidates.false_negatives.frontier import Point, Rules, Views, frontier
from operators.candidates.false_negatives.model import FalseNegativeModel, Observed, probability_of
from operators.errors import InputError
from operators.keys import uniform
from operators.schemas import to_numpy

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

FOLDS = 5
FOLD_SEED = 3
# Hidden positives that search found: from so many on a model is fitted, and with fewer the default's intercept is.
FEWEST_TO_FIT = 200
FEWEST_TO_SHIFT = 10
# The intercept is looked for so far from that of the default.
FURTHEST_SHIFT = 30.0


@dataclass(frozen=True)
class Calibration:
    """What came of a calibration.

    Attributes:
        model: to be used.
        how: `fitted`, `intercept` (the default with an intercept of these views) or `default`.
        hidden: how many hidden positives the search found.
        views: how many positives were hidden.
        queries: how many queries these are of.
        skill: 1 less the log-loss of the model, on queries that it was not fitted on, over that of the base rate.
        points: rules with their rates, the model applied to queries that it was not fitted on.
    """

    model: FalseNegativeModel
    how: str
    hidden: int
    views: int
    queries: int
    skill: float
    points: list[Point]


def calibrate(
    views: Views,
    config: FalseNegativeConfig,
    window: tuple[int, int],
    similarity: str = "cosine",
    about: Mapping[str, Any] | None = None,
    rules: Rules | None = None,
) -> Calibration:
    """Fit on views, and measure on views of other queries.

    Args:
        views: of hidden positives.
        config: the model to fall back to, and the share of relevant documents that nobody judged.
        window: of the frontier: how many negatives a row gets, and among how many of its best candidates.
        similarity: how vectors are compared.
        about: kept with the model.
        rules: of the frontier.

    Raises:
        InputError: too few hidden positives were found to fit a model, and the one to fall back to is for vectors that
            are compared in another way.
    """
    features, hidden = features_of(views.candidates, views.positives), views.hidden
    weight = to_numpy(views.candidates, "weight")
    of_query = views.origin[to_numpy(views.candidates, "query_key")]
    count = len(views.origin)
    facts = {**(about or {}), "hidden": int(hidden.sum()), "views": count, "queries": views.queries}
    if hidden.all():
        raise InputError("search.k: the search found nothing but known positives. Raise search.k.")
    fold = np.floor(uniform(FOLD_SEED, of_query) * FOLDS).astype(np.int64)
    enough = {"fitted": FEWEST_TO_FIT, "intercept": FEWEST_TO_SHIFT, "default": 0}
    # Where those of one fold are all, hidden or not, no model can be fitted on the others and measured there.
    spread = min(len(np.unique(fold[some])) for some in (hidden, ~hidden)) > 1
    how = next(one for one, fewest in enough.items() if facts["hidden"] >= fewest and (spread or not fewest))
    if how != "fitted" and config.model.similarity != similarity:
        raise InputError(
            f"data: the search found {facts['hidden']:,} of {count:,} hidden positives, too few to fit a model "
            f"({FEWEST_TO_FIT} are needed), and the given one is for {config.model.similarity}, not {similarity}. Add "
            f"judgements, or use a margin instead."
        )
    log_odds = np.empty(len(hidden))
    for number in range(FOLDS):
        here = fold == number
        model = _made(how, (features, hidden, weight), ~here, config.model)
        log_odds[here] = model.log_odds({name: values[here] for name, values in features.items()})
    final = _made(how, (features, hidden, weight), np.ones(len(hidden), dtype=np.bool_), config.model)
    probability = probability_of(log_odds, config.unjudged_share)
    points = frontier(views.with_probability(probability), window, config.unjudged_share, rules)
    final = final.model_copy(
        update={
            "similarity": similarity,
            "fitted_on": {**final.fitted_on, how: facts},
            "observed": () if how == "default" else _observed(points, config.unjudged_share),
        }
    )
    skill = _skill(log_odds, hidden, weight)
    shares = [point.at_most_one() for point in points]
    return Calibration(final, how, facts["hidden"], facts["views"], facts["queries"], skill, shares)


def _made(
    how: str, examples: tuple[Mapping[str, Floats], Mask, Floats], some: Mask, default: FalseNegativeModel
) -> FalseNegativeModel:
    """Return the model of some examples: features, hidden and weight of each."""
    features, hidden, weight = examples
    if how == "default":
        return default
    taken = {name: values[some] for name, values in features.items()}
    if how == "fitted":
        return fitted(taken, hidden[some], weight[some], FEATURES)
    return recalibrated(default, taken, hidden[some], weight[some])


def recalibrated(
    model: FalseNegativeModel, features: Mapping[str, Floats], hidden: Mask, weight: Floats
) -> FalseNegativeModel:
    """Return a model with the intercept by which it expects as many hidden positives as there are.

    Args:
        model: its coefficients stay.
        features: of the candidates of views, name -> float32 of shape (n,).
        hidden: which are hidden positives, shape (n,): at least one.
        weight: of each candidate, shape (n,).
    """
    log_odds = model.log_odds(features)

    def excess(shift: float) -> float:
        return float(weight @ expit(log_odds + shift) - weight @ hidden)

    shift = brentq(excess, -FURTHEST_SHIFT, FURTHEST_SHIFT)
    return model.model_copy(update={"intercept": model.intercept + shift})


def _observed(points: Sequence[Point], unjudged_share: float) -> tuple[Observed, ...]:
    """Return what selections by the model came to, by ascending mean probability, with one unjudged for each known."""
    odds = unjudged_share / (1 - unjudged_share)
    measured = {
        point.predicted / odds: Observed(
            predicted=point.predicted / odds, rate=point.rate / odds, low=point.low / odds, high=point.high / odds
        )
        for point in points
        if point.rule in ("model", "none") and point.predicted > 0 and point.rate > 0
    }
    return tuple(measured[predicted] for predicted in sorted(measured))


def _skill(log_odds: npt.NDArray[np.float64], hidden: Mask, weight: Floats) -> float:
    if not len(hidden) or hidden.all() or not hidden.any():
        return float("nan")
    base = np.average(hidden, weights=weight)
    loss = np.average(np.logaddexp(0, np.where(hidden, -log_odds, log_odds)), weights=weight)
    return float(1 - loss / -(base * np.log(base) + (1 - base) * np.log1p(-base)))
