"""Lay negatives out as training data, in the formats that trainers read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.schemas import QUERIES, SELECTED, TEXTS, numbers
from operators.segments import row_of, starts_of
from operators.settings import Settings

Ints = npt.NDArray[np.int64]
Format = Literal["triplet", "n-tuple", "labeled-pair", "labeled-list", "flagembedding", "tevatron"]
FileFormat = Literal["parquet", "jsonl"]

# Layouts that other tools read as JSONL, whatever `file_format` says.
JSONL_ONLY = ("flagembedding", "tevatron")


class ExportConfig(Settings):
    """How the training data is written.

    Attributes:
        formats: any of triplet, n-tuple, labeled-pair, labeled-list (sentence-transformers), flagembedding, tevatron.
        file_format: parquet or jsonl; flagembedding and tevatron are always JSONL.
    """

    formats: tuple[Format, ...] = Field(default=("triplet",), min_length=1)
    file_format: FileFormat = "parquet"


@dataclass(frozen=True)
class Mined:
    """A batch of negatives with the texts that belong to them.

    Attributes:
        negatives: schema SELECTED, those of one (query, positive) row together.
        queries: schema QUERIES.
        texts: schema TEXTS, of all documents that the negatives name.
        num_negatives: how many negatives a full row has.
    """

    negatives: pa.Table
    queries: pa.Table
    texts: pa.Table
    num_negatives: int

    def row_starts(self) -> Ints:
        """Return where each (query, positive) row begins: int64 of shape (rows,)."""
        query, positive = numbers(self.negatives, "query_key"), numbers(self.negatives, "positive_key")
        return np.union1d(starts_of(query), starts_of(positive)).astype(np.int64)

    def query(self, at: Ints) -> dict[str, pa.ChunkedArray]:
        """Return the query_id, text and metadata of the queries of these negatives."""
        rows = _known(row_of(numbers(self.queries, "query_key"), numbers(self.negatives, "query_key")[at]))
        taken = self.queries.take(pa.array(rows))
        return {"id": taken.column("query_id"), "text": taken.column("text"), "metadata": taken.column("metadata")}

    def document(self, column: Literal["positive_key", "doc_key"], at: Ints) -> dict[str, pa.ChunkedArray]:
        """Return the doc_id, text and metadata of the positives or of the negatives themselves."""
        rows = _known(row_of(numbers(self.texts, "doc_key"), numbers(self.negatives, column)[at]))
        taken = self.texts.take(pa.array(rows))
        return {"id": taken.column("doc_id"), "text": taken.column("text"), "metadata": taken.column("metadata")}

    def score(self, column: Literal["positive_score", "score"], at: Ints) -> npt.NDArray[np.float32]:
        """Return the scores of the positives or of the negatives."""
        return np.asarray(numbers(self.negatives, column)[at])


def _known(rows: Ints) -> Ints:
    if (rows < 0).any():
        raise LookupError("A negative names a query or a document whose text did not arrive.")
    return rows


def triplet(mined: Mined) -> pa.Table:
    """One row for each negative: query, positive, negative, and the ids, scores and metadata of the three."""
    at = np.arange(mined.negatives.num_rows)
    sides = {
        "query": mined.query(at),
        "positive": mined.document("positive_key", at),
        "negative": mined.document("doc_key", at),
    }
    return pa.table(
        {
            **{name: side["text"] for name, side in sides.items()},
            **{f"{name}_id": side["id"] for name, side in sides.items()},
            "positive_score": mined.score("positive_score", at),
            "negative_score": mined.score("score", at),
            **{f"{name}_metadata": side["metadata"] for name, side in sides.items()},
        }
    )


def n_tuple(mined: Mined) -> pa.Table:
    """One row for each (query, positive) that has all its negatives: query, positive, negative_1 ... negative_n."""
    starts = mined.row_starts()
    lengths = np.diff(np.append(starts, mined.negatives.num_rows))
    starts = starts[lengths == mined.num_negatives]
    sides = {"query": mined.query(starts), "positive": mined.document("positive_key", starts)}
    offsets = range(mined.num_negatives)
    sides.update({f"negative_{i + 1}": mined.document("doc_key", starts + i) for i in offsets})
    return pa.table(
        {
            **{name: side["text"] for name, side in sides.items()},
            **{_beside(name, "id"): side["id"] for name, side in sides.items()},
            "positive_score": mined.score("positive_score", starts),
            **{f"negative_score_{i + 1}": mined.score("score", starts + i) for i in offsets},
            **{_beside(name, "metadata"): side["metadata"] for name, side in sides.items()},
        }
    )


def _beside(name: str, what: str) -> str:
    stem, _, number = name.partition("_")
    return f"{stem}_{what}_{number}" if number else f"{stem}_{what}"


def labeled_pair(mined: Mined) -> pa.Table:
    """One row for each query and document: label 1 for positives, 0 for negatives; no pair is repeated."""
    starts = mined.row_starts()
    everything = np.arange(mined.negatives.num_rows)
    labels = np.concatenate([np.ones(len(starts), np.int64), np.zeros(len(everything), np.int64)])
    at = np.concatenate([starts, everything])
    keys = np.where(labels == 1, numbers(mined.negatives, "positive_key")[at], numbers(mined.negatives, "doc_key")[at])
    query = numbers(mined.negatives, "query_key")[at]
    query_row = row_of(query[: len(starts)], query)  # the order in which the queries come
    order = np.argsort(query_row, kind="stable")  # of each query the positives first, as they are laid side by side
    _, first = np.unique(np.stack([query_row[order], keys[order]]), axis=1, return_index=True)
    order = order[np.sort(first)]
    labels, at, keys = labels[order], at[order], keys[order]
    scores = np.where(labels == 1, mined.score("positive_score", at), mined.score("score", at))
    queries = mined.query(at)
    documents = mined.texts.take(pa.array(_known(row_of(numbers(mined.texts, "doc_key"), keys))))
    return pa.table(
        {
            "query": queries["text"],
            "document": documents.column("text"),
            "label": labels,
            "query_id": queries["id"],
            "document_id": documents.column("doc_id"),
            "document_score": scores,
            "query_metadata": queries["metadata"],
            "document_metadata": documents.column("metadata"),
        }
    )


def labeled_list(mined: Mined) -> pa.Table:
    """One row for each (query, positive): the positive and its negatives as `documents`, with `labels` 1, 0, 0, ..."""
    starts = mined.row_starts()
    queries = mined.query(starts)
    lists = _lists(mined, starts)
    return pa.table(
        {
            "query": queries["text"],
            "documents": lists["text"],
            "labels": lists["label"],
            "query_id": queries["id"],
            "document_ids": lists["id"],
            "document_scores": lists["score"],
            "query_metadata": queries["metadata"],
            "document_metadata": lists["metadata"],
        }
    )


def flagembedding(mined: Mined) -> pa.Table:
    """One row for each (query, positive), as FlagEmbedding reads it: query, pos, neg, with ids and scores beside."""
    starts = mined.row_starts()
    queries = mined.query(starts)
    sides = {
        "pos": (mined.document("positive_key", starts), mined.score("positive_score", starts), np.arange(len(starts)))
    }
    everything = np.arange(mined.negatives.num_rows)
    sides["neg"] = (mined.document("doc_key", everything), mined.score("score", everything), starts)
    columns = {"query": queries["text"]}
    for what in ("text", "id"):
        for side, (documents, _, offsets) in sides.items():
            columns[side if what == "text" else f"{side}_id"] = _nest(documents[what], offsets)
    for side, (_, scores, offsets) in sides.items():
        columns[f"{side}_scores"] = _nest(scores, offsets)
    return pa.table({**columns, "query_id": queries["id"]})


def tevatron(mined: Mined) -> pa.Table:
    """One row for each (query, positive), as Tevatron reads it: query_id, query, positive_ and negative_passages."""
    starts = mined.row_starts()
    queries = mined.query(starts)
    everything = np.arange(mined.negatives.num_rows)
    positives, negatives = mined.document("positive_key", starts), mined.document("doc_key", everything)
    return pa.table(
        {
            "query_id": queries["id"],
            "query": queries["text"],
            "positive_passages": _nest(_passages(positives), np.arange(len(starts))),
            "negative_passages": _nest(_passages(negatives), starts),
        }
    )


def _passages(documents: Mapping[str, pa.ChunkedArray]) -> pa.StructArray:
    ids, texts = documents["id"].combine_chunks(), documents["text"].combine_chunks()
    # The text holds its title already: an empty one keeps Tevatron from putting it there twice.
    titles = pa.repeat(pa.scalar(""), len(ids))
    return pa.StructArray.from_arrays([ids, titles, texts], names=["docid", "title", "text"])


def _lists(mined: Mined, starts: Ints) -> dict[str, pa.ListArray]:
    total = mined.negatives.num_rows + len(starts)
    offsets = starts + np.arange(len(starts))  # each row is one longer by its positive
    first = np.zeros(total, dtype=np.bool_)
    first[offsets] = True
    everything = np.arange(mined.negatives.num_rows)
    positives, negatives = mined.document("positive_key", starts), mined.document("doc_key", everything)
    place = np.empty(total, dtype=np.int64)
    place[first], place[~first] = np.arange(len(starts)), len(starts) + everything
    scores = np.concatenate([mined.score("positive_score", starts), mined.score("score", everything)])
    columns: dict[str, pa.ListArray] = {
        what: _nest(
            pa.chunked_array([*positives[what].chunks, *negatives[what].chunks], pa.string()).take(pa.array(place)),
            offsets,
        )
        for what in ("text", "id", "metadata")
    }
    columns["score"] = _nest(scores[place], offsets)
    columns["label"] = _nest(first.astype(np.int64), offsets)
    return columns


def _nest(values: pa.ChunkedArray | pa.Array | npt.NDArray[np.generic], starts: Ints) -> pa.ListArray:
    array = (
        values.combine_chunks()
        if isinstance(values, pa.ChunkedArray)
        else pa.array(values)
        if isinstance(values, np.ndarray)
        else values
    )
    return pa.ListArray.from_arrays(pa.array(np.append(starts, len(array)), pa.int32()), array)


LAYOUTS: Mapping[Format, Callable[[Mined], pa.Table]] = {
    "triplet": triplet,
    "n-tuple": n_tuple,
    "labeled-pair": labeled_pair,
    "labeled-list": labeled_list,
    "flagembedding": flagembedding,
    "tevatron": tevatron,
}


def schema_of(layout: Format, num_negatives: int) -> pa.Schema:
    """Return the columns of a format, and their types, as every one of its files has them."""
    nothing = Mined(SELECTED.empty_table(), QUERIES.empty_table(), TEXTS.empty_table(), num_negatives)
    return LAYOUTS[layout](nothing).schema


def training_columns(layout: Format, num_negatives: int) -> list[str]:
    """Return the columns that a trainer reads, in its order; the others are ids, scores and metadata beside them."""
    return {
        "triplet": ["query", "positive", "negative"],
        "n-tuple": ["query", "positive", *(f"negative_{i + 1}" for i in range(num_negatives))],
        "labeled-pair": ["query", "document", "label"],
        "labeled-list": ["query", "documents", "labels"],
        "flagembedding": ["query", "pos", "neg"],
        "tevatron": ["query_id", "query", "positive_passages", "negative_passages"],
    }[layout]
