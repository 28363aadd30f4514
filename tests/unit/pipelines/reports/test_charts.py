"""The charts of a report: any values can be drawn."""

import numpy as np
import pytest

from pipelines.reports.charts import histogram, scatter
from pipelines.runtime.stage import Histogram, Scatter


@pytest.mark.parametrize("positives", [[0.5], [3e9], [-7e4, -7e4], [3e9, 3.0001e9], [-1.0, 1.0], [-np.inf, 0.5]])
@pytest.mark.parametrize("negatives", [[], [0.25], [3e9], [-np.inf]])
def test_any_values_are_drawn_without_a_warning(positives: list[float], negatives: list[float]) -> None:
    samples = {"positives": positives, "negatives": negatives}
    drawn = Histogram("score", {name: np.array(held, dtype=np.float32) for name, held in samples.items()})
    assert histogram(drawn).startswith("<svg")


def test_points_of_every_name_are_drawn() -> None:
    points = {name: np.full((count, 2), 0.5, np.float32) for name, count in (("right", 3), ("wrong", 0))}
    drawn = scatter(Scatter(("confidence", "IoU"), points))
    assert drawn.startswith("<svg")
    assert all(f"<!-- {text} -->" in drawn for text in ("right", "wrong", "confidence", "IoU"))
