"""The log-probability of a negative: against closed forms, and by chi-square over seeds."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy import special, stats

from operators.candidates.config import SelectConfig
from operators.candidates.draw import Draw, Mask, Priority
from operators.candidates.matching import CUTOFFS
from operators.candidates.pairs import Pairs
from operators.candidates.select import Select
from tests.unit.operators.tables import candidates, positives

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]

HERE = "tests.unit.operators.candidates.test_log_probability"
SCORES = np.array([0.9, 0.8, 0.75, 0.5, 0.4, 0.1])
POSITIVE = 0.7
SURE = 0.999  # of fair draws so many pass


def log_inverse_density(score: Floats, dimension: int) -> Floats:
    """Of the distances of points on the sphere, with the default cutoff."""
    distance = np.maximum(np.sqrt(2 - 2 * score), 0.5)
    return -(dimension - 2) * np.log(distance) - (dimension - 3) / 2 * np.log(1 - distance**2 / 4)


# A draw, the dimension of the vectors, and the logarithm of the weight of a score by the formula of the paper.
FORMULAS: dict[str, tuple[Row, int, Callable[[Floats], Floats]]] = {
    "random": ({"strategy": "random"}, 8, np.zeros_like),
    "softmax": ({"strategy": "softmax", "temperature": 0.1}, 8, lambda score: score / 0.1),
    "simans": ({"strategy": "simans", "a": 8.0, "b": 0.05}, 8, lambda score: -8.0 * (score - POSITIVE - 0.05) ** 2),
    "distance_weighted": ({"strategy": "distance_weighted"}, 8, lambda score: log_inverse_density(score, 8)),
    "cold softmax": ({"strategy": "softmax", "temperature": 0.001}, 8, lambda score: score / 0.001),
    "steep simans": ({"strategy": "simans", "a": 1000.0}, 8, lambda score: -1000.0 * (score - POSITIVE) ** 2),
    "many dimensions": ({"strategy": "distance_weighted"}, 384, lambda score: log_inverse_density(score, 384)),
}
EVERY_FORMULA = pytest.mark.parametrize("formula", FORMULAS)


def taken(draws: list[Row], *, dimension: int = 8, capped: tuple[int, ...] = (), keys: int = 1) -> list[Row]:
    """The negatives of so many queries; the cap takes documents of these places away."""
    document = np.random.default_rng(0).integers(1 << 62, size=(keys, len(SCORES)))
    found = [
        {"query_key": query, "doc_key": int(key), "score": score, "rank": place}
        for query, of_query in enumerate(document)
        for place, (key, score) in enumerate(zip(of_query, SCORES, strict=True))
    ]
    full = np.sort(document[:, list(capped)].ravel())  # of rows that score 1
    cutoffs = pa.table([full, np.ones(len(full)), np.zeros(len(full))], CUTOFFS.names).cast(CUTOFFS)
    judged = positives([{"query_key": query, "doc_key": 7, "score": POSITIVE} for query in range(keys)])
    select = Select(SelectConfig.model_validate({"draws": draws}), dimension=dimension)
    rows: list[Row] = select(candidates(found), judged, cutoffs).negatives.to_pylist()
    return rows


@EVERY_FORMULA
@pytest.mark.parametrize(
    ("earlier", "window", "capped", "free"),
    [
        ([], {}, (), [0, 1, 2, 3, 4, 5]),
        ([{"strategy": "top", "num_negatives": 2}], {}, (), [2, 3, 4, 5]),
        ([{"strategy": "top", "num_negatives": 2}], {"range_max": 5}, (), [2, 3, 4]),
        ([], {"range_min": 1}, (0, 3), [1, 2, 4, 5]),
        ([{"strategy": "top", "num_negatives": 2}], {"range_max": 5}, (1,), [3, 4]),
    ],
    ids=["alone", "after another", "in a window", "under a cap", "all of it"],
)
def test_it_is_the_share_of_the_weight_among_what_is_free(
    formula: str, earlier: list[Row], window: Row, capped: tuple[int, ...], free: list[int]
) -> None:
    """All that is free is taken, so the probabilities add up to 1."""
    settings, dimension, log_weight = FORMULAS[formula]
    draws = [*earlier, {**settings, **window, "num_negatives": len(free)}]
    rows = taken(draws, dimension=dimension, capped=capped)
    drawn = [one for one in rows if one["draw"] == settings["strategy"]]
    given = np.array([one["log_probability"] for one in drawn])
    assert [one["rank"] for one in drawn] == free
    assert given == pytest.approx(special.log_softmax(log_weight(SCORES[free])), rel=1e-4, abs=1e-5)
    assert np.isfinite(given).all()
    assert special.logsumexp(given) == pytest.approx(0, abs=1e-5)
    assert all(one["log_probability"] is None for one in rows if one["draw"] == "top")


@pytest.mark.parametrize("formula", ["random", "softmax", "simans", "distance_weighted"])
@pytest.mark.parametrize("capped", [(), (2,)], ids=["free", "capped"])
def test_a_second_draw_takes_with_that_probability_whatever_the_first_took(
    formula: str, capped: tuple[int, ...]
) -> None:
    """Chi-square over seeds, for each of the sets that the first draw may leave; both draws have the same seed."""
    settings, dimension, log_weight = FORMULAS[formula]
    times: dict[frozenset[int], Counter[int]] = {}
    for seed in range(10):
        first = {"strategy": "random", "num_negatives": 2, "range_max": 4, "seed": seed}
        draws = [first, {**settings, "num_negatives": 1, "seed": seed}]
        rows = taken(draws, dimension=dimension, capped=capped, keys=400)
        for three in zip(*[iter(rows)] * 3, strict=True):
            (second,) = (one["rank"] for one in three if one["draw"] not in {"random", "random (1)"})
            before = {one["rank"] for one in three} - {second}
            times.setdefault(frozenset(range(len(SCORES))) - before - set(capped), Counter())[second] += 1
    distance, degrees = 0.0, 0
    for left, counted in times.items():
        places = sorted(left)
        expected = special.softmax(log_weight(SCORES[places])) * counted.total()
        seen = np.array([counted[place] for place in places])
        distance, degrees = distance + ((seen - expected) ** 2 / expected).sum(), degrees + len(places) - 1
    assert len(times) == (3 if capped else 6)
    assert distance < stats.chi2.ppf(SURE, degrees)


class Halves(Draw):
    """A draw of a user: the best is taken in half of all cases; it says so."""

    needs = ("score",)
    wrong: bool = False

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        return pairs["score"].astype(np.float64)

    def log_probability(self, pairs: Pairs, free: Mask) -> Priority:
        del pairs
        return np.log(np.where(free, 0.5, np.nan))[: len(free) - self.wrong]


def test_what_a_draw_of_your_own_says_is_carried() -> None:
    draws = [{"strategy": "top", "num_negatives": 1}, {"strategy": f"{HERE}:Halves", "num_negatives": 2}]
    given = [one["log_probability"] for one in taken(draws)]
    assert given == [None, *[pytest.approx(np.log(0.5))] * 2]


def test_a_draw_of_your_own_that_says_too_little_is_named() -> None:
    with pytest.raises(ValueError, match=r"Halves.log_probability: numbers of shape \(6,\) are wanted, not float64 of"):
        taken([{"strategy": f"{HERE}:Halves", "num_negatives": 2, "wrong": True}])
