"""Pairs of a query and a document, with a label."""

import numpy as np
import pyarrow as pa

from operators.datasets.layout import Layout, NegativeRows, known
from operators.schemas import to_numpy
from operators.segments import first_index


class LabeledPair(Layout):
    """One row for each query and document: label 1 for positives, 0 for negatives; no pair is repeated."""

    use = """`SentenceTransformerTrainer` trains on `train` with a loss for labeled pairs
(`ContrastiveLoss`), and `CrossEncoderTrainer` with `BinaryCrossEntropyLoss`. These take no other rows of a batch
for negatives: any sampler will do."""

    def training_columns(self, num_negatives: int) -> list[str]:
        """Return the columns that a trainer reads."""
        del num_negatives
        return ["query", "document", "label"]

    def __call__(self, rows: NegativeRows) -> pa.Table:
        """Return the rows of a batch."""
        starts = rows.row_starts()
        everything = np.arange(rows.negatives.num_rows)
        labels = np.concatenate([np.ones(len(starts), np.int64), np.zeros(len(everything), np.int64)])
        at = np.concatenate([starts, everything])
        keys = np.where(
            labels == 1, to_numpy(rows.negatives, "positive_key")[at], to_numpy(rows.negatives, "doc_key")[at]
        )
        query = to_numpy(rows.negatives, "query_key")[at]
        query_row = first_index(query[: len(starts)], query)  # the order in which the queries come
        order = np.argsort(query_row, kind="stable")  # of each query the positives first, as they are laid side by side
        _, first = np.unique(np.stack([query_row[order], keys[order]]), axis=1, return_index=True)
        order = order[np.sort(first)]
        labels, at, keys = labels[order], at[order], keys[order]
        scores = np.where(labels == 1, rows.score("positive_score", at), rows.score("score", at))
        queries = rows.query(at)
        documents = rows.texts.take(pa.array(known(first_index(to_numpy(rows.texts, "doc_key"), keys))))
        return pa.table(
            {
                "query": queries["text"],
                "document": documents.column("text"),
                "label": labels,
                "query_id": queries["id"],
                "document_id": documents.column("doc_id"),
                "document_score": scores,
                **{f"document_{name}": values for name, values in rows.drawn(np.where(labels == 1, -1, at)).items()},
                "query_metadata": queries["metadata"],
                "document_metadata": documents.column("metadata"),
            }
        )
