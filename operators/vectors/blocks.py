"""Multiply queries with a block of vectors, and bound the scores of the rows that may be among the best."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from operators.vectors.precision import in_float32
from operators.vectors.rounding import BFLOAT16_ROUNDOFF, LARGEST, bounds_of
from operators.vectors.shard import Shard
from operators.vectors.top_k import Pairs, TopK

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# FAISS is asked for so many more than wanted: what it leaves out is then mostly too far off to be among the best.
OVERFETCH = 8
# So many products are looked at in one piece: all of them may be among the best where scores are equal.
PRODUCTS_AT_ONCE = {"cpu": 2**22, "cuda": 2**26}


def slices(rows: int, products: int, device: str = "cpu") -> Iterator[slice]:
    """Cut queries into pieces that have not too many products with so many rows each."""
    size = max(PRODUCTS_AT_ONCE["cuda" if "cuda" in device else "cpu"] // max(products, 1), 1)
    yield from (slice(start, start + size) for start in range(0, rows, size))


def is_truncated(scores: Matrix, rows: Ints, best: TopK, most: Floats) -> Mask:
    """Tell for which queries the best that FAISS returned may not hold all that may be among the best: bool (queries,).

    Args:
        scores: best first, shape (queries, asked), in float32.
        rows: shape (queries, asked), -1 where there are no more.
        best: what is known so far.
        most: the largest error of a score, for each query.
    """
    at = np.minimum(best.wanted, scores.shape[1]) - 1
    known = (np.take_along_axis(rows, at[:, None], axis=1)[:, 0] >= 0) & (best.wanted <= scores.shape[1])
    with np.errstate(invalid="ignore"):
        lowest = np.where(known, np.take_along_axis(scores, at[:, None], axis=1)[:, 0] - most, -np.inf)
        left_out_below = scores[:, -1] + most < np.maximum(best.shard.geometry.floor(lowest), best.threshold)
    return np.asarray((rows[:, -1] >= 0) & ~left_out_below)


class Float32Blocks:
    """By FAISS on the CPU, in float32: the best of each block, and all of it where many are about equal."""

    def __init__(self, queries: Matrix, shard: Shard, best: TopK) -> None:
        self.queries, self.shard, self.best = queries, shard, best
        self.bounds = bounds_of(queries, bfloat16=False)
        self.depth = int(best.wanted.max()) + OVERFETCH

    def __call__(self, start: int, end: int) -> None:
        """Add what a block has."""
        block, lengths = in_float32(self.shard.vectors[start:end]), self.shard.lengths[:, start:end]
        asked = min(self.depth, len(block))
        scores, rows = faiss.knn(self.queries, block, asked, metric=faiss.METRIC_INNER_PRODUCT)
        most = self.bounds.most(float(lengths[0].max()))
        cut = is_truncated(scores, rows, self.best, most) if asked < len(block) else ~np.isfinite(most)
        better = (scores + most[:, None] >= self.best.threshold[:, None]) & (rows >= 0) & ~cut[:, None]
        query, row = np.nonzero(better)[0], rows[better]
        error = self.bounds.of(query, lengths[:, row])
        self.best.add(Pairs.within(query, row + start, scores[better], (error, error)))
        again = np.flatnonzero(cut)
        for part in slices(len(again), len(block)):
            self._all(again[part], block, lengths, start)

    def _all(self, asked: Ints, block: Matrix, lengths: Floats, start: int) -> None:
        most = self.bounds.most(float(lengths[0].max()))
        with np.errstate(over="ignore", invalid="ignore"):
            products = self.queries[asked] @ block.T
            at, row = np.nonzero(~(products + most[asked, None] < self.best.threshold[asked, None]))
        query = asked[at]
        error = self.bounds.unless_infinite(most, query, lengths[:, row])
        self.best.add(Pairs.within(query, row + start, products[at, row], (error, error)))


class Bfloat16Blocks:
    """By torch on any of its devices, in bfloat16.

    Two columns behind the values of queries and documents add the bound `a` |d| + `b` |d - d'| to their product (`c` is
    taken off the other side), each factor made so much larger that its rounding to bfloat16 does not make it less. So
    what comes out is no less than the score, until it is rounded to bfloat16; and as rounding keeps order, a row may be
    among the best only if that is no less than the rounded score of the last one wanted.
    """

    ENLARGED, LEAST = 1 + 2.0**-7, 2.0**-125
    # (1 + 2**-7)**2 (1 + 2**-8)**2, with what adding them up may change, is at most this.
    ADDED_AT_MOST = 1 + 2.0**-5
    ALIGNED = 8  # values of a row, as tensor cores want it

    def __init__(self, device: str, queries: Matrix, shard: Shard, best: TopK) -> None:
        import torch

        self.device, self.shard, self.best = device, shard, best
        self.bounds = bounds_of(queries, bfloat16=True)
        self.longest = float(self.bounds.length.max())
        held = torch.from_numpy(queries)
        self.queries = self._with(held, np.stack([self.bounds.a, self.bounds.b]))

    def _with(self, vectors: Any, columns: Floats) -> Any:  # noqa: ANN401 - a tensor; torch is not loaded before its use
        import torch

        rows, dimension = vectors.shape
        width = -(-(dimension + len(columns)) // self.ALIGNED) * self.ALIGNED
        held = torch.zeros((rows, width), dtype=torch.bfloat16, device=self.device)
        held[:, :dimension] = vectors.to(self.device)
        enlarged = columns.T * np.float32(self.ENLARGED) + np.float32(self.LEAST)
        held[:, dimension : dimension + len(columns)] = torch.from_numpy(enlarged).to(self.device)
        return held

    def __call__(self, start: int, end: int) -> None:
        """Add what a block has."""
        import torch

        lengths = self.shard.lengths[:, start:end]
        with torch.inference_mode(), _summed_in_float32(self.device):
            block = self._with(torch.from_numpy(np.array(self.shard.vectors[start:end])), lengths)
            products = self.queries @ block.T
            if not self.longest * float(lengths[0].max()) < LARGEST:
                products = torch.where(torch.isfinite(products), products, torch.inf)
            for part in slices(len(products), end - start, self.device):
                threshold = torch.from_numpy(self.best.threshold[part] - self.bounds.c[part]).to(self.device).bfloat16()
                query, row = torch.nonzero(products[part] >= threshold[:, None], as_tuple=True)
                product = products[part][query, row].float().cpu().numpy()
                self._add(query.cpu().numpy() + part.start, row.cpu().numpy(), product, start)

    def _add(self, query: Ints, row: Ints, product: Floats, start: int) -> None:
        error, c = self.bounds.of(query, self.shard.lengths[:, row + start]), self.bounds.c[query]
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = np.abs(product) * np.float32(BFLOAT16_ROUNDOFF) + c
            # The product has the bound in it: the score may be below it by twice the bound, and above by rounding only.
            below = np.float32(1 + self.ADDED_AT_MOST) * error + rounded
        self.best.add(Pairs.within(query, row + start, product, (below, rounded)))


@contextmanager
def _summed_in_float32(device: str) -> Iterator[None]:
    """Keep CUDA from adding up parts of a product in bfloat16."""
    if "cuda" not in device:
        yield
        return
    import torch

    matmul: Any = torch.backends.cuda.matmul
    before = matmul.allow_bf16_reduced_precision_reduction
    matmul.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        matmul.allow_bf16_reduced_precision_reduction = before
