"""Candidates side by side with the rows that negatives are chosen for, and every number known about them."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.keys import uniform
from operators.schemas import CANDIDATES, Vectors, matrix_of, to_numpy
from operators.segments import first_index, rank_within, starts_of

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

# Of the sample of rows of a query.
ROWS_SEED = 0
# What is known without a stage that computes it.
ALWAYS_THERE = (*CANDIDATES.names, "positive_key", "positive_score")
# What a draw names in `needs` that reads `Pairs.vectors`.
VECTOR = "vector"


@dataclass(frozen=True)
class Pairs:
    """Every candidate of a query beside every (query, positive) row of that query, flat.

    Attributes:
        row: the number of the row, ascending, int64 of shape (n,).
        candidate: the number of the candidate, int64 of shape (n,).
        candidates: schema CANDIDATES, with a column for every further signal, and the vectors where a draw reads them.
        rows: the positives: schema POSITIVES; `score` is that of the row's own positive.
        reference: the score of the positive that margins are taken against, float32 of shape (rows,).
        dimension: of the vectors behind the scores.
    """

    row: Ints
    candidate: Ints
    candidates: pa.Table
    rows: pa.Table
    reference: Floats
    dimension: int = 0
    _signals: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, signal: str) -> npt.NDArray[Any]:
        """Return a number of every pair, shape (n,).

        Args:
            signal: a column of the candidates; `positive_key`, of the row's positive; or `positive_score`, of the
                positive that margins are taken against.
        """
        if signal not in self._signals:
            if signal == "positive_score":
                values = self.reference[self.row]
            elif signal == "positive_key":
                values = to_numpy(self.rows, "doc_key")[self.row]
            elif signal in self.candidates.column_names and signal != VECTOR:
                values = to_numpy(self.candidates, signal)
                values = values if self._is_every_candidate() else values[self.candidate]
            else:
                raise LookupError(f"There is no signal {signal!r} here. Name it in `needs` of what reads it.")
            self._signals[signal] = values
        return self._signals[signal]

    @property
    def vectors(self) -> tuple[Vectors, Ints]:
        """Return the vectors of documents, shape (documents, dimension), and each pair's row in them, shape (n,).

        A document that is a candidate of several queries is there once. They are in the precision in which they are
        kept, float16 or float32. Vectors of pairs, `vectors[rows]`, are many times as large: take some at a time.

        Raises:
            LookupError: they were not asked for, or a pair has none, as those with a positive of the query.
        """
        if VECTOR not in self.candidates.column_names:
            raise LookupError(f"There are no vectors here. Name {VECTOR!r} in `needs` of the draw that reads them.")
        column = self.candidates.column(VECTOR)
        if not column.num_chunks:
            return matrix_of(pa.array([], column.type.value_type)), np.zeros(0, dtype=np.int64)
        indices = pa.chunked_array([chunk.indices for chunk in column.chunks])  # all into the same vectors
        rows = indices.fill_null(-1).to_numpy().astype(np.int64)[self.candidate]
        if (rows < 0).any():
            raise LookupError("There is no vector of a positive of the query.")
        return matrix_of(column.chunk(0).dictionary), rows

    def _is_every_candidate(self) -> bool:
        """Whether each candidate has one pair, in its place, as where each query has one positive."""
        if "" not in self._signals:
            every = len(self.candidate) == self.candidates.num_rows and bool((np.diff(self.candidate) == 1).all())
            self._signals[""] = np.array(every)
        return bool(self._signals[""])

    def take(self, at: Ints) -> "Pairs":
        """Return some of the pairs, in ascending order."""
        if len(at) == len(self.row):
            return self
        return replace(self, row=self.row[at], candidate=self.candidate[at], _signals={})


def with_vectors(candidates: pa.Table, vectors: pa.Table) -> pa.Table:
    """Append the vectors of documents to candidates: a column that keeps each document's once.

    Args:
        candidates: have `doc_key`.
        vectors: has `doc_key`, each once, and `vector`. A candidate whose document it does not have gets null.
    """
    row = first_index(to_numpy(vectors, "doc_key"), to_numpy(candidates, "doc_key"))
    rows = pa.array(row, pa.int32(), mask=row < 0)
    column = vectors.column(VECTOR)
    once = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # one is left where it lies, on disk
    return candidates.append_column(VECTOR, pa.DictionaryArray.from_arrays(rows, once))


Reference = Literal["row", "lowest", "mean"]


def pairs_of(
    candidates: pa.Table,
    positives: pa.Table,
    reference: Reference = "row",
    dimension: int = 0,
    most_rows: int | None = None,
) -> Pairs:
    """Pair every row with every candidate of its query.

    Args:
        candidates: those of one query together; those of a query without positives are left out.
        positives: those of one query together; each is a row.
        reference: what scores are compared with: the positive of the row, the lowest-scored positive of the query, or
            the mean score of its positives.
        dimension: of the vectors behind the scores.
        most_rows: of each query, a sample by the keys; all where it is None.
    """
    queries = to_numpy(positives, "query_key")
    compared = _compared_with(reference, queries, to_numpy(positives, "score"))
    if most_rows is not None:
        drawn = uniform(ROWS_SEED, queries, to_numpy(positives, "doc_key"))
        place = np.empty(len(queries), dtype=np.int64)
        segment = np.searchsorted(starts_of(queries), np.arange(len(queries)), side="right")
        order = np.lexsort((drawn, segment))
        place[order] = rank_within(segment[order])
        kept = np.flatnonzero(place < most_rows)
        queries, compared, positives = queries[kept], compared[kept], positives.take(pa.array(kept))
    paired = _paired(queries, to_numpy(candidates, "query_key"))
    return Pairs(*paired, candidates, positives, compared, dimension)


def _compared_with(reference: Reference, queries: Ints, score: Floats) -> Floats:
    if reference == "row" or not len(score):
        return score
    starts = starts_of(queries)
    counts = np.diff(np.append(starts, len(score)))
    if reference == "lowest":
        return np.repeat(np.minimum.reduceat(score, starts), counts)
    mean = np.add.reduceat(score, starts, dtype=np.float64) / counts
    return np.repeat(mean.astype(np.float32), counts)


def _paired(row_keys: Ints, candidate_keys: Ints) -> tuple[Ints, Ints]:
    """Pair every row with every candidate of its query: the number of the row and of the candidate, int64 (pairs,).

    Args:
        row_keys: the key of each row's query, shape (rows,).
        candidate_keys: the key of each candidate's query, equal ones together, shape (n,).
    """
    starts = starts_of(candidate_keys)
    lengths = np.diff(np.append(starts, len(candidate_keys)))
    # One look-up for each row, none for each candidate. A query without candidates is -1: the last of what follows.
    run = first_index(candidate_keys[starts], row_keys)
    first, counts = np.append(starts, 0)[run], np.append(lengths, 0)[run]
    row = np.repeat(np.arange(len(row_keys)), counts)
    return row, np.arange(len(row)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
