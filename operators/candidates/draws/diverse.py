"""Take candidates that score well and are unlike one another."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from pydantic import Field

from operators.candidates.draw import Draw, Mask, Priority
from operators.candidates.pairs import VECTOR, Ints, Pairs
from operators.schemas import Vectors
from operators.segments import starts_of
from operators.vectors.precision import in_float32

Grid = npt.NDArray[np.float32]

# Values of vectors are rounded to multiples of 1 / STEPS, and counted in these.
STEPS = 2048
# Whole numbers below it are exact in float32.
EXACT = 2.0**24
# Vectors of a batch of rows, and their similarities.
BYTES_AT_ONCE = 64 << 20


class Diverse(Draw):
    """One candidate after the other: each time one that scores well and is unlike those taken before it.

    Maximal marginal relevance (Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering
    documents and producing summaries", SIGIR 1998, section 2): the highest `trade_off` * score - (1 - `trade_off`) * s
    is taken, s being the highest cosine to what was taken before for the row. The first is the best-scored; of equal
    ones the better-scored is taken. Of near copies the row gets one before it gets a second. The order is that of all
    eligible candidates, whatever other draws take of them. For models that compare by cosine.

    Attributes:
        trade_off: between the score and the difference from what was taken, from 0 to 1; 1 is `top`.
    """

    needs = ("score", VECTOR)
    only_cosine = True
    trade_off: float = Field(default=0.5, ge=0, le=1)

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        """Return the turn at which each pair is taken, negative.

        Raises:
            ValueError: a vector is twice as long as 1, or longer.
        """
        del free
        vectors, document = pairs.vectors
        relevance = self.trade_off * pairs["score"].astype(np.float64)
        priority = np.empty(len(pairs))
        for start, length in _batches(pairs.row, vectors.shape[1]):
            place = np.arange(length[0])
            inside = place < length[:, np.newaxis]
            pair = np.where(inside, start[:, np.newaxis] + place, start[:, np.newaxis])
            of_row = np.where(inside, relevance[pair], -np.inf)
            turn = _turns(of_row, 1 - self.trade_off, on_grid(vectors, document[pair]), length)
            priority[pair[inside]] = -turn[inside]
        return priority


def on_grid(vectors: Vectors, row: Ints) -> Grid:
    """Return vectors of about length 1 in whole numbers of 1 / STEPS: float32 of shape (*row.shape, dimension).

    A sum of products of such whole numbers is at most the product of the two lengths in magnitude, however many of its
    terms are there (Cauchy and Schwarz). Below 2**24 each is exact in float32, so a library may add them up in any
    order, and the result is the same to the last bit. A vector of length 1 has at most STEPS + sqrt(dimension) / 2.

    Raises:
        ValueError: a vector is so long that a sum may not be exact.
    """
    grid = in_float32(vectors[row.ravel()])
    np.rint(np.multiply(grid, np.float32(STEPS), out=grid), out=grid)
    if not (np.einsum("ij,ij->i", grid, grid) < EXACT).all():
        raise ValueError("diverse: vectors of length 1 are wanted; one is as long as 2, or no number")
    return grid.reshape(*row.shape, vectors.shape[1])


def _batches(row: Ints, dimension: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield the rows, those of about the same length together: where each starts, and its length, longest first."""
    starts = starts_of(row)
    lengths = np.diff(np.append(starts, len(row)))
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = starts[order], lengths[order]
    first = 0
    while first < len(starts):
        longest = int(lengths[first])
        bytes_of_row = 4 * longest * (2 * dimension + longest)
        last = first + max(BYTES_AT_ONCE // bytes_of_row, 1)
        yield starts[first:last], lengths[first:last]
        first = last


def _turns(relevance: Priority, weight: float, grid: Grid, length: Ints) -> Ints:
    """Return when each element of each row is taken, from 0: int64 of shape (rows, n).

    Args:
        relevance: shape (rows, n), best first; minus infinity behind the end of a row.
        weight: of the similarity.
        grid: the vectors, shape (rows, n, dimension).
        length: of the rows, descending.
    """
    rows, n = relevance.shape
    # Of a very long row the similarities to what is taken, in the place of all.
    gram = np.matmul(grid, grid.transpose(0, 2, 1)) if 4 * n * n <= BYTES_AT_ONCE else None
    turn, value = np.zeros((rows, n), dtype=np.int64), np.full((rows, n), np.inf)
    number, taken = np.arange(rows), np.zeros(rows, dtype=np.int64)
    for at in range(1, n):
        left = int(np.searchsorted(-length, -at))  # rows that are longer
        row, last = number[:left], taken[:left]
        if gram is not None:
            similarity = gram[row, last]
        else:
            similarity = np.matmul(grid[:left], grid[row, last][:, :, np.newaxis])[:, :, 0]
        penalty = np.multiply(similarity, weight / STEPS**2, dtype=np.float64)
        np.minimum(value[:left], relevance[:left] - penalty, out=value[:left])
        value[row, last] = -np.inf
        taken = value[:left].argmax(axis=1)
        turn[row, taken] = at
    return turn
