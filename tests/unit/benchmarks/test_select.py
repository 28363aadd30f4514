"""The batches of the benchmark of Select are such as search makes, and its filters have something to drop."""

import numpy as np

from benchmarks.select import MAX_POSITIVE_SIMILARITY, RELATIVE_MARGIN, batch
from operators.candidates.config import SelectConfig
from operators.candidates.select import Select
from operators.schemas import to_numpy
from operators.segments import starts_of


def test_batches_are_as_search_makes_them() -> None:
    candidates, positives = batch(queries=200, candidates=30, seed=1)
    query = to_numpy(candidates, "query_key")
    assert len(starts_of(query)) == 200
    assert (np.diff(to_numpy(candidates, "score").reshape(200, 30), axis=1) <= 0).all()
    assert (to_numpy(candidates, "mean_positive_similarity") <= to_numpy(candidates, "max_positive_similarity")).all()
    config = SelectConfig(relative_margin=RELATIVE_MARGIN, max_positive_similarity=MAX_POSITIVE_SIMILARITY)
    selection = Select(config)(candidates, positives)
    assert sum(selection.counts.values()) == candidates.num_rows
    assert selection.counts["positive"] == 200
    assert min(selection.counts[name] for name in ("negative", "relative_margin", "max_positive_similarity")) > 0
