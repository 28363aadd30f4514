"""A bound of the mean holds as often as it says, whatever the distribution, and is of use."""

import numpy as np
import pytest

from operators.vectors.certainty import is_above, lower_bound

DISTRIBUTIONS = {
    "mostly 1": ([1.0, 0.98, 0.95, 0.9, 0.7, 0.3], [0.6, 0.15, 0.1, 0.1, 0.03, 0.02]),
    "1 or 0": ([1.0, 0.0], [0.96, 0.04]),
    "hardly ever 0": ([1.0, 0.0], [0.997, 0.003]),
    "0.9 or 1": ([1.0, 0.9], [0.5, 0.5]),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(("sample", "population"), [(20, 10_000), (128, 160), (512, 700), (512, 100_000)])
def test_the_bound_holds_in_19_of_20_samples(name: str, sample: int, population: int) -> None:
    values, share = DISTRIBUTIONS[name]
    rng = np.random.default_rng(sample)
    everyone = rng.choice(values, population, p=share)
    bounds = np.array(
        [lower_bound(rng.choice(everyone, sample, replace=False), sample // 4, population) for _ in range(2000)]
    )
    assert np.mean(bounds > everyone.mean()) <= 0.05
    if sample == 512:  # three of what a normal approximation takes for certain, and what a few values cost
        spread = everyone.std() / np.sqrt(sample)
        assert bounds.mean() > everyone.mean() - 3 * 1.645 * spread - 0.012


def test_a_sample_of_all_leaves_nothing_uncertain() -> None:
    values = np.random.default_rng(0).random(50)
    assert lower_bound(values, 12, 50) == values.mean()
    assert is_above(values, 12, 50, float(values.mean()))
    assert not is_above(values, 12, 50, float(values.mean()) + 1e-9)


def test_what_is_left_of_a_population_bounds_the_mean_too() -> None:
    """90 of 100 are known to be 1: the others are 0 at worst."""
    assert lower_bound(np.ones(90), 90, 100) >= 0.899


@pytest.mark.parametrize("mean", [0.5, 0.9, 0.99])
def test_a_higher_mean_is_never_more_certain(mean: float) -> None:
    values = np.random.default_rng(1).choice([1.0, 0.8, 0.2], 200, p=[0.8, 0.15, 0.05])
    bound = lower_bound(values, 50, 5000)
    assert is_above(values, 50, 5000, mean) == (mean <= bound)
