"""How sure the mean of a sample is: a bound that holds for any distribution of values between 0 and 1, at any size.

The bound is by betting (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", Journal of
the Royal Statistical Society B 86(1), 2024; section 5 is on samples without replacement). If the mean of a population
of N values were m, the next value drawn would be worth m' = (N m - the sum so far) / (N - drawn so far) on average. So
a gambler who starts with 1 and gains or loses a share of (value - m') at each draw, a share that is chosen before the
draw, holds 20 or more at the end with a probability of at most 1/20 (Ville's inequality). Where that happens, the mean
is not m, with 95 % certainty. Normal approximations state too much where most values are 1 and a few are far below.
"""

import math

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

CERTAINTY = 0.95
STAKE_AT_MOST = 0.75  # of what there is
STEPS = 1000  # means that are tried


def capital(values: Values, watched: int, population: int, mean: float) -> float:
    """Return what betting against a mean makes of 1: at least 20 with a probability of at most 1/20 if it is the mean.

    Args:
        values: a random sample without replacement, in random order, each between 0 and 1, shape (n,).
        watched: so many of them only teach how to bet.
        population: how many values there are.
        mean: of the population, as is supposed; above 0.

    The stakes are those that would end with 20 soonest if the values had the variance of those seen before, and one
    more that is far off (equation 26 there: the predictable plug-in of the empirical Bernstein bound).
    """
    if population * mean < values.sum():
        return math.inf  # what is left to be drawn cannot be below 0
    drawn = np.arange(len(values))
    before = np.cumsum(values) - values
    expected = np.clip((population * mean - before) / (population - drawn), 1e-9, None)
    spread = np.cumsum(values**2) - values**2 - before**2 / np.maximum(drawn, 1)
    variance = (0.25 + np.clip(spread, 0, None)) / (drawn + 1)
    stake = np.sqrt(2 * math.log(1 / (1 - CERTAINTY)) / (max(len(values) - watched, 1) * variance))
    gains = np.log1p(np.minimum(stake, STAKE_AT_MOST / expected) * (values - expected))
    return float(np.exp(gains[watched:].sum()))


def is_above(values: Values, watched: int, population: int, mean: float) -> bool:
    """Tell whether the mean of the population is at least this, with 95 % certainty; arguments as of `capital`."""
    if len(values) == population:
        return bool(values.mean() >= mean)
    return mean <= 0 or capital(values, watched, population, mean) >= 1 / (1 - CERTAINTY)


def lower_bound(values: Values, watched: int, population: int) -> float:
    """Return what the mean of the population is at least, with 95 % certainty; arguments as of `capital`."""
    if len(values) == population:
        return float(values.mean())
    low, high = 0, STEPS  # the mean is above low / STEPS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_above(values, watched, population, middle / STEPS) else (low, middle)
    return low / STEPS
