"""Geometries: how vectors are kept, so that whatever compares them is an inner product, and what score that is.

FAISS, the bounds of low precision and the merge of shards know inner products alone. Vectors that are compared by a
distance are lifted: a few values are added to each, such that the inner product of a lifted query and a lifted document
falls as their distance grows. Everything that is written down holds the score, which is the distance with a minus.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from operators.errors import InputError
from operators.schemas import VectorDType, Vectors
from operators.vectors.precision import in_float32, in_precision

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float32]
Exact = npt.NDArray[np.float64]


@dataclass(frozen=True)
class InnerProduct:
    """Vectors as they are, and their inner product: `dot`, and `cosine` of vectors of length 1."""

    @property
    def added(self) -> int:
        """How many values the lift adds to a vector."""
        return 0

    def documents(self, vectors: Matrix, dtype: VectorDType) -> Vectors:
        """Return vectors of documents as they are kept: shape (rows, dimension + added), in that precision.

        What is too large for the precision becomes infinite.

        Args:
            vectors: float32 of shape (rows, dimension).
            dtype: the precision.

        Raises:
            InputError: a vector is no point of the space.
        """
        return in_precision(vectors, dtype)

    def queries(self, vectors: Matrix, dtype: VectorDType) -> Vectors:
        """Return vectors of queries as they are kept; arguments, result and errors as of `documents`."""
        return self.as_queries(self.documents(vectors, dtype))

    def as_queries(self, documents: Vectors) -> Vectors:
        """Return vectors that are kept of documents as those that are kept of queries: the same shape and precision."""
        return documents

    def scores(self, products: Floats) -> Floats:
        """Return the scores that inner products stand for: float32 of the same shape, never less for a larger one."""
        return products

    def floor(self, products: Floats) -> Floats:
        """Return a number for each inner product, such that every product below it has a lower score.

        The scores of different products may be equal in float32. A search that leaves out what is below this, and not
        what is below the product, leaves out none whose score is equal.
        """
        return products


AS_THEY_ARE = InnerProduct()


@dataclass(frozen=True)
class Euclidean(InnerProduct):
    """Points of a plane space; the score is the distance with a minus, as sentence-transformers' `euclidean_sim`.

    With h = -|d|^2 / 2 of a vector in the precision in which it is kept, a document is kept as (d, h/s, h/s, s, s) and
    a query as (q, s, s, h/s, h/s), the first h/s being rounded to the precision and the second what that left out. The
    inner product is -|q - d|^2 / 2. `s` is 4, which makes the added values about as large as those of the vectors of
    most models, 2 to 30 long: the bounds of low precision grow with the length of what is multiplied.
    """

    SCALE = 4.0

    @property
    def added(self) -> int:
        """How many values the lift adds to a vector."""
        return 4

    def documents(self, vectors: Matrix, dtype: VectorDType) -> Vectors:
        """Return the lifted documents."""
        kept = in_precision(vectors, dtype)
        exact = in_float32(kept).astype(np.float64)
        half = -np.einsum("ij,ij->i", exact, exact) / (2 * self.SCALE)
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large is refused by whoever keeps it
            high = half.astype(kept.dtype)
            low = (half - high).astype(kept.dtype)
        scale = np.full_like(high, self.SCALE)
        return np.column_stack([kept, high, low, scale, scale])

    def as_queries(self, documents: Vectors) -> Vectors:
        """Return the documents as queries: the two pairs of added values change places."""
        return np.concatenate([documents[:, :-4], documents[:, -2:], documents[:, -4:-2]], axis=1)

    def scores(self, products: Floats) -> Floats:
        """Return minus the distances. Where rounding makes an inner product positive, the distance is 0."""
        with np.errstate(over="ignore"):
            return np.asarray(0 - np.sqrt(np.maximum(-2 * products, 0)), dtype=np.float32)

    def floor(self, products: Floats) -> Floats:
        """Return a little less: a root halves relative differences, which are then still more than rounding."""
        with np.errstate(over="ignore"):
            return np.minimum(products, 0) * np.float32(1 + 2.0**-20)


@dataclass(frozen=True)
class Poincare(InnerProduct):
    """Points of the Poincare ball of radius 1 / sqrt(c); the score is the hyperbolic distance with a minus.

    A point x is kept as the point of the hyperboloid (Lorentz model) that it stands for, its time coordinate last:
    (2 sqrt(c) x, 1 + c |x|^2) / (1 - c |x|^2); of a query the time coordinate has a minus. The inner product is
    -cosh(sqrt(c) distance), and the distance that of the ball: arccosh(1 + 2 c |x - y|^2 / ((1 - c |x|^2)
    (1 - c |y|^2))) / sqrt(c) (Nickel and Kiela, arXiv 1705.08039, equation 1; arXiv 1806.03417, equations 1 to 5 and
    11). Values of points near the border are large, and in float32 small distances between these are uncertain.

    Attributes:
        curvature: c, above 0; the curvature of the space is -c.
    """

    curvature: float = 1.0

    @property
    def added(self) -> int:
        """How many values the lift adds to a vector."""
        return 1

    def documents(self, vectors: Matrix, dtype: VectorDType) -> Vectors:
        """Return the points of the hyperboloid."""
        return self._lifted(vectors, dtype, "document")

    def queries(self, vectors: Matrix, dtype: VectorDType) -> Vectors:
        """Return the points of the hyperboloid, as queries."""
        return self.as_queries(self._lifted(vectors, dtype, "query"))

    def as_queries(self, documents: Vectors) -> Vectors:
        """Return the documents as queries: the time coordinate gets the other sign."""
        queries = documents.copy()
        np.negative(queries[:, -1], out=queries[:, -1])
        return queries

    def scores(self, products: Floats) -> Floats:
        """Return minus the distances. Where rounding makes an inner product more than -1, the distance is 0."""
        distance = np.arccosh(np.maximum(-products.astype(np.float64), 1)) / math.sqrt(self.curvature)
        return np.asarray(0 - distance, dtype=np.float32)

    def floor(self, products: Floats) -> Floats:
        """Return a little less: sqrt(c) times a distance is below 90, so 2**-15 is more than rounding."""
        with np.errstate(over="ignore"):
            return np.minimum(products, -1) * np.float32(1 + 2.0**-15)

    def _lifted(self, vectors: Matrix, dtype: VectorDType, side: str) -> Vectors:
        points = vectors.astype(np.float64)
        squared = self.curvature * np.einsum("ij,ij->i", points, points)
        outside = np.flatnonzero(np.isfinite(squared) & (squared >= 1))
        if len(outside):
            length, radius = math.sqrt(squared[outside[0]] / self.curvature), 1 / math.sqrt(self.curvature)
            raise InputError(
                f"encoder.similarity: poincare: a {side} has a vector of length {length:.7g}, which is not inside the "
                f"ball of radius {radius:.7g}. Give vectors of the ball, or lower encoder.curvature "
                f"({self.curvature:g}): the radius is 1 / sqrt(curvature)."
            )
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            space = 2 * math.sqrt(self.curvature) * points / (1 - squared)[:, np.newaxis]
            time = (1 + squared) / (1 - squared)
            return in_precision(np.column_stack([space, time]).astype(np.float32), dtype)


def geometry_of(similarity: str, curvature: float = 1.0) -> InnerProduct:
    """Return the geometry of `encoder.similarity`, with nothing left to `auto`."""
    if similarity == "euclidean":
        return Euclidean()
    return Poincare(curvature) if similarity == "poincare" else AS_THEY_ARE
