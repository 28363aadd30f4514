"""Candidates side by side with the rows that negatives are chosen for, and every number known about them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.schemas import CANDIDATES, to_numpy
from operators.segments import first_index, starts_of

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

# What is known without a stage that computes it.
ALWAYS_THERE = (*CANDIDATES.names, "positive_key", "positive_score")


@dataclass(frozen=True)
class Pairs:
    """Every candidate of a query beside every (query, positive) row of that query, flat.

    Attributes:
        row: the number of the row, ascending, int64 of shape (n,).
        candidate: the number of the candidate, int64 of shape (n,).
        candidates: schema CANDIDATES, with a column for every further signal.
        rows: the positives: schema POSITIVES; `score` is that of the row's own positive.
        reference: the score of the positive that margins are taken against, float32 of shape (rows,).
    """

    row: Ints
    candidate: Ints
    candidates: pa.Table
    rows: pa.Table
    reference: Floats
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
            elif signal in self.candidates.column_names:
                values = to_numpy(self.candidates, signal)[self.candidate]
            else:
                raise LookupError(f"There is no signal {signal!r} here. Name it in `needs` of what reads it.")
            self._signals[signal] = values
        return self._signals[signal]

    def take(self, at: Ints) -> "Pairs":
        """Return some of the pairs, in ascending order."""
        return Pairs(self.row[at], self.candidate[at], self.candidates, self.rows, self.reference)


def pairs_of(candidates: pa.Table, positives: pa.Table, lowest: bool = False) -> Pairs:
    """Pair every row with every candidate of its query.

    Args:
        candidates: those of one query together; those of a query without positives are left out.
        positives: those of one query together; each is a row.
        lowest: margins are taken against the lowest positive of the query; else against that of the row.
    """
    queries, score = to_numpy(positives, "query_key"), to_numpy(positives, "score")
    if lowest and len(score):
        starts = starts_of(queries)
        score = np.repeat(np.minimum.reduceat(score, starts), np.diff(np.append(starts, len(score))))
    return Pairs(*_paired(queries, to_numpy(candidates, "query_key")), candidates, positives, score)


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
