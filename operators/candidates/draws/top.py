"""Take the best-scored candidates."""

import numpy as np

from operators.candidates.draw import Draw, Priority
from operators.candidates.pairs import Pairs


class Top(Draw):
    """The best-scored eligible candidates of each row."""

    first_only = True

    def priority(self, pairs: Pairs) -> Priority:
        """Return the same for all: of equal priorities the better-scored come first."""
        return np.zeros(len(pairs))
