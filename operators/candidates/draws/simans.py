"""Sample candidates whose scores are near that of the positive."""

import numpy as np
from pydantic import Field

from operators.candidates.draw import Priority
from operators.candidates.pairs import Pairs
from operators.candidates.weighted import KEYS, WeightedDraw


class SimANS(WeightedDraw):
    """A candidate is taken with probability proportional to exp(-a * (score - positive_score - b)^2).

    SimANS: ambiguous negatives, neither far below the positive (uninformative) nor far above it (often relevant)
    (Zhou et al., arXiv 2210.11773, section 4, equation 3).

    Attributes:
        a: how fast the weight falls with the distance from the peak: it halves at sqrt(ln 2 / a). There is no default,
            as scores of different models have different scales; 50 halves it at 0.12, a beginning for cosine.
        b: where the peak is: so much above the score of the positive, and below it where b is negative.
    """

    needs = (*KEYS, "score", "positive_score")
    a: float = Field(ge=0)
    b: float = 0.0

    def log_weight(self, pairs: Pairs) -> Priority:
        """Return -a * (score - positive_score - b)^2."""
        above = pairs["score"].astype("float64") - pairs["positive_score"] - self.b
        return np.asarray(-self.a * above**2)
