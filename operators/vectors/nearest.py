"""Find the nearest vectors by inner product: all of them compared, or those that quantized codes propose."""

from collections.abc import Iterator
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

from operators.schemas import Vectors
from operators.segments import rank_within
from operators.vectors.order import in_rough_order
from operators.vectors.precision import in_float32
from operators.vectors.shard import Shard
from operators.vectors.similarity import score_pairs

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

# A block in float32 is 100 MB at 384 dimensions; one in bfloat16 and its products stay in the cache of a processor.
ROWS_AT_ONCE = {"float32": 65_536, "bfloat16": 4_096, "cuda": 65_536}
BFLOAT16_ERROR = 2.0**-8 + 2.0**-9 + 2.0**-17


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
        return nearest_exact(queries, shard.vectors, depth, device, longest=shard.longest)
    set_nprobe(shard, effort.nprobe)
    refined = faiss.IndexRefine(shard.codes, shard.flat)
    refined.k_factor = min(effort.refine_factor, shard.flat.ntotal / depth)
    return np.asarray(refined.search(queries, depth)[1])


def set_nprobe(shard: Shard, nprobe: int) -> None:
    """Set how many inverted lists a search visits, where there are lists."""
    if shard.inverted is not None:
        shard.inverted.nprobe = min(max(nprobe, 1), shard.inverted.nlist)


def nearest_exact(
    queries: Matrix,
    vectors: Vectors,
    depth: int,
    device: str = "cpu",
    rows_at_once: int | None = None,
    longest: float = 1.0,
) -> Ints:
    """Compare queries with every vector, block by block with a running best: int64 of shape (queries, depth).

    Args:
        queries: shape (queries, dimension).
        vectors: shape (rows, dimension), maybe a memory map.
        depth: how many, at most the rows.
        device: `cpu` multiplies in float32, with FAISS. Any other is a device of torch (`cuda`, or `cpu:0`) that
            multiplies in bfloat16: what is within the largest possible error of the best is kept, and float32 decides.
        rows_at_once: how many vectors a block has.
        longest: no vector is longer; the error of products in bfloat16 grows with it.
    """
    above: _Multiply | _MultiplyOn
    if device == "cpu":
        above, size = _Multiply(queries, depth), ROWS_AT_ONCE["float32"]
    else:
        above, size = _MultiplyOn(device, queries, longest), ROWS_AT_ONCE["cuda" if "cuda" in device else "bfloat16"]
    best = _Best(depth, above.margin)
    for start, end in _blocks(len(vectors), depth, rows_at_once or size):
        query, row, score = above(vectors[start:end], best.least)
        best.add(query, row + start, score)
    return best.rows(queries, vectors)


def _blocks(rows: int, depth: int, rows_at_once: int) -> Iterator[tuple[int, int]]:
    """Cut the rows into blocks that double: of a block as large as all before it, few rows are among the best."""
    start, size = 0, 2 * depth
    while start < rows:
        yield start, min(start + min(size, rows_at_once), rows)
        start, size = start + min(size, rows_at_once), 2 * size


class _Best:
    """The best of every query so far, flat: those found lately are sorted in when there are many.

    Attributes:
        least: the score that a row must exceed to be among the best, float32 of shape (queries,).
    """

    def __init__(self, depth: int, margin: Floats) -> None:
        """Keep `depth` for each query, and what scores less than the last of them by no more than its margin."""
        self.depth, self.margin = depth, margin
        self.least = np.full(len(margin), -np.inf, dtype=np.float32)
        self.query, self.row = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        self.score = np.zeros(0, dtype=np.float32)
        self.lately: list[tuple[Ints, Ints, Floats]] = []

    def add(self, query: Ints, row: Ints, score: Floats) -> None:
        """Take rows that are above the least."""
        self.lately.append((query, row, score))
        if sum(len(one[0]) for one in self.lately) > len(self.query):
            self._sort()

    def _sort(self) -> None:
        self.query, self.row, self.score = (
            np.concatenate(parts) for parts in zip((self.query, self.row, self.score), *self.lately, strict=True)
        )
        self.lately.clear()
        order = in_rough_order(self.query, self.score)  # which of equal ones stay matters to nobody
        self.query, self.row, self.score = self.query[order], self.row[order], self.score[order]
        rank = rank_within(self.query)
        last = np.flatnonzero(rank == self.depth - 1)
        self.least[self.query[last]] = self.score[last] - self.margin[self.query[last]]
        kept = (rank < self.depth) | ((self.margin[self.query] > 0) & (self.score >= self.least[self.query]))
        self.query, self.row, self.score = self.query[kept], self.row[kept], self.score[kept]

    def rows(self, queries: Matrix, vectors: Vectors) -> Ints:
        """Return the rows of the best, best first."""
        self._sort()
        if self.margin.any():
            self.score = score_pairs(queries, self.query, vectors, self.row)
            self.margin = np.zeros_like(self.margin)
            self._sort()
        return self.row.reshape(len(self.least), -1)


class _Multiply:
    """The best of each block by FAISS on the CPU, as far as they are above what every query has."""

    def __init__(self, queries: Matrix, depth: int) -> None:
        self.queries, self.depth = queries, depth
        self.margin = np.zeros(len(queries), dtype=np.float32)

    def __call__(self, block: Vectors, least: Floats) -> tuple[Ints, Ints, Floats]:
        depth = min(self.depth, len(block))
        scores, rows = faiss.knn(self.queries, in_float32(block), depth, metric=faiss.METRIC_INNER_PRODUCT)
        better = scores > least[:, None]
        return np.nonzero(better)[0], rows[better], scores[better]


class _MultiplyOn:
    """What of each block is above what every query has, by products in bfloat16 on a device of torch.

    Rounding to bfloat16 changes every value by at most 2**-9 of it, so an inner product by at most (2**-8 + 2**-18) |q|
    |d| (Cauchy and Schwarz), and rounding the product by 2**-9 of it; two products may err in opposite directions.
    """

    def __init__(self, device: str, queries: Matrix, longest: float) -> None:
        import torch

        self.device, self.queries = device, torch.from_numpy(queries).to(device).bfloat16()
        self.margin = (2 * BFLOAT16_ERROR * longest * np.linalg.norm(queries, axis=1)).astype(np.float32)

    def __call__(self, block: Vectors, least: Floats) -> tuple[Ints, Ints, Floats]:
        import torch

        with torch.inference_mode():
            held = torch.from_numpy(np.array(block)).to(self.device).bfloat16()
            products = self.queries @ held.T
            # Rounded down to bfloat16: comparing the products as they are reads half as much.
            bound = torch.from_numpy(least - np.abs(least) * np.float32(2**-8)).to(self.device).bfloat16()
            query, row = torch.nonzero(products > bound[:, None], as_tuple=True)
            return query.cpu().numpy(), row.cpu().numpy(), products[query, row].float().cpu().numpy()
