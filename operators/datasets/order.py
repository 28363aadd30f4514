"""The order of rows in a file: those of one query far from one another."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.segments import rank_within


def spread(table: pa.Table) -> pa.Table:
    """Put the rows of each query at even distances over the whole table; the order depends on the rows alone.

    Between two rows of a query that has n rows stands at least one of each other query that has n or more. A trainer
    that reads batches in the order of the file so meets a query once in a batch, as long as there are enough queries.

    Args:
        table: with a column `query_id`; the rows of a query keep their order.
    """
    query = pc.dictionary_encode(table.column("query_id").combine_chunks()).indices.to_numpy()
    together = np.argsort(query, kind="stable")
    place = np.empty(len(query), dtype=np.int64)
    place[together] = rank_within(query[together])
    count = np.bincount(query)[query]
    return table.take(pa.array(np.lexsort((query, (2 * place + 1) / (2 * count)))))
