"""How hard the negatives are: the scores of positives, negatives and suspected false negatives."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.schemas import to_numpy
from pipelines.runtime.execution import StageOutput

SCORES_AT_MOST = 1_000_000
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Scores:
    """How many scores there are, and so many of them, at even distances, as fit in memory: float32 of shape (n,)."""

    count: int
    sample: npt.NDArray[np.float32]

    def distribution(self) -> dict[str, Any]:
        """Return the count, the mean and some quantiles."""
        if not self.count:
            return {"count": 0}
        quantiles = {f"{q:.0%}": round(float(np.quantile(self.sample, q)), 4) for q in QUANTILES}
        return {"count": self.count, "mean": round(float(self.sample.mean()), 4), **quantiles}


def scores_of(searched: StageOutput, selected: StageOutput) -> Mapping[str, Scores]:
    """Return the scores of what was searched and selected, by kind."""
    return {
        "positives": _sampled(searched, "positives"),
        "negatives": _sampled(selected, "negatives"),
        "suspected false negatives": _sampled(selected, "suspected"),
    }


def _sampled(stage: StageOutput, kind: str) -> Scores:
    parts = stage.parts(kind)
    count = sum(part["rows"] for part in parts)
    step = math.ceil(count / SCORES_AT_MOST) or 1
    taken = [to_numpy(stage.folder.read_table(part, ["score"]), "score")[::step] for part in parts]
    return Scores(count, np.concatenate(taken).astype(np.float32))
