"""Tuples of a query, a positive and all negatives."""

import numpy as np
import pyarrow as pa

from operators.datasets.in_batch import IN_BATCH
from operators.datasets.layout import DRAWN, Layout, NegativeRows


class NTuple(Layout):
    """One row for each (query, positive) that has all its negatives: query, positive, negative_1 ... negative_n."""

    use = IN_BATCH
    left_out = "Pairs without all {count} negatives are left out."

    def training_columns(self, num_negatives: int) -> list[str]:
        """Return the columns that a trainer reads."""
        return ["query", "positive", *(f"negative_{i + 1}" for i in range(num_negatives))]

    def __call__(self, rows: NegativeRows) -> pa.Table:
        """Return the rows of a batch."""
        starts = rows.row_starts()
        lengths = np.diff(np.append(starts, rows.negatives.num_rows))
        starts = starts[lengths == rows.num_negatives]
        sides = {"query": rows.query(starts), "positive": rows.document("positive_key", starts)}
        offsets = range(rows.num_negatives)
        drawn = [rows.drawn(starts + i) for i in offsets]
        sides.update({f"negative_{i + 1}": rows.document("doc_key", starts + i) for i in offsets})
        return pa.table(
            {
                **{name: side["text"] for name, side in sides.items()},
                **{_beside(name, "id"): side["id"] for name, side in sides.items()},
                "positive_score": rows.score("positive_score", starts),
                **{f"negative_score_{i + 1}": rows.score("score", starts + i) for i in offsets},
                **{f"negative_{name}_{i + 1}": one[name] for name in DRAWN for i, one in enumerate(drawn)},
                **{_beside(name, "metadata"): side["metadata"] for name, side in sides.items()},
            }
        )


def _beside(name: str, what: str) -> str:
    stem, _, number = name.partition("_")
    return f"{stem}_{what}_{number}" if number else f"{stem}_{what}"
