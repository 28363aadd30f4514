"""The probability that a candidate is relevant although nobody judged it, as a signal."""

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.candidates.false_negatives.config import FalseNegativeConfig, shipped_model
from operators.candidates.false_negatives.features import features_of
from operators.candidates.false_negatives.list_similarity import LISTS
from operators.candidates.false_negatives.model import PROBABILITY
from operators.candidates.signal import Signal


class FalseNegativeProbability(Signal):
    """P(a judge of the collection would mark the candidate as relevant), of candidates that nobody judged.

    Attributes:
        config: the model, and what it supposes.
    """

    signal: str = PROBABILITY
    config: FalseNegativeConfig

    gives: ClassVar[str] = PROBABILITY

    @property
    def reads_lists(self) -> bool:
        """Whether the model reads a signal of LISTS."""
        return not LISTS.keys().isdisjoint(self.config.model.features)

    def caveat(self) -> str | None:
        """Warn of numbers of the shipped model: they do not carry over to other collections."""
        if self.config.model != shipped_model():
            return None
        return (
            "these probabilities are those of the shipped model. Their order carries over to other collections, their "
            "size does not: fit your own with `hardneg calibrate CONFIG` where queries have several positives."
        )

    def __call__(self, candidates: pa.Table, positives: pa.Table) -> npt.NDArray[np.float32]:
        """Return the probabilities; not a number for a query without positives."""
        return self.config.model.probability(features_of(candidates, positives), self.config.unjudged_share)
