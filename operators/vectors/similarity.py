"""Exact similarities between pairs of vectors: of candidates to their query and to the positives of their query."""

from collections.abc import Sequence
from itertools import pairwise

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


def list_similarities(
    documents: tuple[Vectors, Ints],
    query: Ints,
    listed: Sequence[npt.NDArray[np.bool_]],
    geometry: InnerProduct = AS_THEY_ARE,
) -> Sequence[Floats]:
    """Return the mean similarity of each candidate to lists of its query: for each list float32 of shape (n,).

    It is the score of the mean inner product, which for cosine and dot product is the mean score. Every candidate's
    vector is read once.

    Args:
        documents: their vectors, shape (documents, dimension), and the row of each candidate, shape (n,).
        query: of each candidate, those of one query together, shape (n,).
        listed: for each list which candidates are in it, shape (n,). Where none of a query is, all of them are.
        geometry: of the vectors.
    """
    vectors, rows = documents
    starts = starts_of(query)
    bounds = np.append(starts, len(rows))
    lengths = np.diff(bounds)
    similar = [np.empty(len(rows), dtype=np.float32) for _ in listed]
    lists = [one | np.repeat(~np.logical_or.reduceat(one, starts), lengths) if len(one) else one for one in listed]
    # Blocks of whole queries.
    cuts = np.unique(np.append(np.searchsorted(bounds, np.arange(0, len(rows), PAIRS_AT_ONCE)), len(starts)))
    for first, last in pairwise(cuts):
        here = slice(bounds[first], bounds[last])
        kept = vectors[rows[here]]
        found, as_queries = in_float32(kept), in_float32(geometry.as_queries(kept))
        segment = np.repeat(np.arange(last - first), lengths[first:last])
        for result, of_list in zip(similar, lists, strict=True):
            inside = np.flatnonzero(of_list[here])
            begin = starts_of(segment[inside])
            total = np.add.reduceat(as_queries if len(inside) == len(found) else as_queries[inside], begin)
            middle = total / np.diff(np.append(begin, len(inside)))[:, None].astype(np.float32)
            result[here] = geometry.scores(np.einsum("ij,ij->i", middle[segment], found))
    return similar
