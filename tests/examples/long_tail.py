"""A filter."""

import numpy as np

from operators.candidates.filter import Filter, Mask
from operators.candidates.pairs import Pairs


class LongTail(Filter):
    """Drops candidates far below the positive."""

    reason = "long_tail"
    needs = ("score", "positive_score")
    share: float = 0.5

    def drops(self, pairs: Pairs) -> Mask:
        return np.asarray(pairs["score"] < pairs["positive_score"] * np.float32(self.share))
