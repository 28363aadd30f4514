"""Drop copies of positives."""

import numpy as np

from operators.candidates.filter import Filter, Mask
from operators.candidates.pairs import Pairs
from operators.schemas import POSITIVE_TEXT


class PositiveCopy(Filter):
    """Candidates with the text of a positive under another id."""

    reason = "positive_text"
    suspected = True
    needs = ("positive_kind",)

    def drops(self, pairs: Pairs) -> Mask:
        """Return which candidates have a positive's text."""
        return np.asarray(pairs["positive_kind"] == POSITIVE_TEXT)
