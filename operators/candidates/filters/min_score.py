"""Drop candidates that are not similar enough to the query."""

import numpy as np

from operators.candidates.filter import Filter, Mask
from operators.candidates.pairs import Pairs


class MinScore(Filter):
    """Candidates whose score is below a limit."""

    reason = "min_score"
    needs = ("score",)
    limit: float

    def drops(self, pairs: Pairs) -> Mask:
        """Return which candidates are below the limit."""
        return np.asarray(pairs["score"] < np.float32(self.limit))
