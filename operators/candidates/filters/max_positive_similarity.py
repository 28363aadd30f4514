"""Drop candidates that are much like a positive."""

import numpy as np

from operators.candidates.filter import Filter, Mask
from operators.candidates.pairs import Pairs


class MaxPositiveSimilarity(Filter):
    """Candidates whose similarity to a positive document of the query is above a limit."""

    reason = "max_positive_similarity"
    suspected = True
    needs = ("max_positive_similarity",)
    limit: float

    def drops(self, pairs: Pairs) -> Mask:
        """Return which candidates are above the limit."""
        return np.asarray(pairs["max_positive_similarity"] > np.float32(self.limit))
