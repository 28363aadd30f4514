"""What FlagEmbedding reads."""

import numpy as np
import pyarrow as pa

from operators.datasets.layout import Layout, NegativeRows, nest


class FlagEmbedding(Layout):
    """One row for each (query, positive), as FlagEmbedding reads it: query, pos, neg, with ids and scores beside."""

    jsonl_only = True
    use = "JSON lines with the keys that flagembedding reads, and ids and scores."

    def training_columns(self, num_negatives: int) -> list[str]:
        """Return the columns that a trainer reads."""
        del num_negatives
        return ["query", "pos", "neg"]

    def __call__(self, rows: NegativeRows) -> pa.Table:
        """Return the rows of a batch."""
        starts = rows.row_starts()
        queries = rows.query(starts)
        sides = {
            "pos": (rows.document("positive_key", starts), rows.score("positive_score", starts), np.arange(len(starts)))
        }
        everything = np.arange(rows.negatives.num_rows)
        sides["neg"] = (rows.document("doc_key", everything), rows.score("score", everything), starts)
        columns = {"query": queries["text"]}
        for what in ("text", "id"):
            for side, (documents, _, offsets) in sides.items():
                columns[side if what == "text" else f"{side}_id"] = nest(documents[what], offsets)
        for side, (_, scores, offsets) in sides.items():
            columns[f"{side}_scores"] = nest(scores, offsets)
        return pa.table({**columns, "query_id": queries["id"]})
