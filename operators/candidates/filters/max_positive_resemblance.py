"""Drop near-copies of a positive."""

import numpy as np
from pydantic import Field

from operators.candidates.filter import Filter, Mask
from operators.candidates.pairs import Pairs
from operators.candidates.resemblance import RESEMBLANCE


class MaxPositiveResemblance(Filter):
    """Candidates whose text resembles that of a positive document of the query more than a limit (0 to 1)."""

    reason = "max_positive_resemblance"
    suspected = True
    needs = (RESEMBLANCE,)
    limit: float = Field(ge=0, le=1)

    def drops(self, pairs: Pairs) -> Mask:
        """Return which candidates are above the limit."""
        return np.asarray(pairs[RESEMBLANCE] > np.float32(self.limit))
