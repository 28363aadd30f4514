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

# Of vectors whose squared length is not above this, products and squared distances are finite in float32, and so is
# everything that is added up on the way.
LONGEST_SQUARED = np.float32(2.0**124)


@dataclass(frozen=True)
class InnerProduct:
    """Vectors as they are, and their inner product: `dot`, and `cosine` of vectors of length 1."""

    @property
    def added(self) -> int:
        """How many values the lift adds to a vector."""
        return 0

    def documents(self, vectors: Matrix, dtype: VectorDType) -> Vectors:
        """Return vectors of documents as they are kept: shape (rows, dimension + added), in that precision.

        What is too large for the precision becomes infinite, and so does a vector that is too long for its products.

        Args:
            vectors: float32 of shape (rows, dimension).
            dtype: the precision.

        Raises:
            InputError: a vector is no point of the space. It does not name a section: a run may have several encoders.
        """
        return in_precision(_not_too_long(vectors), dtype)

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

    With h = -|d|^2 / 2 of a vector in the precision in which it is kept, a document is kept as (d, a, b, c, s, s, s/r)
    and a query as (q, s, s, s/r, a, b, c). `a` is h/s rounded to the precision, `b` what that left out, and `c` what
    both left out, times r. The inner product is -|q - d|^2 / 2. `s` is 4, which makes the added values about as large
    as those of the vectors of most models, 2 to 30 long: the bounds of low precision grow with the length of what is
    multiplied. `r` is 2**11: of a vector that is short, `a` and `b` are below the smallest number of float16, 2**-24,
    and `c` is not. `b` alone times r would do as well, but is as large as `a` then, and random: of vectors 30 long,
    the clusters of an index would be those of `b`.
    """

    SCALE, REST = 4.0, 2.0**11

    @property
    def added(self) -> int:
        """How many values the lift adds to a vector."""
        return 6

    def documents(self, vectors: Matrix, dtype: VectorDType) -> Vectors:
        """Return the lifted documents."""
        kept = super().documents(vectors, dtype)
        exact = in_float32(kept).astype(np.float64)
        rest = -np.einsum("ij,ij->i", exact, exact) / (2 * self.SCALE)
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large is refused by whoever keeps it
            first = rest.astype(kept.dtype)
            rest = rest - first
            second = rest.astype(kept.dtype)
            third = ((rest - second) * self.REST).astype(kept.dtype)
        scales = np.array([self.SCALE, self.SCALE, self.SCALE / self.REST], dtype=kept.dtype)
        return np.column_stack([kept, first, second, third, np.broadcast_to(scales, (len(kept), 3))])

    def as_queries(self, documents: Vectors) -> Vectors:
        """Return the documents as queries: the added values change places with their scales."""
        return np.concatenate([documents[:, :-6], documents[:, -3:], documents[:, -6:-3]], axis=1)

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

    With m = 2 c |x|^2 / (1 - c |x|^2) and y = 2 sqrt(c) x / (1 - c |x|^2), a document is kept as (y, m, m, 1) and a
    query as (y, -m, -1, -m): (y, 1 + m) is the point of the hyperboloid (Lorentz model) that x stands for, and the
    inner product is 1 - cosh(sqrt(c) distance). Of points near the centre cosh is close to 1, and float32 would keep
    nothing of their distance if the 1 were in the product. The distance is that of the ball: arccosh(1 + 2 c |x - y|^2
    / ((1 - c |x|^2) (1 - c |y|^2))) / sqrt(c) (Nickel and Kiela, arXiv 1705.08039, equation 1; arXiv 1806.03417,
    equations 1 to 5 and 11). Values of points near the border are large, and in float32 small distances between these
    are uncertain.

    Attributes:
        curvature: c, above 0; the curvature of the space is -c.
    """

    curvature: float = 1.0

    @property
    def added(self) -> int:
        """How many values the lift adds to a vector."""
        return 3

    def documents(self, vectors: Matrix, dtype: VectorDType) -> Vectors:
        """Return the points of the hyperboloid."""
        return self._lifted(vectors, dtype, "document")

    def queries(self, vectors: Matrix, dtype: VectorDType) -> Vectors:
        """Return the points of the hyperboloid, as queries."""
        return self.as_queries(self._lifted(vectors, dtype, "query"))

    def as_queries(self, documents: Vectors) -> Vectors:
        """Return the documents as queries: (m, m, 1) becomes (-m, -1, -m)."""
        return np.concatenate([documents[:, :-3], -documents[:, [-3, -1, -2]]], axis=1)

    def scores(self, products: Floats) -> Floats:
        """Return minus the distances. Where rounding makes an inner product positive, the distance is 0."""
        above = np.maximum(-products.astype(np.float64), 0)  # cosh, less 1
        distance = np.log1p(above + np.sqrt(above * (above + 2))) / math.sqrt(self.curvature)
        return np.asarray(0 - distance, dtype=np.float32)

    def floor(self, products: Floats) -> Floats:
        """Return a little less, which is more than the rounding of the scores.

        A relative difference of products makes one of distances that is between half of it, near 0, and a 90th, at the
        largest number of float32: with 2**-15 it is above 2**-22.
        """
        with np.errstate(over="ignore"):
            return np.minimum(products, 0) * np.float32(1 + 2.0**-15)

    def _lifted(self, vectors: Matrix, dtype: VectorDType, side: str) -> Vectors:
        points = vectors.astype(np.float64)
        squared = self.curvature * np.einsum("ij,ij->i", points, points)
        outside = np.flatnonzero(np.isfinite(squared) & (squared >= 1))
        if len(outside):
            length, radius = math.sqrt(squared[outside[0]] / self.curvature), 1 / math.sqrt(self.curvature)
            raise InputError(
                f"a {side} has a vector of length {length:.7g}, which is not inside the ball of radius {radius:.7g}"
            )
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            space = 2 * math.sqrt(self.curvature) * points / (1 - squared)[:, np.newaxis]
            above = 2 * squared / (1 - squared)  # the time coordinate, less 1
            return in_precision(np.column_stack([space, above, above, np.ones_like(above)]).astype(np.float32), dtype)


def geometry_of(similarity: str, curvature: float = 1.0) -> InnerProduct:
    """Return the geometry of `encoder.similarity`, with nothing left to `auto`."""
    if similarity == "euclidean":
        return Euclidean()
    return Poincare(curvature) if similarity == "poincare" else AS_THEY_ARE


def _not_too_long(vectors: Matrix) -> Matrix:
    """Return vectors, all values of those being infinite that are too long for their products to be finite."""
    with np.errstate(over="ignore"):
        short = np.einsum("ij,ij->i", vectors, vectors) <= LONGEST_SQUARED
    return vectors if short.all() else np.where(short[:, np.newaxis], vectors, np.float32(np.inf))
