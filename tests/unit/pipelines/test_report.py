"""The plot of a report: any scores can be drawn."""

import numpy as np
import pytest

from pipelines.report import Scores, _plot


@pytest.mark.parametrize("positives", [[0.5], [3e9], [-7e4, -7e4], [3e9, 3.0001e9], [-1.0, 1.0]])
@pytest.mark.parametrize("negatives", [[], [0.25], [3e9]])
def test_any_scores_are_drawn_without_a_warning(positives: list[float], negatives: list[float]) -> None:
    drawn = {"positives": positives, "negatives": negatives}
    scores = {name: Scores(len(held), np.array(held, dtype=np.float32)) for name, held in drawn.items()}
    assert _plot(scores).startswith("<svg")
