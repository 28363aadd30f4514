"""Search one shard: FAISS finds, the exact vectors decide."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from operators.schemas import (
    CANDIDATES,
    NOT_POSITIVE,
    POSITIVE_DOCUMENT,
    POSITIVE_TEXT,
    matrix_of,
    numbers,
)
from operators.segments import pair_in, row_of
from operators.vectors.merge import deepest, in_order
from operators.vectors.similarity import positive_similarities, score_pairs

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# Depths are rounded up to a multiple of this, so that queries with about as many positives are searched together.
DEPTH_STEP = 32
# At least so many more than needed are asked for: FAISS rounds otherwise than score_pairs, and the exact score is to
# decide who is last, not that rounding.
SPARE = 8
ROWS_AT_ONCE = 262_144


class SearchConfig(BaseModel):
    """How deep a corpus is searched.

    Attributes:
        k: how many documents that are not judged positive are found for each query.
        nprobe: how many lists of an IVF index are visited; `auto` is a quarter of them, at most 64.
        refine_factor: how many times more are taken from quantized codes, to be scored with the real vectors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(default=100, ge=1)
    nprobe: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    refine_factor: int = Field(default=4, ge=1)


@dataclass(frozen=True)
class Shard:
    """One piece of the corpus, open for search.

    Attributes:
        vectors: shape (rows, dimension), float32, mostly a memory map.
        doc_key: shape (rows,), int64.
        text_key: shape (rows,), int64.
        index: the FAISS index whose ids are the rows, or None where every vector is compared.
    """

    vectors: Matrix
    doc_key: Ints
    text_key: Ints
    index: Any | None = None


def open_shard(folder: Path) -> Shard:
    """Open a shard's files (vectors.npy, keys.npy and, if quantized, codes.faiss) without reading them."""
    keys = np.load(folder / "keys.npy")
    codes = folder / "codes.faiss"
    return Shard(
        vectors=np.load(folder / "vectors.npy", mmap_mode="r"),
        doc_key=keys[0],
        text_key=keys[1],
        index=faiss.read_index(str(codes), faiss.IO_FLAG_MMAP_IFC) if codes.exists() else None,
    )


class Search:
    """Find the documents of a shard that are nearest to each query, with exact scores.

    A quantized index only proposes: it is asked for `refine_factor` times the depth, and what it proposes is scored
    with the real vectors. No threshold and no rank ever rests on a quantized score (Jegou et al., "Searching in one
    billion vectors: re-rank with source coding", 2011, section 2.2, with the vectors themselves for the codes).
    """

    def __init__(self, config: SearchConfig, shard: Shard) -> None:
        self.config = config
        self.shard = shard

    def __call__(self, queries: pa.Table, positives: pa.Table) -> pa.Table:
        """Return the candidates of a batch of queries in this shard (schema CANDIDATES), best first for each query.

        Args:
            queries: schema vectors_schema, the key being the query's.
            positives: schema positive_vectors_schema, of these queries, wherever in the corpus they are.

        Each query gets the `k` best documents that are not judged positive for it, and the positives among and above
        them. The depth of a query grows with its own positives in this shard, not with those of another.
        """
        vectors = matrix_of(queries.column("vector"))
        owner = row_of(numbers(queries, "key"), numbers(positives, "query_key"))
        order = np.argsort(owner, kind="stable")
        positives, owner = positives.take(pa.array(order)), owner[order]
        query, row = self._found(vectors, self._depths(len(vectors), positives, owner))

        flags = self._flags(query, row, positives, owner)
        score = score_pairs(vectors, query, self.shard.vectors, row)
        order = in_order(query, score, self.shard.doc_key[row])
        order = order[deepest(query[order], flags[order] != POSITIVE_DOCUMENT, self.config.k)]
        query, row, score, flags = query[order], row[order], score[order], flags[order]
        highest, mean = positive_similarities(
            self.shard.vectors, row, query, matrix_of(positives.column("vector")), owner
        )
        return pa.table(
            {
                "query_key": numbers(queries, "key")[query],
                "doc_key": self.shard.doc_key[row],
                "text_key": self.shard.text_key[row],
                "score": score,
                "rank": np.zeros(len(row), dtype=np.int32),  # known when the shards are merged
                "positive": flags,
                "max_positive_similarity": highest,
                "mean_positive_similarity": mean,
            },
            schema=CANDIDATES,
        )

    def _depths(self, queries: int, positives: pa.Table, owner: Ints) -> Ints:
        here = np.isin(numbers(positives, "doc_key"), self.shard.doc_key)
        wanted = self.config.k + np.bincount(owner[here], minlength=queries)
        return np.minimum(-(-(wanted + SPARE) // DEPTH_STEP) * DEPTH_STEP, len(self.shard.doc_key))

    def _found(self, vectors: Matrix, depths: Ints) -> tuple[Ints, Ints]:
        """Return the query's number and the shard's row of everything found, flat, in the order of the queries."""
        nothing = np.zeros(0, dtype=np.int64)
        found = [(nothing, nothing)]
        for depth in np.unique(depths[depths > 0]):  # 0 in a shard without documents
            asked = np.flatnonzero(depths == depth)
            rows = self._nearest(np.ascontiguousarray(vectors[asked]), int(depth))
            is_row = rows >= 0  # FAISS pads with -1 where it finds too few
            found.append((np.repeat(asked, is_row.sum(axis=1)), rows[is_row]))
        query = np.concatenate([query for query, _ in found])
        row = np.concatenate([row for _, row in found])
        order = np.argsort(query, kind="stable")
        return query[order], row[order]

    def _nearest(self, vectors: Matrix, depth: int) -> Ints:
        if self.shard.index is None:
            return nearest_exact(vectors, self.shard.vectors, depth)
        inverted = faiss.try_extract_index_ivf(self.shard.index)
        if inverted is not None:
            auto = min(max(inverted.nlist // 4, 1), 64)
            inverted.nprobe = min(auto if self.config.nprobe == "auto" else self.config.nprobe, inverted.nlist)
        proposed = min(depth * self.config.refine_factor, len(self.shard.doc_key))
        return np.asarray(self.shard.index.search(vectors, proposed)[1])

    def _flags(self, query: Ints, row: Ints, positives: pa.Table, owner: Ints) -> npt.NDArray[np.uint8]:
        by_text = pair_in((query, self.shard.text_key[row]), (owner, numbers(positives, "text_key")))
        by_document = pair_in((query, self.shard.doc_key[row]), (owner, numbers(positives, "doc_key")))
        flags = np.where(by_text, POSITIVE_TEXT, NOT_POSITIVE)
        return np.where(by_document, POSITIVE_DOCUMENT, flags).astype(np.uint8)


def nearest_exact(queries: Matrix, vectors: Matrix, depth: int) -> Ints:
    """Return the rows of the `depth` nearest vectors by inner product: int64 of shape (queries, depth), best first.

    The vectors, which may be a memory map of another precision, are compared block by block.
    """
    best_scores: Matrix | None = None
    best_rows: Ints | None = None
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        block = np.ascontiguousarray(vectors[start : start + ROWS_AT_ONCE], dtype=np.float32)
        scores, rows = faiss.knn(queries, block, min(depth, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        rows = rows + start
        if best_scores is not None and best_rows is not None:
            scores, rows = np.hstack([best_scores, scores]), np.hstack([best_rows, rows])
            keep = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
            scores, rows = np.take_along_axis(scores, keep, axis=1), np.take_along_axis(rows, keep, axis=1)
        best_scores, best_rows = scores, rows
    return best_rows if best_rows is not None else np.zeros((len(queries), 0), dtype=np.int64)
