"""A signal."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.candidates.signal import Signal
from operators.schemas import to_numpy
from operators.segments import starts_of


class BestShare(Signal):
    """The score as a share of the best score of the query."""

    gives = "best_share"

    def __call__(self, candidates: pa.Table, positives: pa.Table) -> npt.NDArray[np.float32]:
        score, starts = to_numpy(candidates, "score"), starts_of(to_numpy(candidates, "query_key"))
        best = np.repeat(score[starts], np.diff(np.append(starts, len(score))))
        return np.asarray(score / best, dtype=np.float32)
