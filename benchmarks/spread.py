"""How vectors are spread: what tells whether synthetic ones resemble those of real texts."""

from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]

RANKS = (1, 10, 100)


@dataclass(frozen=True)
class Spread:
    """How some vectors are spread.

    Attributes:
        neighbours: rank -> the mean similarity of a vector to its neighbour of that rank.
        deviation: the standard deviation of the similarity to the nearest one.
        dimensions: the effective number of dimensions, the participation ratio of the spectrum.
    """

    neighbours: dict[int, float]
    deviation: float
    dimensions: float


def spread_of(vectors: Matrix) -> Spread:
    """Measure vectors of length 1, shape (n, dimension). Only sets of equal n are to be held against each other."""
    scores, _ = faiss.knn(vectors, vectors, max(RANKS) + 1, metric=faiss.METRIC_INNER_PRODUCT)
    means = {rank: float(scores[:, rank].mean()) for rank in RANKS}  # at rank 0 lies the vector itself
    return Spread(means, float(scores[:, 1].std()), participation_ratio(vectors))


def participation_ratio(vectors: Matrix) -> float:
    """Return (sum of the eigenvalues)^2 / (sum of their squares) of the covariance: n for n equal directions."""
    covariance = np.cov(vectors, rowvar=False)
    return float(np.trace(covariance) ** 2 / np.sum(covariance**2))
