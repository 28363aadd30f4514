"""Drop candidates that are too likely relevant."""

import numpy as np

from operators.candidates.false_negatives.model import PROBABILITY, Share
from operators.candidates.filter import Filter, Mask
from operators.candidates.pairs import Pairs


class MaxFalseNegativeProbability(Filter):
    """Candidates whose probability of being an unjudged positive is above a limit."""

    reason = "max_false_negative_probability"
    suspected = True
    needs = (PROBABILITY,)
    limit: Share

    def drops(self, pairs: Pairs) -> Mask:
        """Return which candidates are above the limit."""
        return np.asarray(pairs[PROBABILITY] > np.float32(self.limit))
