"""Merge what the shards found into one ranking per query."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.schemas import CANDIDATES, POSITIVE_DOCUMENT, concat, numbers
from operators.segments import count_before, rank_within, row_of
from operators.vectors.order import in_order

Ints = npt.NDArray[np.int64]


def deepest(query: Ints, counted: npt.NDArray[np.bool_], k: int) -> npt.NDArray[np.bool_]:
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
        query = row_of(query_keys, numbers(table, "query_key"))
        order = in_order(query, numbers(table, "score"), numbers(table, "doc_key"))
        query = query[order]
        counted = numbers(table, "positive")[order] != POSITIVE_DOCUMENT
        kept = deepest(query, counted, self.k)
        table = table.take(pa.array(order[kept]))
        rank = pa.array(rank_within(query[kept]), pa.int32())
        return table.set_column(CANDIDATES.get_field_index("rank"), CANDIDATES.field("rank"), rank)
