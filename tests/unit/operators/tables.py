"""Small tables of the operators' schemas, for the tests of search, merge, select and the formats."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.candidates.draw import Draw, Priority
from operators.candidates.pairs import Pairs
from operators.schemas import (
    CANDIDATES,
    POSITIVES,
    Vectors,
    positive_vectors_schema,
    vectors_column,
    vectors_schema,
)
from operators.vectors.index import add, codes_from, empty_flat
from operators.vectors.rounding import lengths_of
from operators.vectors.shard import Shard

Ints = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]
Row = dict[str, Any]

NO_TEXT = -1  # no document's text key


def query_vectors(keys: Sequence[int] | Ints, matrix: Matrix) -> pa.Table:
    keys = np.asarray(keys, dtype=np.int64)
    return pa.table([keys, keys, vectors_column(matrix)], schema=vectors_schema(matrix.shape[1]))


def positive_vectors(rows: Sequence[Mapping[str, Any]], matrix: Matrix) -> pa.Table:
    """Positives given as query_key, doc_key, text_key; `matrix` has a vector for each."""
    full = [{"relevance": 1.0, "label": None, "score": 0.0, "text_key": NO_TEXT, **row} for row in rows]
    table = pa.Table.from_pylist(full, schema=POSITIVES)
    return table.append_column("vector", vectors_column(matrix)).cast(positive_vectors_schema(matrix.shape[1]))


def shard_of(vectors: Vectors, doc_key: Ints, text_key: Ints, codes: Any | None = None) -> Shard:  # noqa: ANN401
    """A shard in memory."""
    return Shard(flat_of(vectors), doc_key, text_key, lengths_of(vectors), codes)


def flat_of(vectors: Vectors) -> Any:  # noqa: ANN401
    """The vectors in a flat index, in memory."""
    flat = empty_flat(vectors.shape[1], "float16" if vectors.dtype == np.float16 else "float32")
    add(flat, vectors)
    return flat


def codes_of(trained: bytes, blocks: Iterable[Vectors]) -> Any:  # noqa: ANN401
    """A copy of the trained index with vectors added."""
    codes = codes_from(trained)
    for block in blocks:
        add(codes, block)
    return codes


def candidates(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Candidates given as query_key, doc_key, score and whatever else a test is about."""
    given = {
        "text_key": NO_TEXT,
        "rank": 0,
        "positive_kind": 0,
        "max_positive_similarity": 0.0,
        "mean_positive_similarity": 0.0,
    }
    return pa.Table.from_pylist([{**given, **row} for row in rows], schema=CANDIDATES)


def positives(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Positives given as query_key, doc_key, score."""
    return pa.Table.from_pylist(
        [{"relevance": 1.0, "label": None, "text_key": NO_TEXT, **row} for row in rows], POSITIVES
    )


def priority_of(draw: Draw, pairs: Pairs) -> Priority:
    """The priority of each pair, where all of them are free."""
    return draw.priority(pairs, np.ones(len(pairs), dtype=np.bool_))
