"""Take a uniform sample of the window."""

from typing import Literal

import numpy as np

from operators.candidates.draw import Draw, Mask, Priority
from operators.candidates.pairs import Pairs
from operators.keys import uniform
from operators.segments import log_shares


class Random(Draw):
    """A uniform sample of the eligible candidates of each row, without repetition.

    Every candidate draws a number from (seed, query, positive, document), and the lowest of a row win: what else is
    in the batch and in which order changes nothing.

    Attributes:
        per: `row` draws anew for every positive of a query; `query` draws the same for all, among what each row may
            take.
    """

    needs = ("query_key", "positive_key", "doc_key")
    per: Literal["row", "query"] = "row"

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        """Return a random number for each pair."""
        del free
        keys = self.needs if self.per == "row" else ("query_key", "doc_key")
        return -uniform(self.seed, *(pairs[key] for key in keys))

    def log_probability(self, pairs: Pairs, free: Mask) -> Priority:
        """Return the logarithm of one over the number of free candidates of the row."""
        return log_shares(np.where(free, 0.0, -np.inf), pairs.row)
