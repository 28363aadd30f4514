"""Exact similarities between pairs of vectors, and between candidates and the positives of their query."""

import numpy as np
import numpy.typing as npt

from operators.schemas import Vectors
from operators.segments import product_within

Ints = npt.NDArray[np.int64]

# So many pairs of vectors are gathered at once: at 384 dimensions about 50 MB for the two sides.
PAIRS_AT_ONCE = 16_384


def score_pairs(left: Vectors, left_rows: Ints, right: Vectors, right_rows: Ints) -> npt.NDArray[np.float32]:
    """Return the inner products left[left_rows[i]] . right[right_rows[i]], float32 of shape (pairs,).

    Each product depends on its two vectors alone, not on what else is in the batch: the same pair has the same score
    on every engine, to the last bit.
    """
    scores = np.empty(len(left_rows), dtype=np.float32)
    for start in range(0, len(left_rows), PAIRS_AT_ONCE):
        here = slice(start, start + PAIRS_AT_ONCE)
        pairs = (
            left[left_rows[here]].astype(np.float32, copy=False),
            right[right_rows[here]].astype(np.float32, copy=False),
        )
        scores[here] = np.einsum("ij,ij->i", *pairs)
    return scores


def positive_similarities(
    vectors: Vectors, candidate_rows: Ints, candidate_query: Ints, positives: Vectors, positive_query: Ints
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return each candidate's highest and mean similarity to the positives of its query: two float32 of shape (n,).

    Args:
        vectors: the documents, shape (documents, dimension).
        candidate_rows: the row in `vectors` of each candidate, shape (n,).
        candidate_query: the number of each candidate's query, shape (n,).
        positives: the positives' vectors, shape (positives, dimension).
        positive_query: the number of each positive's query, ascending, shape (positives,).

    A candidate that is itself a positive is compared with the others too, so its highest similarity is to itself.
    A query without positives gives NaN.
    """
    highest = np.full(len(candidate_rows), np.nan, dtype=np.float32)
    mean = np.full(len(candidate_rows), np.nan, dtype=np.float32)
    candidate, positive = product_within(candidate_query, positive_query)
    if len(candidate):
        scores = score_pairs(vectors, candidate_rows[candidate], positives, positive)
        starts = np.flatnonzero(np.concatenate(([True], candidate[1:] != candidate[:-1])))
        counts = np.diff(np.append(starts, len(candidate)))
        highest[candidate[starts]] = np.maximum.reduceat(scores, starts)
        mean[candidate[starts]] = np.add.reduceat(scores, starts, dtype=np.float64) / counts
    return highest, mean
