"""What Tevatron reads."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from operators.datasets.layout import Layout, NegativeRows, nest


class Tevatron(Layout):
    """One row for each (query, positive), as Tevatron reads it: query_id, query, positive_ and negative_passages."""

    jsonl_only = True
    use = "JSON lines with the keys that tevatron reads, and ids."

    def training_columns(self, num_negatives: int) -> list[str]:
        """Return the columns that a trainer reads."""
        del num_negatives
        return ["query_id", "query", "positive_passages", "negative_passages"]

    def __call__(self, rows: NegativeRows) -> pa.Table:
        """Return the rows of a batch."""
        starts = rows.row_starts()
        queries = rows.query(starts)
        everything = np.arange(rows.negatives.num_rows)
        positives, negatives = rows.document("positive_key", starts), rows.document("doc_key", everything)
        return pa.table(
            {
                "query_id": queries["id"],
                "query": queries["text"],
                "positive_passages": nest(_passages(positives), np.arange(len(starts))),
                "negative_passages": nest(_passages(negatives), starts),
            }
        )


def _passages(documents: Mapping[str, pa.ChunkedArray]) -> pa.StructArray:
    ids, texts = documents["id"].combine_chunks(), documents["text"].combine_chunks()
    # The text holds its title already: an empty one keeps Tevatron from putting it there twice.
    titles = pa.repeat(pa.scalar(""), len(ids))
    return pa.StructArray.from_arrays([ids, titles, texts], names=["docid", "title", "text"])
