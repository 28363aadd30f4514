"""A format."""

import numpy as np
import pyarrow as pa

from operators.datasets.layout import Layout, NegativeRows


class Ids(Layout):
    """One row for each negative: three ids."""

    use = "Rows of ids."

    def training_columns(self, num_negatives: int) -> list[str]:
        return ["query_id", "positive_id", "negative_id"]

    def __call__(self, rows: NegativeRows) -> pa.Table:
        at = np.arange(rows.negatives.num_rows)
        documents = {"positive": rows.document("positive_key", at), "negative": rows.document("doc_key", at)}
        return pa.table(
            {"query_id": rows.query(at)["id"], **{f"{name}_id": side["id"] for name, side in documents.items()}}
        )
