"""A draw that takes each candidate with a probability, seeded by content."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from operators.candidates.draw import Draw, Mask, Priority
from operators.candidates.pairs import Pairs
from operators.keys import uniform
from operators.segments import log_shares

# What decides the random number of a pair, beside the seed.
KEYS = ("query_key", "positive_key", "doc_key")


class WeightedDraw(Draw):
    """Takes candidates at random, in proportion to a weight, without repetition.

    The keys of query, positive and document and the seed give each pair an exponential number E, and those with the
    lowest E / weight are taken: as if one candidate after the other were drawn in proportion to the weights of those
    that are left (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006; with logarithms it is
    Gumbel top-k). Neither the order of rows nor the number of workers changes it.
    """

    needs: ClassVar[tuple[str, ...]] = KEYS

    @abstractmethod
    def log_weight(self, pairs: Pairs) -> Priority:
        """Return the logarithm of the weight of each pair, float64 of shape (n,); minus infinity is never taken."""

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        """Return log(weight / E)."""
        del free
        drawn = uniform(self.seed, *(pairs[key] for key in KEYS))
        with np.errstate(divide="ignore"):  # a drawn 0 comes first
            return self.log_weight(pairs) - np.log(-np.log1p(-drawn))

    def log_probability(self, pairs: Pairs, free: Mask) -> Priority:
        """Return the logarithm of the weight of each free pair as a share of the weights of the free pairs of its row.

        What is drawn in proportion to weights is drawn in proportion to the same weights among those that are left.
        """
        return log_shares(np.where(free, self.log_weight(pairs), -np.inf), pairs.row)
