"""Which draws left rows short, and what became of the candidates that they could have taken."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from operators.candidates.draw import Draw
from operators.candidates.pairs import Ints, Pairs
from operators.candidates.sources import NOT_NAMED, rank_column

Codes = npt.NDArray[np.int16]

# What is counted of such a draw beside the reasons: the rows, and the negatives that they lack of it.
ROWS, WANTING = "rows", "wanting"


def short_draws(
    pairs: Pairs, reason: Codes, reasons: int, chosen: tuple[Ints, Codes], draws: Sequence[Draw]
) -> dict[int, list[int]]:
    """Return the draws that left rows short which no later draw filled.

    Args:
        pairs: all of a batch.
        reason: the reason code of each pair, shape (n,).
        reasons: how many there are.
        chosen: the row and the draw of each negative.
        draws: all.

    Returns:
        The number of the draw -> how many candidates of its source each reason has in these rows, then how many rows
        they are, and how many negatives they lack.
    """
    row, draw_of = chosen
    rows, found = pairs.rows.num_rows, dict[int, list[int]]()
    wanted = sum(draw.num_negatives for draw in draws if not draw.fill)
    short = np.bincount(row, minlength=rows) < wanted
    for number, draw in enumerate(draws):
        taken = np.bincount(row[draw_of == number], minlength=rows)
        left = short & (taken < draw.num_negatives)
        if draw.fill or not left.any():
            continue
        counted = left[pairs.row]
        if draw.source is not None:
            counted &= pairs[rank_column(draw.source)] != NOT_NAMED
        became = np.bincount(reason[counted], minlength=reasons).tolist()
        found[number] = [*became, int(left.sum()), int((draw.num_negatives - taken[left]).sum())]
    return found
