"""One sort of integers gives what a sort by three columns gives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.vectors.order import argsort_ranked

SCORES = st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, -0.5]), st.floats(width=32, allow_nan=False))


@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), SCORES, st.integers(0, 2**63 - 1)), max_size=40))
def test_by_query_then_score_downwards_then_key(rows: list[tuple[int, float, int]]) -> None:
    query = np.array([row[0] % 3 if row[0] < 2**30 else row[0] for row in rows], dtype=np.int64)
    score = np.array([row[1] for row in rows], dtype=np.float32)
    key = np.array([row[2] for row in rows], dtype=np.int64)
    order = argsort_ranked(query, score, key)
    expected = np.lexsort((key, -score, query))
    for column in (query, score, key):
        assert np.array_equal(column[order], column[expected])
