"""Pairs of queries and documents as candidates: with exact scores, and what the judgements say of them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.schemas import (
    CANDIDATES,
    NOT_POSITIVE,
    POSITIVE_DOCUMENT,
    POSITIVE_TEXT,
    Vectors,
    matrix_of,
    to_numpy,
)
from operators.segments import first_index, pair_in
from operators.vectors.geometry import InnerProduct
from operators.vectors.order import argsort_ranked
from operators.vectors.precision import in_float32
from operators.vectors.similarity import candidate_similarities

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Documents:
    """Documents with their vectors.

    Attributes:
        doc_key: int64 of shape (rows,).
        text_key: int64 of shape (rows,).
        vectors: float16 or float32 of shape (rows, dimension).
        geometry: of the vectors.
    """

    doc_key: Ints
    text_key: Ints
    vectors: Vectors
    geometry: InnerProduct


@dataclass(frozen=True)
class Asked:
    """A batch of queries and their positives.

    Attributes:
        keys: of the queries, int64 of shape (queries,).
        vectors: of the queries, float32 of shape (queries, dimension).
        positives: schema positive_vectors_schema, in the order of their queries.
        owner: the number of each positive's query, ascending, int64 of shape (positives,).
    """

    keys: Ints
    vectors: npt.NDArray[np.float32]
    positives: pa.Table
    owner: Ints

    @classmethod
    def of(cls, queries: pa.Table, positives: pa.Table) -> "Asked":
        """Put the positives into the order of the queries.

        Args:
            queries: schema vectors_schema, the key being the query's.
            positives: schema positive_vectors_schema, of these queries.
        """
        keys = to_numpy(queries, "key")
        owner = first_index(keys, to_numpy(positives, "query_key"))
        order = np.argsort(owner, kind="stable")
        vectors = in_float32(matrix_of(queries.column("vector")))
        return cls(keys, vectors, positives.take(pa.array(order)), owner[order])


def candidates_of(asked: Asked, documents: Documents, query: Ints, row: Ints) -> tuple[Ints, pa.Table]:
    """Score pairs of queries and documents exactly.

    Args:
        asked: the queries.
        documents: with their vectors.
        query: the number of the query of each pair, ascending, shape (n,).
        row: the row of its document, shape (n,).

    Returns:
        The numbers of the queries, ascending, and the candidates (schema CANDIDATES), best first for each query, of
        equal scores the smaller key first. Their rank is 0: it is known when all candidates of a query are.
    """
    positives = (matrix_of(asked.positives.column("vector")), asked.owner)
    score, highest, mean = candidate_similarities(
        (documents.vectors, row), (asked.vectors, query), positives, documents.geometry
    )
    order = argsort_ranked(query, score, documents.doc_key[row])
    query, row = query[order], row[order]
    table = pa.table(
        {
            "query_key": asked.keys[query],
            "doc_key": documents.doc_key[row],
            "text_key": documents.text_key[row],
            "score": score[order],
            "rank": np.zeros(len(row), dtype=np.int32),
            "positive_kind": _flags(asked, documents, query, row),
            "max_positive_similarity": highest[order],
            "mean_positive_similarity": mean[order],
        },
        schema=CANDIDATES,
    )
    return query, table


def _flags(asked: Asked, documents: Documents, query: Ints, row: Ints) -> npt.NDArray[np.uint8]:
    """Tell which candidates are positives of their query, or have the text of one."""
    by_text = pair_in((query, documents.text_key[row]), (asked.owner, to_numpy(asked.positives, "text_key")))
    by_document = pair_in((query, documents.doc_key[row]), (asked.owner, to_numpy(asked.positives, "doc_key")))
    flags = np.where(by_text, POSITIVE_TEXT, NOT_POSITIVE)
    return np.where(by_document, POSITIVE_DOCUMENT, flags).astype(np.uint8)
