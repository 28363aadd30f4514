"""Take the hardest candidates that score below the positive, within a margin."""

import numpy as np
from pydantic import Field

from operators.candidates.draw import Draw, Mask, Priority
from operators.candidates.pairs import Pairs


class SemiHard(Draw):
    """The best-scored of those with positive_score - margin < score < positive_score; no others.

    Such a candidate is farther from the query than the positive, and still violates the margin of a triplet loss
    (Schroff, Kalenichenko and Philbin, "FaceNet", arXiv 1503.03832, section 3.2, equation 4; there of squared
    distances, 2 - 2 * cosine, so that their margin is twice this one).

    Attributes:
        margin: in units of the score.
    """

    needs = ("score", "positive_score")
    margin: float = Field(gt=0)

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        """Return the same for all inside the margin: of equal priorities the better-scored come first."""
        del free
        below = pairs["positive_score"].astype(np.float64) - pairs["score"]
        return np.where((below > 0) & (below < self.margin), 0.0, -np.inf)
