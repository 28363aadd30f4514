"""Triplets."""

import numpy as np
import pyarrow as pa

from operators.datasets.in_batch import IN_BATCH
from operators.datasets.layout import Layout, NegativeRows


class Triplet(Layout):
    """One row for each negative: query, positive, negative, and the ids, scores and metadata of the three."""

    use = IN_BATCH

    def training_columns(self, num_negatives: int) -> list[str]:
        """Return the columns that a trainer reads."""
        del num_negatives
        return ["query", "positive", "negative"]

    def __call__(self, rows: NegativeRows) -> pa.Table:
        """Return the rows of a batch."""
        at = np.arange(rows.negatives.num_rows)
        sides = {
            "query": rows.query(at),
            "positive": rows.document("positive_key", at),
            "negative": rows.document("doc_key", at),
        }
        return pa.table(
            {
                **{name: side["text"] for name, side in sides.items()},
                **{f"{name}_id": side["id"] for name, side in sides.items()},
                "positive_score": rows.score("positive_score", at),
                "negative_score": rows.score("score", at),
                **{f"negative_{name}": values for name, values in rows.drawn(at).items()},
                **{f"{name}_metadata": side["metadata"] for name, side in sides.items()},
            }
        )
