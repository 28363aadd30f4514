"""Drop candidates within a fraction of the positive's score."""

import numpy as np
from pydantic import Field

from operators.candidates.filter import Filter, Mask
from operators.candidates.pairs import Pairs


class RelativeMargin(Filter):
    """Candidates whose score is above the positive's score less a fraction of its magnitude.

    `score > positive - abs(positive) * margin`, so right for negative scores too; 0.05 is TopK-PercPos 95 % of
    NV-Retriever (arXiv 2407.15831, section 3.2).
    """

    reason = "relative_margin"
    suspected = True
    needs = ("score", "positive_score")
    margin: float = Field(ge=0)

    def drops(self, pairs: Pairs) -> Mask:
        """Return which candidates are within the margin."""
        positive = pairs["positive_score"]
        return np.asarray(pairs["score"] > positive - np.abs(positive) * np.float32(self.margin))
