"""A draw."""

import numpy as np

from operators.candidates.draw import Draw, Mask, Priority
from operators.candidates.pairs import Pairs


class Middle(Draw):
    """Prefers candidates whose score is half of the best of their query."""

    needs = ("best_share",)

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        return -np.abs(pairs["best_share"] - 0.5).astype(np.float64)
