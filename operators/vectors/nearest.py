"""Find the nearest vectors by inner product: all of them compared, or those that quantized codes propose."""

from collections.abc import Iterator
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

from operators.schemas import Vectors
from operators.segments import rank_within
from operators.vectors.order import in_order
from operators.vectors.precision import in_float32
from operators.vectors.shard import Shard

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

ROWS_AT_ONCE = 16_384


@dataclass(frozen=True)
class Effort:
    """How hard the codes of a shard are searched.

    Attributes:
        nprobe: how many inverted lists are visited; 0 where the codes have none.
        refine_factor: how many times more rows are taken from the codes, to be scored with the real vectors.
        exact: compare every vector, and leave the codes aside.
    """

    nprobe: int = 0
    refine_factor: int = 1
    exact: bool = False


def nearest(shard: Shard, queries: Matrix, depth: int, effort: Effort, device: str = "cpu") -> Ints:
    """Return the rows of the `depth` nearest vectors: int64 of shape (queries, depth), best first, -1 for none.

    Codes are asked for `refine_factor` times the depth, and the real vectors decide which of these stay (Jegou et al.,
    "Searching in one billion vectors: re-rank with source coding", 2011, section 2.2, with the vectors themselves for
    the codes).
    """
    if shard.codes is None or effort.exact:
        return nearest_exact(queries, shard.vectors, depth, device)
    set_nprobe(shard, effort.nprobe)
    refined = faiss.IndexRefine(shard.codes, shard.flat)
    refined.k_factor = min(effort.refine_factor, shard.flat.ntotal / depth)
    return np.asarray(refined.search(queries, depth)[1])


def set_nprobe(shard: Shard, nprobe: int) -> None:
    """Set how many inverted lists a search visits, where there are lists."""
    if shard.inverted is not None:
        shard.inverted.nprobe = min(max(nprobe, 1), shard.inverted.nlist)


def nearest_exact(
    queries: Matrix, vectors: Vectors, depth: int, device: str = "cpu", rows_at_once: int = ROWS_AT_ONCE
) -> Ints:
    """Compare queries with every vector, block by block with a running best: int64 of shape (queries, depth).

    Args:
        queries: shape (queries, dimension).
        vectors: shape (rows, dimension), maybe a memory map.
        depth: how many, at most the rows.
        device: `cpu`, or a device of torch that multiplies the blocks.
        rows_at_once: how many vectors a block has.
    """
    best = _Best(len(queries), depth)
    above = _Multiply(queries) if device == "cpu" else _MultiplyOn(device, queries)
    for start, end in _blocks(len(vectors), depth, rows_at_once):
        query, row, score = above(vectors[start:end], best.least)
        best.add(query, row + start, score)
    return best.rows()


def _blocks(rows: int, depth: int, rows_at_once: int) -> Iterator[tuple[int, int]]:
    """Cut the rows into blocks that double: of a block as large as all before it, few rows are among the best."""
    start, size = 0, 2 * depth
    while start < rows:
        yield start, min(start + min(size, rows_at_once), rows)
        start, size = start + min(size, rows_at_once), 2 * size


class _Best:
    """The best of every query so far, flat: those found lately are sorted in when there are many."""

    def __init__(self, queries: int, depth: int) -> None:
        self.depth = depth
        self.least = np.full(queries, -np.inf, dtype=np.float32)  # what a row must exceed to be among the best
        self.query, self.row = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        self.score = np.zeros(0, dtype=np.float32)
        self.sorted = 0

    def add(self, query: Ints, row: Ints, score: Floats) -> None:
        self.query, self.row = np.concatenate([self.query, query]), np.concatenate([self.row, row])
        self.score = np.concatenate([self.score, score])
        if len(self.query) > 2 * max(self.sorted, 1):
            self._sort()

    def _sort(self) -> None:
        order = in_order(self.query, self.score, self.row)
        rank = rank_within(self.query[order])
        order = order[rank < self.depth]
        self.query, self.row, self.score = self.query[order], self.row[order], self.score[order]
        self.sorted = len(order)
        last = np.flatnonzero(rank_within(self.query) == self.depth - 1)
        self.least[self.query[last]] = self.score[last]

    def rows(self) -> Ints:
        self._sort()
        return self.row.reshape(len(self.least), -1)


class _Multiply:
    """Products of queries and blocks on the CPU, and which of them are above what every query has."""

    def __init__(self, queries: Matrix) -> None:
        self.queries = queries

    def __call__(self, block: Vectors, least: Floats) -> tuple[Ints, Ints, Floats]:
        products = self.queries @ in_float32(block).T
        at = np.flatnonzero(products > least[:, None])
        query, row = np.divmod(at, products.shape[1])
        return query, row, products.ravel()[at]


class _MultiplyOn:
    """The same on a device of torch, in float32; the vectors travel there as they are kept."""

    def __init__(self, device: str, queries: Matrix) -> None:
        import torch

        self.device, self.queries = device, torch.from_numpy(queries).to(device)

    def __call__(self, block: Vectors, least: Floats) -> tuple[Ints, Ints, Floats]:
        import torch

        with torch.inference_mode():
            held = torch.from_numpy(np.array(block)).to(self.device).float()
            products = self.queries @ held.T
            query, row = torch.nonzero(products > torch.from_numpy(least).to(self.device)[:, None], as_tuple=True)
            return query.cpu().numpy(), row.cpu().numpy(), products[query, row].cpu().numpy()
