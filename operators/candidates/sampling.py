"""Draw negatives from the candidates that passed the filters."""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from operators.keys import mix
from operators.segments import rank_within

Ints = npt.NDArray[np.int64]
SamplingStrategy = Literal["top", "random"]


def draw_top(row: Ints, identity: tuple[Ints, Ints, Ints], seed: int, num_negatives: int) -> npt.NDArray[np.bool_]:
    """Take the best-scored ones of each row; `identity` and `seed` play no part."""
    del identity, seed
    return rank_within(row) < num_negatives


def draw_random(row: Ints, identity: tuple[Ints, Ints, Ints], seed: int, num_negatives: int) -> npt.NDArray[np.bool_]:
    """Take a uniform sample of each row, without repetition.

    Every candidate draws a number from (seed, query, positive, document), and the smallest of a row win: what else is
    in the batch and in which order changes nothing.

    Args:
        row: the number of the row each candidate is drawn for, ascending, shape (n,).
        identity: the keys of the query, of the row's positive and of the document, each of shape (n,).
        seed: another seed, another sample.
        num_negatives: how many are drawn for each row.
    """
    order = np.lexsort((mix(seed, *identity), row))
    drawn = np.zeros(len(row), dtype=np.bool_)
    drawn[order] = rank_within(row[order]) < num_negatives
    return drawn


STRATEGIES: Mapping[str, Callable[[Ints, tuple[Ints, Ints, Ints], int, int], npt.NDArray[np.bool_]]] = {
    "top": draw_top,
    "random": draw_random,
}
