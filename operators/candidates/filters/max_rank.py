"""Drop candidates that were found too deep."""

import numpy as np
from pydantic import Field

from operators.candidates.filter import Filter, Mask
from operators.candidates.pairs import Pairs


class MaxRank(Filter):
    """Candidates at a rank of a limit or more, counted from 0 over all that was found for the query.

    With it a search that went deeper for some queries gives what a search of that depth gives.
    """

    reason = "max_rank"
    needs = ("rank",)
    limit: int = Field(ge=1)

    def depth(self) -> int:
        """Return the limit."""
        return self.limit

    def drops(self, pairs: Pairs) -> Mask:
        """Return which candidates are too deep."""
        return np.asarray(pairs["rank"] >= self.limit)
