"""Take equally many candidates from each range of scores."""

import numpy as np
from pydantic import Field

from operators.candidates.draw import Draw, Mask, Priority
from operators.candidates.pairs import Ints, Pairs
from operators.keys import uniform
from operators.segments import rank_within, starts_of


class Stratified(Draw):
    """One candidate of each bin of scores after the other, the best bin first, at random within a bin.

    The scores of the eligible candidates of a row are cut into bins of equal width between their lowest and their
    highest, those that this draw may not take, too. A bin that has no candidate left is passed over. With as many
    negatives as bins each bin gives one, where it has one left (stratified sampling with equal allocation; Cochran,
    "Sampling techniques", chapter 5).

    Attributes:
        bins: how many.
    """

    needs = ("query_key", "positive_key", "doc_key", "score")
    bins: int = Field(default=4, ge=1, le=1_000)

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        """Return the round in which each free pair comes, negative, and within a round the better bin first."""
        score, row = pairs["score"].astype(np.float64), pairs.row
        bin_ = self._bins(score, row)
        drawn = uniform(self.seed, *(pairs[key] for key in ("query_key", "positive_key", "doc_key")))
        order = np.lexsort((drawn, ~free, row * self.bins + bin_))  # what is not free takes no turn of the others
        turn = np.empty(len(row), dtype=np.int64)
        turn[order] = rank_within((row * self.bins + bin_)[order])
        return -(turn * self.bins + (self.bins - 1 - bin_)).astype(np.float64)

    def _bins(self, score: Priority, row: Ints) -> Ints:
        """Return the bin of each score within its row, from 0 for the lowest: int64 of shape (n,)."""
        starts = starts_of(row)
        lengths = np.diff(np.append(starts, len(row)))
        lowest, highest = (np.repeat(of.reduceat(score, starts), lengths) for of in (np.minimum, np.maximum))
        width = np.where(highest > lowest, highest - lowest, 1.0)
        return np.asarray(np.minimum((score - lowest) / width * self.bins, self.bins - 1).astype(np.int64))
