"""Exact similarities between pairs of vectors: of candidates to their query and to the positives of their query."""

import numpy as np
import numpy.typing as npt

from operators.schemas import Vectors
from operators.segments import join_sorted, starts_of
from operators.vectors.geometry import AS_THEY_ARE, InnerProduct
from operators.vectors.precision import in_float32

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

# So many pairs of vectors are gathered at once: at 384 dimensions about 6 MB for either side, which stays in the cache.
PAIRS_AT_ONCE = 4096


def score_pairs(left: Vectors, left_rows: Ints, right: Vectors, right_rows: Ints) -> Floats:
    """Return the inner products left[left_rows[i]] . right[right_rows[i]], float32 of shape (pairs,).

    Each product depends on its two vectors alone, not on what else is in the batch: the same pair has the same score
    on every engine, to the last bit.
    """
    scores = np.empty(len(left_rows), dtype=np.float32)
    for start in range(0, len(left_rows), PAIRS_AT_ONCE):
        here = slice(start, start + PAIRS_AT_ONCE)
        scores[here] = np.einsum("ij,ij->i", in_float32(left[left_rows[here]]), in_float32(right[right_rows[here]]))
    return scores


def candidate_similarities(
    documents: tuple[Vectors, Ints],
    queries: tuple[Floats, Ints],
    positives: tuple[Vectors, Ints],
    geometry: InnerProduct = AS_THEY_ARE,
) -> tuple[Floats, Floats, Floats]:
    """Return each candidate's score, and its highest and mean similarity to the positives: float32 of shape (n,).

    Args:
        documents: their vectors, shape (documents, dimension), and the row of each candidate, shape (n,).
        queries: their vectors, shape (queries, dimension), and the row of each candidate's query, ascending, shape
            (n,).
        positives: their documents' vectors, shape (positives, dimension), and the row of each positive's query,
            ascending, shape (positives,).
        geometry: of the vectors.

    A candidate that is itself a positive is compared with the others too, so its highest similarity is to itself.
    A query without positives gives NaN. Every candidate's vector is read once.
    """
    (vectors, rows), (asked, query) = documents, queries
    score, highest, mean = (np.full(len(rows), np.nan, dtype=np.float32) for _ in range(3))
    judged = in_float32(geometry.as_queries(positives[0]))
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        here = slice(start, start + PAIRS_AT_ONCE)
        found = in_float32(vectors[rows[here]])
        score[here] = geometry.scores(np.einsum("ij,ij->i", asked[query[here]], found))
        candidate, positive = join_sorted(query[here], positives[1])
        if len(candidate):
            similar = geometry.scores(score_pairs(found, candidate, judged, positive))
            starts = starts_of(candidate)
            counts = np.diff(np.append(starts, len(candidate)))
            highest[here][candidate[starts]] = np.maximum.reduceat(similar, starts)
            mean[here][candidate[starts]] = np.add.reduceat(similar, starts, dtype=np.float64) / counts
    return score, highest, mean
