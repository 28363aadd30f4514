"""Negatives of each rule against false negatives, at equal hardness, of a collection of which positives are hidden."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.hidden import Examples, Hidden, Judged
from benchmarks.outcomes import (
    Doubles,
    Outcome,
    at_hardness,
    by_margin,
    first_kept,
    mean,
    paired,
    rate_interval,
    ratio,
)
from operators.candidates.false_negatives.features import FEATURES
from operators.candidates.false_negatives.model import FalseNegativeModel
from pipelines.reports.charts import frontier_chart

SEEDS = 5
FOLDS = 5
MARGINS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
# Fewer negatives than these are no point of a curve.
SMALLEST = 100
# Signals of which each has a frontier of its own: those above a cut are dropped, or, with -1, those below.
SIGNALS = {
    "score": 1,
    "log_rank": -1,
    "gap_highest": -1,
    "max_positive_similarity": 1,
    "mean_positive_similarity": 1,
}


def cross_fitted(hidden: Hidden, examples: Examples, share: float) -> Doubles:
    """Return the probability of each candidate by a model of the known positives of other queries."""
    fold = np.random.default_rng(1).permutation(int(hidden.query.max()) + 1) % FOLDS
    probability = np.empty(len(hidden.query))
    for number in range(FOLDS):
        model = examples.model(fold[examples.query] != number)
        here = fold[hidden.query] == number
        some = {name: hidden.features[name][here] for name in FEATURES}
        probability[here] = model.probability(some, share)
    return probability


def by_model(hidden: Hidden, model: FalseNegativeModel, share: float) -> Doubles:
    """Return the probability of each candidate by a model."""
    return model.probability(hidden.features, share).astype(np.float64)


def frontier_rows(collection: Judged, share: float | None, model: FalseNegativeModel | None) -> Iterator[list[str]]:
    """Yield a row for each rule at the hardness of the margin to the row's positive, over all seeds.

    Args:
        collection: its queries have at least two positives.
        share: of the positives that are hidden; all but one where it is None.
        model: of the probabilities; None fits one on the known positives of other queries.
    """
    outcomes: dict[str, list[Outcome]] = {}
    for seed in range(SEEDS):
        hidden = Hidden.of(collection, share, seed)
        row = by_margin(hidden, "row")
        unjudged = 0.5 if share is None else share
        probability = (
            cross_fitted(hidden, hidden.examples(), unjudged) if model is None else by_model(hidden, model, unjudged)
        )
        of_seed = {
            "none": first_kept(hidden, np.ones(len(hidden.query), dtype=np.bool_)),
            "relative margin .05, row": row,
            "relative margin .05, lowest": by_margin(hidden, "lowest"),
            **{
                name: at_hardness(hidden, sign * hidden.features[name].astype(np.float64), row.hardness)
                for name, sign in SIGNALS.items()
            },
            "model": at_hardness(hidden, probability, row.hardness, probability),
        }
        for name, outcome in of_seed.items():
            outcomes.setdefault(name, []).append(outcome)
    for name, several in outcomes.items():
        low, high = paired(outcomes["model"], several)
        yield [
            name,
            f"{mean(several, 'rate'):.3f}",
            f"{mean(several, 'per_query'):.3f}",
            f"{mean(several, 'hardness'):.3f}",
            f"{mean(several, 'full'):.0%}",
            "" if name == "model" or not mean(several, "rate") else f"{ratio(outcomes['model'], several):.2f}",
            "" if name == "model" else f"[{low:+.3f}, {high:+.3f}]",
        ]


def drawn_frontier(collection: Judged, path: Path) -> str:
    """Draw the rate of each rule over the hardness of its negatives, half of the positives hidden; return Markdown."""
    hidden = Hidden.of(collection, 0.5, 0)
    probability = cross_fitted(hidden, hidden.examples(), 0.5)
    curves = {
        "relative margin, row": [by_margin(hidden, "row", margin) for margin in MARGINS],
        "skip ranks": _cut(hidden, -hidden.features["log_rank"].astype(np.float64)),
        "positive similarity": _cut(hidden, hidden.features["max_positive_similarity"].astype(np.float64)),
        "model": _cut(hidden, probability),
    }
    points = []
    for rule, outcomes in curves.items():
        for one in (one for one in outcomes if one.negatives.sum() > SMALLEST):
            ends = dict(zip(("low", "high"), rate_interval([one]), strict=True))
            points.append({"rule": rule, "rate": one.rate, "hardness": one.hardness, **ends})
    path.write_text(frontier_chart(points), encoding="utf-8")
    return f"![The rate of false negatives over the hardness of the negatives, by rule]({path.name})"


def _cut(hidden: Hidden, values: Doubles) -> list[Outcome]:
    return [first_kept(hidden, values <= cut) for cut in np.unique(np.quantile(values, np.linspace(0.3, 1, 40)))]
