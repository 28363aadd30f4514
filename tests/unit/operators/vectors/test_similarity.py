"""Scores of pairs are exact and depend on the pair alone."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.vectors.similarity import PAIRS_AT_ONCE, candidate_similarities, list_similarities, score_pairs


@pytest.mark.parametrize("dimension", [1, 3, 8, 64, 127, 384, 1025])
@pytest.mark.parametrize("precision", [np.float32, np.float16])
def test_a_score_has_the_same_bits_whatever_else_is_in_the_batch(dimension: int, precision: type) -> None:
    rng = np.random.default_rng(dimension)
    left = rng.standard_normal((7, dimension)).astype(np.float32)
    right: Any = rng.standard_normal((11, dimension)).astype(precision)
    i, j = (side.ravel() for side in np.meshgrid(np.arange(7), np.arange(11), indexing="ij"))
    together = score_pairs(left, i, right, j)
    alone = np.array([score_pairs(left, i[[at]], right, j[[at]])[0] for at in range(len(i))])
    shuffled = rng.permutation(len(i))
    other_memory = np.ascontiguousarray(np.vstack([right[:1], right]))[1:]  # the same rows at another address
    assert np.array_equal(together, alone)
    assert np.array_equal(together[shuffled], score_pairs(left, i[shuffled], right, j[shuffled]))
    assert np.array_equal(together[5:], score_pairs(left, i[5:], other_memory, j[5:]))
    assert np.allclose(together, (left.astype(np.float64) @ right.astype(np.float64).T).ravel(), atol=1e-4)


def test_more_pairs_than_are_gathered_at_once_are_all_scored() -> None:
    pairs = 2 * PAIRS_AT_ONCE + 1
    left, right = np.arange(5, dtype=np.float32)[:, None], np.arange(7, dtype=np.float32)[:, None]
    i, j = np.arange(pairs) % 5, np.arange(pairs) % 7
    assert np.array_equal(score_pairs(left, i, right, j), (i * j).astype(np.float32))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    counts=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
def test_highest_and_mean_similarity_are_those_to_the_positives_of_the_own_query(
    counts: list[tuple[int, int]], seed: int
) -> None:
    """Whole numbers, so that every product and sum is exact."""
    rng = np.random.default_rng(seed)
    vectors: Any = rng.integers(-9, 10, (12, 4)).astype(np.float16)
    candidate_query = np.repeat(np.arange(len(counts)), [candidates for candidates, _ in counts])
    positive_query = np.repeat(np.arange(len(counts)), [positives for _, positives in counts])
    positives = rng.integers(-9, 10, (len(positive_query), 4)).astype(np.float32)
    rows = rng.integers(0, 12, len(candidate_query))

    queries = rng.integers(-9, 10, (len(counts), 4)).astype(np.float32)

    score, highest, mean = candidate_similarities(
        (vectors, rows), (queries, candidate_query), (positives, positive_query)
    )

    for at, (query, row) in enumerate(zip(candidate_query, rows, strict=True)):
        assert score[at] == queries[query] @ vectors[row]
        products = [float(vectors[row] @ positives[p]) for p in np.flatnonzero(positive_query == query)]
        if products:
            assert highest[at] == max(products)
            assert mean[at] == np.float32(sum(products) / len(products))
        else:
            assert np.isnan(highest[at])
            assert np.isnan(mean[at])


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 9) | st.just(PAIRS_AT_ONCE + 3), min_size=0, max_size=5),
    seed=st.integers(0, 2**32 - 1),
)
def test_similarity_to_a_list_is_the_mean_of_that_to_each_of_it(lengths: list[int], seed: int) -> None:
    """Whole numbers; of a query without a list, all its candidates are the list."""
    rng = np.random.default_rng(seed)
    vectors: Any = rng.integers(-3, 4, (12, 4)).astype(np.float16)
    query = np.repeat(np.arange(len(lengths)) * 7 + 1, lengths)
    rows = rng.integers(0, 12, len(query))
    lists = [rng.random(len(query)) < share for share in (0.3, 1)]
    for listed, similar in zip(lists, list_similarities((vectors, rows), query, lists), strict=True):
        for one in np.unique(query):
            of_query = np.flatnonzero(query == one)
            of_list = of_query[listed[of_query]] if listed[of_query].any() else of_query
            mean = vectors[rows[of_list]].astype(np.float64).mean(axis=0)
            assert similar[of_query] == pytest.approx(vectors[rows[of_query]].astype(np.float64) @ mean, abs=1e-4)
