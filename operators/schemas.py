"""The Arrow schemas of what crosses from one operator to the next."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

DOCUMENTS = pa.schema(
    {
        "doc_id": pa.string(),
        "text": pa.string(),  # as it is encoded: the title, where there is one, then the text
        "metadata": pa.string(),  # the source's other columns as a JSON object, or null
        "doc_key": pa.int64(),
        "text_key": pa.int64(),
    }
)
QUERIES = pa.schema(
    {
        "query_id": pa.string(),
        "text": pa.string(),
        "metadata": pa.string(),
        "query_key": pa.int64(),
        "text_key": pa.int64(),
    }
)
JUDGEMENTS = pa.schema(
    {
        "query_key": pa.int64(),
        "doc_key": pa.int64(),
        "text_key": pa.int64(),
        "relevance": pa.float32(),  # the score in the judgements; above 0 is a positive
        "label": pa.string(),
    }
)
DROPPED = pa.schema({"id": pa.string(), "key": pa.int64(), "reason": pa.string()})
DUPLICATES = pa.schema(
    {
        "part": pa.int32(),
        "row": pa.int32(),
        "doc_key": pa.int64(),
        "kept_key": pa.int64(),
        "text_key": pa.int64(),
        "reason": pa.string(),
    }
)
POSITIVES = pa.schema(
    {
        "query_key": pa.int64(),
        "doc_key": pa.int64(),
        "text_key": pa.int64(),
        "relevance": pa.float32(),
        "label": pa.string(),
        "score": pa.float32(),  # exact similarity to the query
    }
)
CANDIDATES = pa.schema(
    {
        "query_key": pa.int64(),
        "doc_key": pa.int64(),
        "text_key": pa.int64(),
        "score": pa.float32(),  # exact similarity to the query
        "rank": pa.int32(),  # from 0, among all that search found for the query; -1 where it did not find it
        "positive_kind": pa.uint8(),  # one of NOT_POSITIVE, POSITIVE_DOCUMENT, POSITIVE_TEXT
        "max_positive_similarity": pa.float32(),
        "mean_positive_similarity": pa.float32(),
    }
)
NOT_POSITIVE, POSITIVE_DOCUMENT, POSITIVE_TEXT = 0, 1, 2

# The columns that name a candidate.
PAIR = ("query_key", "doc_key")
PROPOSALS = pa.schema(
    {
        "query_key": pa.int64(),
        "doc_key": pa.int64(),
        "rank": pa.int32(),  # from 0, in its whole ranking for the query, positives counted
    }
)
SELECTED = pa.schema(
    {
        "query_key": pa.int64(),
        "positive_key": pa.int64(),
        "positive_score": pa.float32(),
        "doc_key": pa.int64(),
        "score": pa.float32(),
        "rank": pa.int32(),
        "max_positive_similarity": pa.float32(),
        "mean_positive_similarity": pa.float32(),
        "false_negative_probability": pa.float32(),  # null where it is not computed
        "sources": pa.list_(pa.string()),  # the proposers that named it, `search` among them
        "draw": pa.string(),  # the strategy that chose it, or null
        # Natural logarithm of the probability with which that draw takes it first among what it may still take for the
        # row; null where nothing is drawn at random.
        "log_probability": pa.float32(),
        "reason": pa.string(),  # "negative" where the candidate was chosen, else why it was not
    }
)
Vectors = npt.NDArray[np.float16] | npt.NDArray[np.float32]
VectorDType = Literal["float16", "float32"]
_ARROW: Mapping[VectorDType, pa.DataType] = {"float16": pa.float16(), "float32": pa.float32()}

TEXTS = pa.schema({"doc_key": pa.int64(), "doc_id": pa.string(), "text": pa.string(), "metadata": pa.string()})


def vectors_schema(dimension: int, dtype: VectorDType = "float32") -> pa.Schema:
    """Return the schema of encoded texts: `key` and `text_key`, and `vector` of that dimension and precision."""
    return pa.schema({"key": pa.int64(), "text_key": pa.int64(), "vector": pa.list_(_ARROW[dtype], dimension)})


def positive_vectors_schema(dimension: int, dtype: VectorDType = "float32") -> pa.Schema:
    """Return the schema of positives that carry their document's vector."""
    return POSITIVES.append(pa.field("vector", pa.list_(_ARROW[dtype], dimension)))


def matrix_of(column: pa.ChunkedArray | pa.Array) -> Vectors:
    """View a column of fixed-size lists as an array of shape (rows, dimension), float16 or float32 as it is stored."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(array.flatten().to_numpy(zero_copy_only=False)).reshape(len(array), array.type.list_size)


def vectors_column(matrix: Vectors) -> pa.FixedSizeListArray:
    """Turn a float16 or float32 array of shape (rows, dimension) into a column of fixed-size lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(matrix).ravel()), matrix.shape[1])


def to_numpy(table: pa.Table, column: str) -> npt.NDArray[Any]:
    """Return a column without nulls as a numpy array of shape (rows,)."""
    return np.asarray(table.column(column).to_numpy())


def concat(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """Concatenate tables of one schema; no tables make an empty one."""
    return pa.concat_tables([table.select(schema.names).cast(schema) for table in tables] or [schema.empty_table()])
