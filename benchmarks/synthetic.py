"""Synthetic vectors, drawn in blocks of any size: one set that is harder than text, one with the spread of text."""

from typing import Protocol

import faiss
import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Random = np.random.Generator


class Cloud(Protocol):
    """A distribution of vectors of length 1."""

    def draw(self, rows: int, random: Random) -> Matrix:
        """Draw documents: float32 of shape (rows, dimension)."""
        ...

    def queries_for(self, positives: Matrix, random: Random) -> Matrix:
        """Draw a query near each of these documents: float32 of the same shape."""
        ...


class Hard:
    """Clusters whose members are about equally far from each other: noise in all directions, longer than the centre.

    Which member is nearest rests on small differences, which short codes lose; and the lists of an IVF index cut
    through the clusters.
    """

    NOISE = 1.6
    QUERY_NOISE = 0.4

    def __init__(self, seed: int, clusters: int = 4_000, dimension: int = 384) -> None:
        self.centres = _unit(_normal(np.random.default_rng(seed), (clusters, dimension)))

    def draw(self, rows: int, random: Random) -> Matrix:
        """Draw documents around centres drawn at random."""
        chosen = self.centres[random.integers(len(self.centres), size=rows)]
        return _unit(chosen + self.NOISE * self._noise(rows, random))

    def queries_for(self, positives: Matrix, random: Random) -> Matrix:
        """Draw noisy copies of documents."""
        return _unit(positives + self.QUERY_NOISE * self._noise(len(positives), random))

    def _noise(self, rows: int, random: Random) -> Matrix:
        dimension = self.centres.shape[1]
        return _normal(random, (rows, dimension)) / np.float32(np.sqrt(dimension))


class Text:
    """Points between real vectors that are near each other, moved a little along the difference of two others.

    The first keeps the local structure of the real ones, the second has the spectrum of their covariance. The numbers
    were chosen so that similarities to the 1st, 10th and 100th neighbour, and the effective dimension, are about those
    of the real vectors in a sample of the same size (benchmarks/vectors.md has both).
    """

    NEIGHBOURS = 16
    SHORTEST, LONGEST = 0.2, 0.5  # of the move, as a share of the difference
    QUERY_SHARE = 0.35  # of a query, that another point drawn alike makes up beside its positive

    def __init__(self, real: Matrix) -> None:
        self.real = real
        self.near = faiss.knn(real, real, self.NEIGHBOURS + 1, metric=faiss.METRIC_INNER_PRODUCT)[1][:, 1:]

    def draw(self, rows: int, random: Random) -> Matrix:
        """Draw documents."""
        one = random.integers(len(self.real), size=rows)
        other = self.near[one, random.integers(self.NEIGHBOURS, size=rows)]
        way = random.random((rows, 1), dtype=np.float32)
        move = self.SHORTEST + (self.LONGEST - self.SHORTEST) * random.random((rows, 1), dtype=np.float32)
        to, back = random.integers(len(self.real), size=(2, rows))
        between = (1 - way) * self.real[one] + way * self.real[other]
        return _unit(between + move * (self.real[to] - self.real[back]))

    def queries_for(self, positives: Matrix, random: Random) -> Matrix:
        """Mix documents with other points, drawn alike."""
        others = self.draw(len(positives), random)
        return _unit((1 - self.QUERY_SHARE) * positives + self.QUERY_SHARE * others)


def _normal(random: Random, shape: tuple[int, int]) -> Matrix:
    return random.standard_normal(shape, dtype=np.float32)


def _unit(matrix: Matrix) -> Matrix:
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), dtype=np.float32)
