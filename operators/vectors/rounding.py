"""How far a product of two vectors, multiplied in low precision, can be from their score: bounds that always hold.

The score is what `score_pairs` computes: an inner product in float32, added up in some order. It decides; products
that are computed otherwise only have to tell which rows it can be that decide. For a query q and a document d of n
values, u = 2**-24 the unit roundoff of float32, and gamma(n) = n u / (1 - n u):

- A sum of n products in float32, in any order, with or without fused operations, is within gamma(n) sum |q_i d_i| of
  the inner product (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, equation 3.5, from Lemma 3.1),
  and sum |q_i d_i| <= |q| |d| (Cauchy and Schwarz). This holds of the score, too.
- Rounding to bfloat16 (8 significant bits, unit roundoff 2**-8) changes a value by up to 2**-8 of it. How much all
  values of a vector change is known: with q' and d' the rounded vectors, r = |q - q'| and s = |d - d'|,
  |q d - q' d'| = |(q - q') d + q' (d - d')| <= r |d| + |q'| s. Both r <= 2**-8 |q| and s <= 2**-8 |d| are reached by
  vectors made for it, and are less than half of that for most.
- Products of bfloat16 values are exact in float32, and are added up in float32. A GPU's tensor cores cut digits off
  where a processor rounds (Fasi, Higham, Mikaitis and Pranesh, Numerical behavior of NVIDIA tensor cores, PeerJ
  Computer Science 7:e330, 2021), so four times the error is allowed for: gamma(4 n) |q'| |d'|.
- A processor may treat values below 2**-126 as zero, and replace results below it by zero. For every term that changes
  the sum by a few times 2**-126 (1 + |q_i| + |d_i|); 2**-117 allows for it.
- What is too large for the precision becomes infinite or NaN, and so do the bounds: such a row is never left out.

In total, |product - score| <= a |d| + b s + c with a = r + gamma(4 n) |q'| + gamma(n) |q| + 2**-117 sqrt(n),
b = (1 + gamma(4 n)) |q'| and c = 2**-117 (sqrt(n) |q| + n), before the product itself is rounded to bfloat16. For
products in float32, r and s are 0, and gamma(n) does for both.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from operators.schemas import Vectors
from operators.vectors.precision import in_float32

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float32]

BFLOAT16_ROUNDOFF, FLOAT32_ROUNDOFF = 2.0**-8, 2.0**-24
VANISHING = 2.0**-117
# Bounds are themselves computed in float32: so much is added to them.
INFLATED = 1 + 2.0**-16
# For the terms that carry a bound in a product, and for the rounding where a bound is added to a score.
MORE_TERMS = 16
# Lengths whose product is larger may overflow float32 on the way to a score.
LARGEST = 2.0**120
ROWS_AT_ONCE = 4096


def gamma(terms: int) -> float:
    """Return the largest relative error of a sum of products in float32, against the sum of their magnitudes."""
    return terms * FLOAT32_ROUNDOFF / (1 - terms * FLOAT32_ROUNDOFF)


def lengths_of(vectors: Vectors) -> Floats:
    """Return how long vectors are, and how far rounding to bfloat16 moves them: float32 of shape (2, rows), no less.

    Args:
        vectors: shape (rows, dimension).
    """
    lengths = np.empty((2, len(vectors)), dtype=np.float32)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        block = in_float32(vectors[start : start + ROWS_AT_ONCE])
        with np.errstate(invalid="ignore", over="ignore"):
            for side, values in enumerate((block, block - in_bfloat16(block))):
                exact = values.astype(np.float64)  # squares of float32 values neither overflow nor vanish in it
                length = np.sqrt(np.einsum("ij,ij->i", exact, exact))
                lengths[side, start : start + len(block)] = np.nextafter(length.astype(np.float32), np.float32(np.inf))
    return lengths


def in_bfloat16(values: Matrix) -> Matrix:
    """Return finite float32 values rounded to bfloat16, to nearest and ties to even: float32 of the same shape."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    up = ((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF)
    return ((bits + up) & np.uint32(0xFFFF0000)).view(np.float32)


@dataclass(frozen=True)
class Bounds:
    """What the error of products with each query is at most: `a` |d| + `b` |d - d'| + `c` (see above).

    Attributes:
        length: of the queries, shape (queries,).
        a: of shape (queries,).
        b: of shape (queries,), 0 for products in float32.
        c: of shape (queries,).
    """

    length: Floats
    a: Floats
    b: Floats
    c: Floats

    def of(self, query: npt.NDArray[np.int64], lengths: Floats) -> Floats:
        """Return the largest error of pairs: float32 of shape (n,).

        Args:
            query: the number of each pair's query, shape (n,).
            lengths: of each pair's document, as `lengths_of` returns them, shape (2, n).
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self.a[query] * lengths[0] + self.b[query] * lengths[1] + self.c[query])

    def most(self, longest: float) -> Floats:
        """Return the largest error in float32 of any document no longer than this: shape (queries,).

        Infinite where a product may overflow.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            most = self.a * np.float32(longest) + self.c
            return np.where(self.length * longest < LARGEST, most, np.inf).astype(np.float32)

    def unless_infinite(self, most: Floats, query: npt.NDArray[np.int64], lengths: Floats) -> Floats:
        """Return the largest error of pairs as `of` does, infinite where `most` is for their query."""
        return np.where(np.isfinite(most[query]), self.of(query, lengths), np.float32(np.inf))


def bounds_of(queries: Matrix, *, bfloat16: bool) -> Bounds:
    """Return the bounds for products with queries, shape (queries, dimension), in bfloat16 or else in float32."""
    length, moved = lengths_of(queries).astype(np.float64) if len(queries) else np.zeros((2, 0))
    moved = moved if bfloat16 else np.zeros_like(length)
    dimension = queries.shape[1]
    terms = dimension + MORE_TERMS
    rounded, error = length + moved, gamma(4 * terms if bfloat16 else terms)
    a = moved + error * rounded + gamma(terms) * length + VANISHING * math.sqrt(dimension)
    b = (1 + error) * rounded if bfloat16 else np.zeros_like(length)
    c = VANISHING * (math.sqrt(dimension) * length + terms)
    with np.errstate(over="ignore"):
        return Bounds(*((one * INFLATED).astype(np.float32) for one in (length, a, b, c)))
