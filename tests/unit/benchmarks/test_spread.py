"""The spread of vectors, where it is known in closed form."""

import numpy as np
import pytest

from benchmarks.growth import rise_of, spread_from
from benchmarks.spread import participation_ratio, spread_of


@pytest.mark.parametrize("directions", [1, 3, 8])
def test_equal_directions_are_counted(directions: int) -> None:
    """The corners of a cube have equal variance in each direction, and none between two."""
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * directions)).reshape(directions, -1).T
    vectors = np.zeros((len(corners), 10), dtype=np.float32)
    vectors[:, :directions] = corners
    assert participation_ratio(vectors) == pytest.approx(directions, rel=1e-4)


def test_unequal_directions_count_less() -> None:
    """Variances of 4 and 1: (4 + 1)^2 / (16 + 1)."""
    vectors = np.array([[2, 1], [2, -1], [-2, 1], [-2, -1]], dtype=np.float32)
    assert participation_ratio(vectors) == pytest.approx(25 / 17)


def test_neighbours_leave_the_vector_itself_out() -> None:
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    spread = spread_of(circle)
    steps = {rank: np.cos(2 * np.pi / 400 * ((rank + 1) // 2)) for rank in (1, 10, 100)}  # one on either side
    assert spread.neighbours == pytest.approx(steps, abs=1e-5)
    assert spread.deviation == pytest.approx(0, abs=1e-5)
    assert spread.dimensions == pytest.approx(2, abs=1e-4)


def test_growth_is_judged_from_a_size_on() -> None:
    assert spread_from([1, 10, 100], [50.0, 10.0, 12.0], 10) == pytest.approx(0.2)
    assert spread_from([1, 10], [50.0, 10.0], 10) is None


def test_what_falls_or_stays_does_not_rise() -> None:
    assert rise_of([96.0, 80.0, 70.0, 58.0]) == pytest.approx(70 / 80 - 1)
    assert rise_of([50.0, 60.0, 40.0, 45.0]) == pytest.approx(0.2)
    assert rise_of([50.0, 40.0, 44.0, 48.0]) == pytest.approx(0.2)  # slowly, too
    assert rise_of([50.0]) is None
