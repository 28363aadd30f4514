"""What the model of false negatives knows of a candidate: numbers that the search has already."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.candidates.false_negatives.list_similarity import DEPTH, LISTS
from operators.schemas import NOT_POSITIVE, to_numpy
from operators.segments import count_before, first_index, starts_of

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# A list of equal scores has no spread.
SMALLEST_SPREAD = 1e-6
FEATURES = (
    "score",
    "below_first",
    "below_first^2",
    "gap_highest",
    "gap_mean",
    "gap_lowest",
    "log_rank",
    "log_rank^2",
    "max_positive_similarity",
    "mean_positive_similarity",
    "max_positive_similarity*log_rank",
    *LISTS,
    "log_positives",
    "mean_positive_score",
    "spread",
)


def features_of(candidates: pa.Table, positives: pa.Table) -> dict[str, Floats]:
    """Return FEATURES of each candidate: name -> float32 of shape (n,); without those whose signal is not there.

    Scores are in units of the spread of the query's list, so that encoders whose similarities are crowded together
    look like those whose are not. The list is that of the search, without positives. What depends on judged positives
    are the gaps to their scores, the similarities to their documents, and how many they are. Not a number for a query
    without positives.

    Args:
        candidates: schema CANDIDATES, those of one query together, positives among them; with the columns LISTS where
            they are known.
        positives: schema POSITIVES, those of one query together.
    """
    lists, judged = _lists(candidates), _judged(positives, candidates)
    score, rank = _of(candidates, "score"), to_numpy(candidates, "rank")
    deepest = np.maximum.reduceat(rank, lists.starts) if len(rank) else rank
    log_rank = np.log1p(np.where(rank < 0, lists.each(deepest) + 1, rank).astype(np.float64))
    below_first = (lists.each(lists.first) - score) / lists.each(lists.spread)
    columns = {
        "score": score,
        "below_first": below_first,
        "below_first^2": below_first**2,
        "gap_highest": (judged.highest - score) / lists.each(lists.spread),
        "gap_mean": (judged.mean - score) / lists.each(lists.spread),
        "gap_lowest": (judged.lowest - score) / lists.each(lists.spread),
        "log_rank": log_rank,
        "log_rank^2": log_rank**2,
        "max_positive_similarity": _of(candidates, "max_positive_similarity"),
        "mean_positive_similarity": _of(candidates, "mean_positive_similarity"),
        "max_positive_similarity*log_rank": _of(candidates, "max_positive_similarity") * log_rank,
        "log_positives": np.log(judged.count),
        "mean_positive_score": judged.mean,
        "spread": lists.each(lists.spread),
    }
    columns |= {name: _of(candidates, name) for name in LISTS if name in candidates.column_names}
    return {name: columns[name].astype(np.float32) for name in FEATURES if name in columns}


@dataclass(frozen=True)
class _Lists:
    """The lists of candidates: where each begins, its length, its first score, and the spread of its scores."""

    starts: Ints
    length: Ints
    first: Doubles
    spread: Doubles

    def each(self, of_list: npt.NDArray[np.float64]) -> Doubles:
        """Return a number of every list for each of its candidates."""
        return np.repeat(of_list, self.length)


def _lists(candidates: pa.Table) -> _Lists:
    query, score = to_numpy(candidates, "query_key"), _of(candidates, "score")
    starts = starts_of(query)
    length = np.diff(np.append(starts, len(score)))
    if not len(starts):
        nothing = np.zeros(0)
        return _Lists(starts, length, nothing, nothing)
    counted = (to_numpy(candidates, "rank") >= 0) & (to_numpy(candidates, "positive_kind") == NOT_POSITIVE)
    counted &= count_before(counted, query) < DEPTH
    weight = counted.astype(np.float64)
    number = np.maximum(np.add.reduceat(weight, starts), 1)
    mean = np.add.reduceat(score * weight, starts) / number
    variance = np.add.reduceat(weight * (score - np.repeat(mean, length)) ** 2, starts) / number
    first = np.maximum.reduceat(np.where(counted, score, -np.inf), starts)
    first = np.where(np.isfinite(first), first, np.maximum.reduceat(score, starts))
    return _Lists(starts, length, first, np.maximum(np.sqrt(variance), SMALLEST_SPREAD))


@dataclass(frozen=True)
class _Judged:
    """Of the known positives of each candidate's query: their number, and their highest, mean and lowest score."""

    count: Doubles
    highest: Doubles
    mean: Doubles
    lowest: Doubles


def _judged(positives: pa.Table, candidates: pa.Table) -> _Judged:
    query, score = to_numpy(positives, "query_key"), _of(positives, "score")
    starts = starts_of(query)
    count = np.diff(np.append(starts, len(query))).astype(np.float64)
    at = first_index(query[starts], to_numpy(candidates, "query_key"))
    columns = [count]
    if len(starts):
        columns += [np.maximum.reduceat(score, starts), np.add.reduceat(score, starts) / count]
        columns += [np.minimum.reduceat(score, starts)]
    else:
        columns += [count] * 3
    return _Judged(*(np.append(one, np.nan)[at] for one in columns))


def _of(table: pa.Table, column: str) -> Doubles:
    return to_numpy(table, column).astype(np.float64)
