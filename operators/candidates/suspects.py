"""Suspected false negatives as pairs to judge: each once, in the order in which a decision would teach most."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from operators.candidates.filter import POSITIVES
from operators.candidates.sources import NOT_NAMED, SEARCH, keys_of_pairs, rank_column
from operators.keys import pair_keys
from operators.schemas import PAIR, to_numpy
from operators.segments import first_index, starts_of
from operators.settings import Settings

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# What is read of negatives and suspected false negatives.
OF_NEGATIVES = ("query_key", "positive_key", "doc_key", "score")
# The best rank that a source gave. No source can have a rank of that name.
DEPTH = "depth"
VALUE = "value"
SIMILARITIES = ("max_positive_similarity", "mean_positive_similarity")
# Behind all ranks.
NEVER = np.int64(2**31)


class SuspectsConfig(Settings):
    """Which suspected false negatives are written for people to judge.

    Attributes:
        limit: how many pairs of a query and a document, at most: those whose judgement would teach most.
    """

    limit: Annotated[int, Field(ge=0, le=100_000)] = 5_000


def signal_column(signal: str) -> str:
    """Return the column of a signal: its name alone may be that of another column."""
    return f"signal_{signal}"


class Suspects:
    """Suspected false negatives of rows -> pairs of a query and a document, with what a decision on each is worth."""

    def __init__(self, num_negatives: int, sources: Sequence[str] = (), signals: Sequence[str] = ()) -> None:
        """Look at pairs.

        Args:
            num_negatives: how many a full row has.
            sources: the proposers of candidates beside the search.
            signals: those that pairs are shown with.
        """
        self.num_negatives, self.sources, self.signals = num_negatives, (SEARCH, *sources), tuple(signals)

    def __call__(
        self, suspected: pa.Table, negatives: pa.Table, judgements: pa.Table, candidates: pa.Table
    ) -> pa.Table:
        """Return each suspected pair once, without those that are judged.

        The `value` of a decision is 0 where it would change no row: where the candidate scores below all negatives of
        each row that dropped it, these rows are full, and it is no negative of another row of its query. It is 0 for
        the text of a positive, too. Of the others it is 4 p (1 - p), with the false-negative probability p: the
        variance of the decision, which is the squared error that it takes away, in parts of the largest. With two
        outcomes every measure of uncertainty gives the same order (Lewis and Gale, "A sequential algorithm for training
        text classifiers", SIGIR 1994; Settles, "Active learning literature survey", 2009, section 3.1). Without a
        probability it is 1 / (1 + r), with the best rank r that a source gave: the order of pooling (Sparck Jones and
        van Rijsbergen, 1975).

        Args:
            suspected: schema SELECTED.
            negatives: schema SELECTED, or the columns OF_NEGATIVES; those of one row together.
            judgements: has the columns of PAIR.
            candidates: of the same queries: has the columns of PAIR, the ranks of every source, and the signals.

        Returns:
            The columns of PAIR, DEPTH, VALUE, `false_negative_probability`, `reasons` (of all rows, ascending),
            `sources`, `score`, the ranks of every source, null where it did not name the document, SIMILARITIES, and
            `signal_column` of every signal.
        """
        judged = np.isin(keys_of_pairs(suspected), keys_of_pairs(judgements))
        suspected = suspected.filter(pa.array(~judged))
        pairs, first, pair = np.unique(keys_of_pairs(suspected), return_index=True, return_inverse=True)
        once = suspected.take(pa.array(first))
        ranks, signals = self._of_candidates(candidates, pairs)
        depth = np.min([np.where(rank == NOT_NAMED, NEVER, rank) for rank in ranks.values()], axis=0)
        enters = np.bincount(pair[self._enters(suspected, negatives)], minlength=len(pairs)) > 0
        changes = enters | np.isin(pairs, keys_of_pairs(negatives))
        of_positive = pc.is_in(once.column("reason"), pa.array(POSITIVES)).to_numpy()
        value = np.where(changes & ~of_positive, _uncertainty(once.column("false_negative_probability"), depth), 0)
        return pa.table(
            {
                **{name: once.column(name) for name in PAIR},
                DEPTH: depth,
                VALUE: value.astype(np.float32),
                "false_negative_probability": once.column("false_negative_probability"),
                "reasons": _lists_of(suspected.column("reason"), pair, len(pairs)),
                **{name: once.column(name) for name in ("sources", "score")},
                **{name: pa.array(rank, pa.int32(), mask=rank == NOT_NAMED) for name, rank in ranks.items()},
                **{name: once.column(name) for name in SIMILARITIES},
                **{signal_column(name): pa.array(values, from_pandas=True) for name, values in signals.items()},
            }
        )

    def _of_candidates(self, candidates: pa.Table, pairs: Ints) -> tuple[dict[str, Ints], dict[str, Ints]]:
        """Return the ranks of every source, by their columns, and the signals of pairs: arrays of shape (pairs,)."""
        at = first_index(keys_of_pairs(candidates), pairs)
        ranks = {name: to_numpy(candidates, name)[at] for name in map(rank_column, self.sources)}
        return ranks, {name: to_numpy(candidates, name)[at] for name in self.signals}

    def _enters(self, suspected: pa.Table, negatives: pa.Table) -> Mask:
        """Return which suspects would be negatives of their row by their score: bool of shape (n,)."""
        of_suspects, of_negatives = (
            pair_keys(to_numpy(table, "query_key"), to_numpy(table, "positive_key")) for table in (suspected, negatives)
        )
        starts = starts_of(of_negatives)
        lowest = np.full(len(starts) + 1, -np.inf, np.float32)  # the last is that of rows without negatives
        if len(starts):
            full = np.diff(np.append(starts, len(of_negatives))) >= self.num_negatives
            lowest[:-1][full] = np.minimum.reduceat(to_numpy(negatives, "score"), starts)[full]
        return np.asarray(to_numpy(suspected, "score") >= lowest[first_index(of_negatives[starts], of_suspects)])


def best_first(pairs: pa.Table, limit: int) -> pa.Table:
    """Return the first pairs in their order: by value, the highest first, then by depth, query and document.

    Args:
        pairs: has the columns of PAIR, DEPTH and VALUE; each pair once.
        limit: how many, at most.
    """
    below = -to_numpy(pairs, VALUE)
    kept = np.arange(len(below))
    if limit < len(below):  # all that are not below the last one: most need not be sorted
        kept = np.flatnonzero(below <= np.partition(below, limit)[limit])
    keys = [to_numpy(pairs, name)[kept] for name in ("doc_key", "query_key", DEPTH)]
    return pairs.take(pa.array(kept[np.lexsort([*keys, below[kept]])[:limit]]))


def _uncertainty(probability: pa.ChunkedArray, depth: Ints) -> npt.NDArray[np.float64]:
    p = probability.cast(pa.float64()).to_numpy()
    return np.where(np.isnan(p), 1 / (1 + depth.astype(np.float64)), 4 * p * (1 - p))


def _lists_of(reason: pa.ChunkedArray, pair: Ints, pairs: int) -> pa.ListArray:
    """Return the different reasons of each pair, ascending: lists of texts."""
    names = pc.unique(reason).sort()
    code = pc.index_in(reason, names).to_numpy()
    different = np.unique(pair * len(names) + code)
    ends = np.cumsum(np.bincount(different // max(len(names), 1), minlength=pairs))
    return pa.ListArray.from_arrays(
        pa.array(np.append(0, ends), pa.int32()), names.take(pa.array(different % max(len(names), 1)))
    )
