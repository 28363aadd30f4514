"""Lists of documents with labels."""

import numpy as np
import pyarrow as pa

from operators.datasets.layout import Ints, Layout, NegativeRows, nest


class LabeledList(Layout):
    """One row for each (query, positive): the positive and its negatives as `documents`, with `labels` 1, 0, 0, ..."""

    use = """`CrossEncoderTrainer` trains on `train` with a listwise loss (`LambdaLoss`, `ListNetLoss`). Lists
may differ in length. These losses take no other rows of a batch for negatives: any sampler will do."""

    def training_columns(self, num_negatives: int) -> list[str]:
        """Return the columns that a trainer reads."""
        del num_negatives
        return ["query", "documents", "labels"]

    def __call__(self, rows: NegativeRows) -> pa.Table:
        """Return the rows of a batch."""
        starts = rows.row_starts()
        queries = rows.query(starts)
        lists = _lists(rows, starts)
        return pa.table(
            {
                "query": queries["text"],
                "documents": lists["text"],
                "labels": lists["label"],
                "query_id": queries["id"],
                "document_ids": lists["id"],
                "document_scores": lists["score"],
                "document_draws": lists["draw"],
                "document_log_probabilities": lists["log_probability"],
                "document_false_negative_probabilities": lists["false_negative_probability"],
                "query_metadata": queries["metadata"],
                "document_metadata": lists["metadata"],
            }
        )


def _lists(rows: NegativeRows, starts: Ints) -> dict[str, pa.ListArray]:
    total = rows.negatives.num_rows + len(starts)
    offsets = starts + np.arange(len(starts))  # each row is one longer by its positive
    first = np.zeros(total, dtype=np.bool_)
    first[offsets] = True
    everything = np.arange(rows.negatives.num_rows)
    positives, negatives = rows.document("positive_key", starts), rows.document("doc_key", everything)
    place = np.empty(total, dtype=np.int64)
    place[first], place[~first] = np.arange(len(starts)), len(starts) + everything
    scores = np.concatenate([rows.score("positive_score", starts), rows.score("score", everything)])
    columns: dict[str, pa.ListArray] = {
        what: nest(
            pa.chunked_array([*positives[what].chunks, *negatives[what].chunks], pa.string()).take(pa.array(place)),
            offsets,
        )
        for what in ("text", "id", "metadata")
    }
    columns["score"] = nest(scores[place], offsets)
    of_negative = np.full(total, -1)
    of_negative[~first] = everything
    columns |= {name: nest(values, offsets) for name, values in rows.drawn(of_negative).items()}
    columns["label"] = nest(first.astype(np.int64), offsets)
    return columns
