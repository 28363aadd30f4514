"""Weights of the corpus may be very large, very small, and far apart: what a rule allows is drawn in proportion."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.unit.operators.candidates.test_sampling import SURE, corpus, first_drawn, opened, queries, sampler


def test_weights_may_be_large_integers() -> None:
    one = sampler(proposer="custom", by="w", limit=1)
    drawn = first_drawn(opened(one, corpus([{"w": 2**62 + 1}, {"w": 2**62}, {"w": 1}], np.arange(3))), queries(2_000))
    assert 800 < (drawn == 0).sum() < 1_200


def test_weights_that_add_up_to_less_than_the_largest_number_are_drawn() -> None:
    sample = opened(sampler(proposer="custom", by="w", limit=1), corpus([{"w": 5e307}] * 3), 3)
    times = np.unique(first_drawn(sample, queries(3_000)), return_counts=True)[1]
    assert len(times) == 3
    assert stats.chisquare(times).pvalue > 1 - SURE


@pytest.mark.parametrize("buckets", [1, 3])
@pytest.mark.parametrize(
    ("settings", "heavy"), [({"proposer": "custom"}, 1e15), ({"proposer": "frequency", "alpha": 2.0}, 1e8)]
)
def test_a_cell_beside_a_heavy_one_is_drawn_by_its_own_weights(
    settings: dict[str, Any], heavy: float, buckets: int
) -> None:
    rows = [{"domain": domain, "w": 1 + n % 2 if domain == "b" else heavy} for domain in "abc" for n in range(12)]
    one = sampler(**settings, by="w", limit=1, where="domain == query.domain")
    documents = corpus(rows, np.arange(36))
    drawn = first_drawn(opened(one, documents, buckets), queries(6_000, {"domain": "b"}))
    times = np.bincount(drawn, minlength=36)
    assert times[12:24].sum() == times.sum() == 6_000
    weight = np.array([row["w"] for row in rows[12:24]]) ** settings.get("alpha", 1.0)
    assert stats.chisquare(times[12:24], 6_000 * weight / weight.sum()).pvalue > 1 - SURE


def test_all_of_a_cell_beside_a_heavy_one_is_drawn() -> None:
    rows = [{"domain": "a", "w": 1e300}] + [{"domain": "b", "w": 1.0}] * 9 + [{"domain": "c", "w": 1e-300}] * 9
    one = sampler(proposer="custom", by="w", limit=100, where="domain == query.domain")
    sample = opened(one, corpus(rows, np.arange(19)))
    for domain, keys in (("a", [0]), ("b", [*range(1, 10)]), ("c", [*range(10, 19)])):
        table = sample(queries(5, {"domain": domain}))
        assert sorted(table.column("doc_key").to_pylist()) == sorted(keys * 5)
