"""Find the nearest vectors by inner product: all of them compared, or those that quantized codes propose."""

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from operators.schemas import Vectors
from operators.vectors.precision import in_float32
from operators.vectors.shard import Shard

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

ROWS_AT_ONCE = 65_536


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
        device: `cpu` (FAISS), or a device of torch that multiplies the blocks.
        rows_at_once: how many vectors a block has.
    """
    block_nearest = _block_on_cpu(queries, depth) if device == "cpu" else _block_on(device, queries, depth)
    best_scores = np.zeros((len(queries), 0), dtype=np.float32)
    best_rows = np.zeros((len(queries), 0), dtype=np.int64)
    for start in range(0, len(vectors), rows_at_once):
        scores, rows = block_nearest(vectors[start : start + rows_at_once])
        best_scores, best_rows = np.hstack([best_scores, scores]), np.hstack([best_rows, rows + start])
        keep = np.argsort(-best_scores, axis=1, kind="stable")[:, :depth]
        best_scores = np.take_along_axis(best_scores, keep, axis=1)
        best_rows = np.take_along_axis(best_rows, keep, axis=1)
    return best_rows


def _block_on_cpu(queries: Matrix, depth: int) -> Any:  # noqa: ANN401 - a function
    def block_nearest(block: Vectors) -> tuple[Matrix, Ints]:
        whole = in_float32(block)
        scores, rows = faiss.knn(queries, whole, min(depth, len(whole)), metric=faiss.METRIC_INNER_PRODUCT)
        return scores, rows

    return block_nearest


def _block_on(device: str, queries: Matrix, depth: int) -> Any:  # noqa: ANN401 - a function
    """Multiply in float32 on a device of torch; the vectors travel there as they are kept."""
    import torch

    asked = torch.from_numpy(queries).to(device)

    def block_nearest(block: Vectors) -> tuple[Matrix, Ints]:
        held = torch.from_numpy(np.ascontiguousarray(block)).to(device)
        with torch.inference_mode():
            scores, rows = torch.topk(asked @ held.float().T, min(depth, len(held)), dim=1)
        return scores.cpu().numpy(), rows.cpu().numpy()

    return block_nearest
