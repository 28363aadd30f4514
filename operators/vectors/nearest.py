"""Find the nearest vectors by inner product: all of them compared, or those that quantized codes propose.

The nearest are those of the highest scores, as `score_pairs` computes them, and of equal scores those of the smallest
keys. Products that are computed faster only exclude: rows that cannot be among the best, whatever the error of their
product is (operators/vectors/rounding.py). So neither the size of a shard or a block nor the device changes the result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import faiss
import numpy as np
import numpy.typing as npt

from operators.vectors.blocks import OVERFETCH, Bfloat16Blocks, Float32Blocks, is_truncated, slices
from operators.vectors.rounding import bounds_of
from operators.vectors.shard import Shard
from operators.vectors.top_k import Pairs, TopK

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Count = TypeVar("Count", int, Ints)

# A block in float32 is 100 MB at 384 dimensions; one in bfloat16 and its products stay in the cache of a processor.
ROWS_AT_ONCE = {"float32": 65_536, "bfloat16": 4_096, "cuda": 65_536}
# Depths are rounded up to a multiple of this, so that queries with about as many positives are searched together.
DEPTH_STEP = 32


@dataclass(frozen=True)
class OperatingPoint:
    """How hard the codes of a shard are searched.

    Attributes:
        nprobe: how many inverted lists are visited; 0 where the codes have none.
        refine_factor: how many times more rows are taken from the codes, to be scored with the real vectors.
        exact: compare every vector, and leave the codes aside.
    """

    nprobe: int = 0
    refine_factor: int = 1
    exact: bool = False


def depth_for(wanted: Count) -> Count:
    """Return how many the codes are asked for where so many are wanted: a little more, in steps."""
    return -(-(wanted + OVERFETCH) // DEPTH_STEP) * DEPTH_STEP


def nearest(
    shard: Shard,
    queries: Matrix,
    wanted: Ints,
    point: OperatingPoint,
    device: str = "cpu",
    depth: int | None = None,
) -> tuple[Ints, Ints]:
    """Return the rows of the `wanted` nearest vectors of each query, exactly so many where there are.

    Codes are asked for `refine_factor` times the depth, and the real vectors decide which of these
    stay (Jegou et al., "Searching in one billion vectors: re-rank with source coding", 2011, section 2.2, with the
    vectors themselves for the codes).

    Args:
        shard: searched.
        queries: float32 of shape (queries, dimension).
        wanted: how many each query gets, at least 1, shape (queries,).
        point: ignored without quantized codes.
        device: for exact search.
        depth: how deep the codes are asked, at least what `depth_for` returns for the most that is wanted; None is
            just that.

    Returns:
        The query's number, ascending, and the row, in no order within a query: int64 of shape (n,) each.
    """
    if shard.codes is None or point.exact:
        return nearest_exact(shard, queries, wanted, device)
    best = TopK(queries, shard, wanted)
    if len(queries) and len(shard.doc_key):
        set_nprobe(shard, point.nprobe)
        depth = int(depth_for(int(wanted.max()))) if depth is None else depth
        _add_proposed(shard, queries, best, depth, point.refine_factor)
    return best.rows()


def set_nprobe(shard: Shard, nprobe: int) -> None:
    """Set how many inverted lists a search visits, where there are lists."""
    if shard.inverted is not None:
        shard.inverted.nprobe = min(max(nprobe, 1), shard.inverted.nlist)


def _add_proposed(shard: Shard, queries: Matrix, best: TopK, depth: int, refine_factor: int) -> None:
    """Add the best of what the codes propose; all of it for queries of which more may be among the best."""
    proposed = min(depth * refine_factor, shard.flat.ntotal)
    bounds = bounds_of(queries, bfloat16=False)
    most = bounds.most(float(shard.lengths[0].max()))
    refined = faiss.IndexRefine(shard.codes, shard.flat)

    def search(asked: Ints, depth: int) -> tuple[Matrix, Ints]:
        # FAISS multiplies the two in float32, and rounds down.
        refined.k_factor = float(np.nextafter(np.float32(proposed / depth), np.float32(np.inf)))
        scores, rows = refined.search(queries[asked], depth)
        return scores, rows

    def add(asked: Ints, scores: Matrix, rows: Ints) -> None:
        at, place = np.nonzero(rows >= 0)
        query, row = asked[at], rows[at, place]
        error = bounds.unless_infinite(most, query, shard.lengths[:, row])
        best.add(Pairs.within(query, row, scores[at, place], (error, error)))

    every = np.arange(len(queries))
    scores, rows = search(every, min(depth, proposed))
    short = np.zeros(len(queries), dtype=np.bool_)
    if depth < proposed:
        short = is_truncated(scores, rows, best, most)
    add(every[~short], scores[~short], rows[~short])
    again = np.flatnonzero(short)
    for part in slices(len(again), proposed):
        add(again[part], *search(again[part], proposed))


def nearest_exact(
    shard: Shard, queries: Matrix, wanted: Ints, device: str = "cpu", rows_at_once: int | None = None
) -> tuple[Ints, Ints]:
    """Compare queries with every vector, block by block with a running best; arguments and result as of `nearest`.

    Args:
        shard: searched.
        queries: float32 of shape (queries, dimension).
        wanted: how many each query gets, at least 1, shape (queries,).
        device: `cpu` multiplies in float32, with FAISS. Any other is a device of torch (`cuda`, or `cpu:0`) that
            multiplies in bfloat16.
        rows_at_once: how many vectors a block has.
    """
    best = TopK(queries, shard, wanted)
    if not len(queries):
        return best.rows()
    multiply: Float32Blocks | Bfloat16Blocks
    if device == "cpu":
        multiply, size = Float32Blocks(queries, shard, best), ROWS_AT_ONCE["float32"]
    else:
        multiply = Bfloat16Blocks(device, queries, shard, best)
        size = ROWS_AT_ONCE["cuda" if "cuda" in device else "bfloat16"]
    for start, end in _blocks(len(shard.doc_key), int(wanted.max()), rows_at_once or size):
        multiply(start, end)
    return best.rows()


def _blocks(rows: int, depth: int, rows_at_once: int) -> Iterator[tuple[int, int]]:
    """Cut the rows into blocks that double: of a block as large as all before it, few rows are among the best."""
    start, size = 0, 2 * depth
    while start < rows:
        yield start, min(start + min(size, rows_at_once), rows)
        start, size = start + min(size, rows_at_once), 2 * size
