"""Drop the positives themselves."""

import numpy as np

from operators.candidates.filter import Filter, Mask
from operators.candidates.pairs import Pairs
from operators.schemas import POSITIVE_DOCUMENT


class Positive(Filter):
    """Candidates that are judged positive for the query."""

    reason = "positive"
    needs = ("positive_kind",)

    def drops(self, pairs: Pairs) -> Mask:
        """Return which candidates are positives."""
        return np.asarray(pairs["positive_kind"] == POSITIVE_DOCUMENT)
