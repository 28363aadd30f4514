"""Drop candidates that are too similar to the query."""

import numpy as np

from operators.candidates.filter import Filter, Mask
from operators.candidates.pairs import Pairs


class MaxScore(Filter):
    """Candidates whose score is above a limit."""

    reason = "max_score"
    suspected = True
    needs = ("score",)
    limit: float

    def drops(self, pairs: Pairs) -> Mask:
        """Return which candidates are above the limit."""
        return np.asarray(pairs["score"] > np.float32(self.limit))
