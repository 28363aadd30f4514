"""What rules against false negatives cost and give: rate, hardness and yield, measured on views."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.candidates.config import SelectConfig
from operators.candidates.false_negatives.model import PROBABILITY
from operators.candidates.select import Select
from operators.candidates.sources import distinct, keys_of_pairs
from operators.keys import Keys
from operators.schemas import to_numpy
from operators.segments import first_index

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Rows of one view: its negatives are those of its query, and a query with many positives has as many rows.
ROWS_PER_VIEW = 4
RESAMPLES = 200
INTERVAL = (2.5, 97.5)
SEED = 7
# A Poisson count of this mean is 0 with a chance of 2.5 %.
AT_MOST_OF_NONE = -np.log(0.025)

# Settings of `select`, by the name of the rule that they are of; from strict to lenient.
Rules = Mapping[str, Sequence[Mapping[str, float | str]]]
RULES: Rules = {
    "none": [{}],
    "relative margin, row": [{"relative_margin": margin} for margin in (0.3, 0.2, 0.1, 0.05, 0.02, 0.0)],
    "relative margin, lowest": [
        {"relative_margin": margin, "margin_positive": "lowest"} for margin in (0.3, 0.2, 0.1, 0.05, 0.02, 0.0)
    ],
    "skip ranks": [{"range_min": skipped} for skipped in (60, 30, 20, 10, 5)],
    "model": [
        {"max_false_negative_probability": limit}
        for limit in (0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
    ],
}


# Limits of the similarity to positives: its size is of the encoder, so they are quantiles over all candidates.
SIMILARITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Point:
    """One setting of a rule.

    Attributes:
        rule: its name.
        settings: of `select`.
        rate: estimated share of unjudged positives among the negatives. With many unjudged positives for each known one
            more may be estimated than there are negatives: a rate above 1.
        low: lower end of the 95 % interval of the rate, over resampled queries.
        high: upper end.
        hardness: mean score of the negatives.
        full_rows: share of the rows that have all their negatives.
        predicted: mean probability of the negatives, where they have one.
    """

    rule: str
    settings: Mapping[str, float | str]
    rate: float
    low: float
    high: float
    hardness: float
    full_rows: float
    predicted: float

    def at_most_one(self) -> "Point":
        """Return the same with a rate, and an interval, that are shares."""
        return replace(self, **{name: min(getattr(self, name), 1.0) for name in ("rate", "low", "high")})


def frontier(
    views: "Views",
    window: tuple[int, int],
    unjudged_share: float,
    rules: Rules | None = None,
) -> list[Point]:
    """Select from views by each rule, and look how many hidden positives become negatives.

    Let a judge see each relevant document with the same chance p, and let N_m queries have m known positives. Whatever
    the number of relevant documents of queries is, (1 - p) / p (m + 1) N_{m + 1} unjudged ones are expected in queries
    with m known (a sum over binomial distributions), and they look like the positives that views hide which show m of
    m + 1. So each hidden positive stands for equally many unjudged ones of all queries, those with one known positive
    among them, in which nothing can be hidden. There are u / (1 - u) unjudged ones for each known one. With h hidden
    positives among the c negatives of views, each weighted by 1 / n where its query has n known ones, the rate is

        h / c * u / (1 - u) * known positives per query / the same of queries that have several.

    Args:
        views: with probabilities.
        window: how many negatives a row gets, and among how many of its best candidates they are looked for. Settings
            that leave fewer are left out.
        unjudged_share: u.
        rules: settings by the name of the rule that they are of; where it is None all rules.
    """
    prior = unjudged_share / (1 - unjudged_share)
    negatives, deepest = window
    rules = {**RULES, **views.similarity_rule()} if rules is None else rules
    base = {"num_negatives": negatives, "range_max": deepest, "max_rows_per_query": ROWS_PER_VIEW}
    return [
        views.point(rule, settings, SelectConfig.model_validate({**base, **settings}), prior)
        for rule, several in rules.items()
        for settings in several
        if int(settings.get("range_min", 0)) + negatives <= deepest
    ]


@dataclass(frozen=True)
class Views:
    """Views, and which of their candidates are hidden positives.

    Attributes:
        candidates: schema VIEWED; with PROBABILITY for a frontier.
        positives: schema POSITIVES, those that the views show.
        origin: the number of the query of each view, shape (views,).
        known: how many positives the query of each view has, shape (views,).
        queries: how many there are.
        fewer: known positives per query, of all queries, as a share of that of queries that have several.
    """

    candidates: pa.Table
    positives: pa.Table
    origin: Ints
    known: Ints
    queries: int
    fewer: float = 1.0

    @classmethod
    def of(cls, candidates: pa.Table, positives: pa.Table, origin: Keys, fewer: float = 1.0) -> "Views":
        """Return views.

        Args:
            candidates: schema VIEWED.
            positives: schema POSITIVES.
            origin: the query of each view, shape (views,).
            fewer: known positives per query, of all queries, as a share of that of queries that have several.
        """
        names, number = np.unique(origin, return_inverse=True)
        shown = np.bincount(to_numpy(positives, "query_key"), minlength=len(origin))
        return cls(candidates, positives, number, shown + 1, len(names), fewer)

    @property
    def hidden(self) -> npt.NDArray[np.bool_]:
        """Which candidates are hidden positives: bool of shape (n,)."""
        return np.asarray(self.candidates.column("hidden"))

    def similarity_rule(self) -> Rules:
        """Return limits of the highest similarity to a positive, from strict to lenient."""
        limits = np.quantile(to_numpy(self.candidates, "max_positive_similarity"), SIMILARITIES)
        return {"positive similarity": [{"max_positive_similarity": limit} for limit in np.unique(limits).tolist()]}

    def with_probability(self, probability: npt.NDArray[np.float32]) -> "Views":
        """Return the same views with a probability of each candidate, float32 of shape (n,)."""
        return replace(self, candidates=self.candidates.append_column(PROBABILITY, pa.array(probability)))

    def point(self, rule: str, settings: Mapping[str, float | str], select: SelectConfig, prior: float) -> Point:
        """Select by one setting of a rule, and measure.

        Args:
            rule: its name.
            settings: of the rule.
            select: all settings.
            prior: unjudged positives for each known one.
        """
        selection = Select(select)(self.candidates, self.positives)
        chosen = distinct(selection.negatives)
        view = to_numpy(chosen, "query_key")
        at = first_index(keys_of_pairs(self.candidates), keys_of_pairs(chosen))
        hidden = self.hidden[at]
        found, negatives = (
            np.bincount(self.origin[view], weights=weights, minlength=self.queries).astype(np.float64)
            for weights in (hidden, 1 / self.known[view])
        )
        rate, (low, high) = _ratio(found, negatives, prior * self.fewer)
        predicted = np.average(to_numpy(chosen, PROBABILITY), weights=1 / self.known[view]) if len(view) else np.nan
        hardness = np.average(to_numpy(chosen, "score"), weights=1 / self.known[view]) if len(view) else np.nan
        full = 1 - (selection.short_rows + selection.empty_rows) / max(selection.rows, 1)
        return Point(rule, settings, rate, low, high, float(hardness), full, float(predicted))


def _ratio(found: Doubles, denominator: Doubles, each: float) -> tuple[float, tuple[float, float]]:
    """Return a rate and its interval over resampled queries: what was found, each standing for so many, by all.

    Resampling nothing gives nothing: where none was found the upper end is the exact one of a Poisson count of none.
    """
    if not denominator.sum():
        return float("nan"), (float("nan"), float("nan"))
    rng = np.random.default_rng(SEED)
    weights = rng.multinomial(len(found), np.full(len(found), 1 / len(found)), size=RESAMPLES)
    below = weights @ denominator
    ratios = (weights @ found)[below > 0] / below[below > 0]
    low, high = each * np.percentile(ratios, INTERVAL)
    if not found.any():
        high = each * AT_MOST_OF_NONE / denominator.sum()
    return float(each * found.sum() / denominator.sum()), (float(low), float(high))
