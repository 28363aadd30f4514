"""The best rows of every query so far, known by bounds of their products until the scores have to decide.

The product is what `score_pairs` computes, and the score what the geometry of the shard makes of it. Products exclude:
what has a product below the floor of another has a lower score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from operators.segments import rank_within
from operators.vectors.order import argsort_ranked, argsort_scores
from operators.vectors.shard import Shard
from operators.vectors.similarity import score_pairs

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

# Rows that may be among the best are scored, and cut to the best, where they are more than so many times those wanted
# (and more than a few): so equal scores, however many, take no more memory.
HELD_AT_MOST = 4
A_FEW = 2**16


@dataclass(frozen=True)
class Pairs:
    """Queries and rows, each array of shape (n,).

    Attributes:
        query: the query's number.
        row: of the shard.
        low: the product is not below this.
        high: the product is not above this.
    """

    query: Ints
    row: Ints
    low: Floats
    high: Floats

    @classmethod
    def within(cls, query: Ints, row: Ints, product: Floats, errors: tuple[Floats, Floats]) -> "Pairs":
        """Bound products by one that is off by no more than this, each way; what is not finite bounds nothing."""
        with np.errstate(invalid="ignore", over="ignore"):
            low, high = product - errors[0], product + errors[1]
        known = np.isfinite(low) & np.isfinite(high)
        return cls(query, row, np.where(known, low, -np.inf), np.where(known, high, np.inf))

    def take(self, rows: Ints | npt.NDArray[np.bool_]) -> "Pairs":
        """Take some of the pairs."""
        return Pairs(self.query[rows], self.row[rows], self.low[rows], self.high[rows])


class TopK:
    """The best of every query so far, flat: pending ones are sorted in when there are many.

    Attributes:
        threshold: what has a product below this is not among the best, float32 of shape (queries,).
    """

    def __init__(self, queries: Matrix, shard: Shard, wanted: Ints) -> None:
        """Keep `wanted` rows of a shard for each query, shape (queries,)."""
        self.queries, self.shard, self.wanted = queries, shard, wanted
        self.threshold = np.full(len(wanted), -np.inf, dtype=np.float32)
        nothing, no_score = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        self.held = Pairs(nothing, nothing, no_score, no_score)
        self.pending: list[Pairs] = []

    def add(self, pairs: Pairs) -> None:
        """Take rows that are not among those given before."""
        self.pending.append(pairs.take(pairs.high >= self.threshold[pairs.query]))
        if sum(len(one.query) for one in self.pending) > len(self.held.query):
            self.sort()

    def rows(self) -> tuple[Ints, Ints]:
        """Return the query and the row of the best, exactly `wanted` where there are so many, ordered by query."""
        self.sort()
        if (np.bincount(self.held.query, minlength=len(self.wanted)) > self.wanted).any():
            self._decide()
        return self.held.query, self.held.row

    def sort(self) -> None:
        """Sort the pending ones in, and drop what cannot be among the best."""
        held = _together([self.held, *self.pending])
        self.pending.clear()
        held = held.take(argsort_scores(held.query, held.low))
        last = np.flatnonzero(rank_within(held.query) == self.wanted[held.query] - 1)
        self.threshold[held.query[last]] = self.shard.geometry.floor(held.low[last])
        self.held = held.take(held.high >= self.threshold[held.query])
        if len(self.held.query) > HELD_AT_MOST * int(self.wanted.sum()) + A_FEW:
            self._decide()

    def _decide(self) -> None:
        """Score the rows of queries that hold more than they want, and keep the best by score and then by key."""
        held = self.held
        undecided = (np.bincount(held.query, minlength=len(self.wanted)) > self.wanted)[held.query]
        settled, held = held.take(~undecided), held.take(undecided)
        product, new = held.low.copy(), held.low != held.high
        product[new] = score_pairs(self.queries, held.query[new], self.shard.vectors, held.row[new])
        product = np.where(np.isnan(product), np.float32(-np.inf), product)
        score = self.shard.geometry.scores(product)
        order = argsort_ranked(held.query, score, self.shard.doc_key[held.row])
        order = order[rank_within(held.query[order]) < self.wanted[held.query[order]]]
        decided = Pairs(held.query[order], held.row[order], product[order], product[order])
        last = np.flatnonzero(rank_within(decided.query) == self.wanted[decided.query] - 1)
        self.threshold[decided.query[last]] = self.shard.geometry.floor(decided.low[last])
        together = _together([settled, decided])
        self.held = together.take(np.argsort(together.query, kind="stable"))


def _together(parts: Sequence[Pairs]) -> Pairs:
    names = ("query", "row", "low", "high")
    return Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
