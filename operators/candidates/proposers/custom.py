"""Propose documents of the whole corpus in proportion to a weight of your own."""

import numpy as np
import numpy.typing as npt

from operators.candidates.corpus_sampler import CorpusSampler, Weights


class Custom(CorpusSampler):
    """A document is drawn in proportion to a number in its metadata; without one it is not drawn.

    Attributes:
        by: the metadata with the weight.
    """

    by: str

    @property
    def column(self) -> str:
        """The metadata with the weight."""
        return self.by

    def weight(self, values: npt.NDArray[np.float64]) -> Weights:
        """Return the numbers as they are."""
        return np.where(np.isnan(values), 0.0, values)
