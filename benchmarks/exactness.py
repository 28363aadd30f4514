"""What exact search has to keep so that nothing is lost: rows whose products cannot be distinguished from the best.

`python -m benchmarks.exactness` writes benchmarks/exactness.md. For vectors of length 1, for inner products of vectors
of mixed lengths, and where one vector is a hundred times as long as the others, it counts the rows that float32 has to
decide among after products in bfloat16 and in float32, and compares what is found with float64. Beside it are the rows
that one margin for all vectors keeps, that of the longest vector, with the rounding of bfloat16 at its worst.
"""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks import pages
from operators.vectors.blocks import Bfloat16Blocks, Float32Blocks
from operators.vectors.index import add, empty_flat
from operators.vectors.nearest import ROWS_AT_ONCE, nearest_exact
from operators.vectors.rounding import BFLOAT16_ROUNDOFF, lengths_of
from operators.vectors.shard import Shard
from operators.vectors.top_k import TopK

Matrix = npt.NDArray[np.float32]
DIMENSION = 384
DEVICES = {"bfloat16": "cpu:0", "float32": "cpu"}


@dataclass(frozen=True)
class Kept:
    """What one set of vectors gave."""

    name: str
    wanted: int
    one_margin: int
    rows: dict[str, int]
    seconds: dict[str, float]
    off: float


def main() -> None:
    """Measure and write the page."""
    parser = pages.parser(__doc__, rounds=None)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--depth", type=int, default=100)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    queries, documents = (_clustered(rows, rng) for rows in (args.queries, args.documents))
    lengths = np.exp(rng.standard_normal((args.documents, 1), dtype=np.float32) / 2)
    one_long = np.ones((args.documents, 1), dtype=np.float32)
    one_long[args.documents // 2] = 100
    sets = {
        "cosine": documents,
        "inner product, lengths of e^(N(0, 1)/2)": documents * lengths,
        "inner product, one vector 100 times as long": documents * one_long,
    }
    rows = [_line(measure(name, queries, vectors, args.depth)) for name, vectors in sets.items()]
    head = [
        "vectors",
        "wanted",
        "kept, one margin",
        "kept, bfloat16",
        "kept, float32",
        "s, bfloat16",
        "s, float32",
        "off",
    ]
    text = (
        f"{args.documents:,} documents in float16, {DIMENSION} values, {args.queries} queries, the {args.depth} best "
        "of each. Kept are the rows among which the score in float32 decides. Seconds are for the whole search. Off is "
        "by how much the score of any one that was found is below that of its rank in float64, as a share of the "
        "lengths; float32 itself is off by about 1e-7."
    )
    pages.write("exactness", [pages.heading("Exact search: what is kept", "exactness"), text, pages.table(head, rows)])


def measure(name: str, queries: Matrix, vectors: Matrix, depth: int) -> Kept:
    """Search one set of vectors in both ways."""
    held, keys = vectors.astype(np.float16), np.arange(len(vectors))
    flat = empty_flat(DIMENSION, "float16")
    add(flat, held)
    shard = Shard(flat, keys, keys, lengths_of(held))
    wanted = np.full(len(queries), depth)
    rows, seconds, off = {}, {}, 0.0
    scores = queries.astype(np.float64) @ held.astype(np.float64).T
    best = -np.partition(-scores, depth - 1, axis=1)[:, :depth]
    best.sort(axis=1)
    for precision, device in DEVICES.items():
        rows[precision] = _kept(shard, queries, wanted, precision)
        began = time.perf_counter()
        query, row = nearest_exact(shard, queries, wanted, device)
        seconds[precision] = time.perf_counter() - began
        found = np.sort(scores[query, row].reshape(len(queries), depth), axis=1)
        off = max(off, float(((best - found) / float(np.median(shard.lengths[0]))).max()))
    margin = 2 * (2 * BFLOAT16_ROUNDOFF + BFLOAT16_ROUNDOFF) * float(shard.lengths[0].max())
    one_margin = int((scores >= best[:, :1] - margin * np.linalg.norm(queries, axis=1)[:, None]).sum())
    return Kept(name, len(queries) * depth, one_margin, rows, seconds, off)


def _kept(shard: Shard, queries: Matrix, wanted: npt.NDArray[np.int64], precision: str) -> int:
    best = TopK(queries, shard, wanted)
    on = (
        Bfloat16Blocks("cpu:0", queries, shard, best)
        if precision == "bfloat16"
        else Float32Blocks(queries, shard, best)
    )
    for start in range(0, len(shard.doc_key), ROWS_AT_ONCE[precision]):
        on(start, min(start + ROWS_AT_ONCE[precision], len(shard.doc_key)))
    best.sort()
    return len(best.held.query)


def _clustered(rows: int, rng: np.random.Generator) -> Matrix:
    """Draw vectors of length 1 around 1,000 centres."""
    centres = np.random.default_rng(1).standard_normal((1000, DIMENSION), dtype=np.float32)
    vectors = centres[rng.integers(0, 1000, rows)] + rng.standard_normal((rows, DIMENSION), dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _line(kept: Kept) -> list[str]:
    counts = [kept.wanted, kept.one_margin, kept.rows["bfloat16"], kept.rows["float32"]]
    seconds = [f"{kept.seconds[precision]:.2f}" for precision in DEVICES]
    return [kept.name, *(f"{count:,}" for count in counts), *seconds, f"{kept.off:.0e}"]


if __name__ == "__main__":
    main()
