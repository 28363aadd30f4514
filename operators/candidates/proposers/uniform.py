"""Propose documents drawn uniformly from the whole corpus."""

import numpy as np
import numpy.typing as npt

from operators.candidates.corpus_sampler import CorpusSampler, Weights


class Uniform(CorpusSampler):
    """Every document of the corpus is as likely: the random negatives of DPR (arXiv 2004.04906, section 3.2)."""

    def weight(self, values: npt.NDArray[np.float64]) -> Weights:
        """Return ones."""
        return np.ones(len(values))
