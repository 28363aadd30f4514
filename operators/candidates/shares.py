"""Count what each draw should take, and what it took."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from operators.candidates.draw import Draw
from operators.candidates.pairs import Ints


@dataclass(frozen=True)
class Share:
    """What a draw should take, and took.

    Attributes:
        wanted: how many negatives; of a draw with `fill`, how many those before it left short, up to its own number.
        taken: how many it took.
        short_rows: how many rows it left short.
    """

    wanted: int
    taken: int
    short_rows: int


def shares_of(draws: Sequence[Draw], rows: int, taken: Sequence[Ints]) -> tuple[Share, ...]:
    """Return the share of each draw.

    Args:
        draws: in their order.
        rows: how many there are.
        taken: for each draw the row of every negative that it took, int64 of shape (negatives of the draw,).
    """
    shares = []
    missing = np.zeros(rows, dtype=np.int64)  # what draws before this one left short
    for draw, row in zip(draws, taken, strict=True):
        quota = np.minimum(missing, draw.num_negatives) if draw.fill else np.full_like(missing, draw.num_negatives)
        found = np.bincount(row, minlength=rows)
        missing = missing - found if draw.fill else missing + quota - found
        shares.append(Share(int(quota.sum()), int(found.sum()), int((found < quota).sum())))
    return tuple(shares)
