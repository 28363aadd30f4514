"""What is said of seconds over sizes, where it is known in closed form."""

import pytest

from benchmarks.scheduling import fitted, off_the_line

SIZES = [1_000, 3_000, 10_000]


def test_a_line_is_found_and_nothing_is_off_it() -> None:
    seconds = [20 + 0.005 * size for size in SIZES]
    assert fitted(SIZES, seconds) == pytest.approx((0.005, 20))
    assert off_the_line(SIZES, seconds) == pytest.approx(0)
    assert off_the_line(SIZES[:2], seconds[:2]) is None


def test_a_square_is_off_the_line() -> None:
    """The line through 1 and 9 says 37 at 10, where the square is 100."""
    assert off_the_line(SIZES, [size**2 / 1e6 for size in SIZES]) == pytest.approx(100 / 37 - 1)
