"""Drop candidates within a margin of the positive."""

import numpy as np
from pydantic import Field

from operators.candidates.filter import Filter, Mask
from operators.candidates.pairs import Pairs


class AbsoluteMargin(Filter):
    """Candidates whose score is above the positive's score less a margin."""

    reason = "absolute_margin"
    suspected = True
    needs = ("score", "positive_score")
    margin: float = Field(ge=0)

    def drops(self, pairs: Pairs) -> Mask:
        """Return which candidates are within the margin."""
        return np.asarray(pairs["score"] + np.float32(self.margin) > pairs["positive_score"])
