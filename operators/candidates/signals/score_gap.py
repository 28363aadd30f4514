"""How far a candidate is below the one before it."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.candidates.signal import Signal
from operators.schemas import to_numpy
from operators.segments import starts_of


class ScoreGap(Signal):
    """The score of the next better candidate of the query less the candidate's own; 0 for the best.

    A large gap is where the candidates that look relevant end.
    """

    gives = "score_gap"

    def __call__(self, candidates: pa.Table, positives: pa.Table) -> npt.NDArray[np.float32]:
        """Return the gaps."""
        del positives
        score = to_numpy(candidates, "score").astype(np.float32)
        gap = np.zeros(len(score), dtype=np.float32)
        gap[1:] = score[:-1] - score[1:]
        gap[starts_of(to_numpy(candidates, "query_key"))] = 0
        return gap
