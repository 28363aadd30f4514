"""Merge what the shards found into one ranking per query."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.schemas import CANDIDATES, POSITIVE_DOCUMENT, concat, to_numpy
from operators.segments import count_before, first_index, rank_within
from operators.vectors.order import argsort_ranked

Ints = npt.NDArray[np.int64]


def within_k(query: Ints, counted: npt.NDArray[np.bool_], k: int) -> npt.NDArray[np.bool_]:
    """Tell which candidates, in order, come before a query has `k` counted ones, the last of them included."""
    return count_before(counted, query) < k


class Merge:
    """Merge the candidates of one batch of queries from all shards: the k best, as one search of all would find."""

    def __init__(self, k: int) -> None:
        self.k = k

    def __call__(self, query_keys: Ints, found: Sequence[pa.Table]) -> pa.Table:
        """Return the candidates (schema CANDIDATES) in the order of `query_keys`, shape (queries,), with their ranks.

        Args:
            query_keys: the queries of the batch.
            found: the candidates of each shard (schema CANDIDATES).
        """
        table = concat(found, CANDIDATES)
        query = first_index(query_keys, to_numpy(table, "query_key"))
        order = argsort_ranked(query, to_numpy(table, "score"), to_numpy(table, "doc_key"))
        query = query[order]
        counted = to_numpy(table, "positive_kind")[order] != POSITIVE_DOCUMENT
        kept = within_k(query, counted, self.k)
        table = table.take(pa.array(order[kept]))
        rank = pa.array(rank_within(query[kept]), pa.int32())
        return table.set_column(CANDIDATES.get_field_index("rank"), CANDIDATES.field("rank"), rank)
