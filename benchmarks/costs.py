"""What the steps of a search cost: it decides between exact search and an index, and between operating points.

`python -m benchmarks.costs` measures them on vectors with the spread of text, and writes benchmarks/costs.md and
operators/vectors/costs.json. What a GPU does is left as it is there.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from benchmarks import pages
from benchmarks.sources import cloud_of
from operators.vectors.costs import COSTS, DIMENSION, FILE, Costs
from operators.vectors.index import IndexChoice, add, codes_from, empty_flat, train
from operators.vectors.nearest import OperatingPoint, depth_for, nearest, nearest_exact
from operators.vectors.rounding import lengths_of
from operators.vectors.shard import Shard

Matrix = npt.NDArray[np.float32]

LISTS, NPROBES, REFINE_FACTORS = (256, 1024, 4096), (8, 32, 128), (1, 4, 16)
K = 100
SEED = 5


def main() -> None:
    """Measure and write."""
    parser = pages.parser(__doc__, rounds=3)
    parser.add_argument("--documents", type=int, default=500_000)
    parser.add_argument("--queries", type=int, default=1_000)
    args = parser.parse_args()
    drawn = cloud_of("text", args.scratch.resolve()).draw(args.documents + args.queries, np.random.default_rng(SEED))
    documents, queries = drawn[: args.documents], drawn[args.documents :]
    exact, *shards = [_shard(documents, codes) for codes in (None, *(_codes(documents, lists) for lists in LISTS))]
    rounds = []
    for _ in range(args.rounds):
        compare = _seconds(partial(nearest_exact, exact, queries, np.full(len(queries), K)))
        steps = _fitted([point for shard in shards for point in _searches(shard, queries)])
        rounds.append({"compare": compare / len(queries) / len(documents) * 1e9, **steps})
        pages.tell(", ".join(f"{name} {value:.2f} ns" for name, value in rounds[-1].items()))
    costs = replace(COSTS, **{name: _rounded(median(one[name] for one in rounds)) for name in rounds[0]})
    FILE.write_text(json.dumps(asdict(costs), indent=1) + "\n", encoding="utf-8")
    pages.write("costs", _page(rounds, costs, args.documents, args.queries))


def _codes(documents: Matrix, lists: int) -> Any:  # noqa: ANN401 - faiss is untyped
    sample = documents[:: max(len(documents) // (64 * lists), 1)]
    index = codes_from(train(IndexChoice(factory=f"IVF{lists},PQ{DIMENSION // 2}x4fs", train_rows=0, why=""), sample))
    add(index, documents)
    return index


def _shard(documents: Matrix, codes: Any) -> Shard:  # noqa: ANN401 - faiss is untyped
    flat, vectors = empty_flat(documents.shape[1], "float16"), documents.astype(np.float16)
    add(flat, vectors)
    keys = np.arange(len(documents))
    return Shard(flat, keys, keys, lengths_of(vectors), codes)


def _searches(shard: Shard, queries: Matrix) -> list[tuple[list[float], float]]:
    """Search at every operating point; return what a query did there, and its seconds."""
    codes: Any = shard.codes
    sizes = np.array([codes.invlists.list_size(number) for number in range(codes.nlist)])
    found = []
    for nprobe in NPROBES:
        scanned = float(sizes[codes.quantizer.search(queries, nprobe)[1]].sum(axis=1).mean())
        for refine in REFINE_FACTORS:
            search = partial(nearest, shard, queries, np.full(len(queries), K), OperatingPoint(nprobe, refine))
            did = [1.0, nprobe, scanned, refine * depth_for(K)]
            found.append((did, _seconds(search) / len(queries)))
    return found


def _fitted(searches: Sequence[tuple[list[float], float]]) -> dict[str, float]:
    """Fit seconds = a + lists * visit + codes * scan + proposed * refine; return the three in nanoseconds.

    Errors are relative: a search of milliseconds must not outweigh those of microseconds.
    """
    did, seconds = (np.array(one) for one in zip(*searches, strict=True))
    (_, *each), _ = nnls(did / seconds[:, None], np.ones(len(seconds)))
    return dict(zip(("visit_list", "scan_code", "refine"), np.array(each) * 1e9, strict=True))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _rounded(value: float) -> float:
    """Return two significant digits: more are noise."""
    return float(f"{value:.2g}")


def _page(rounds: Sequence[dict[str, float]], costs: Costs, documents: int, queries: int) -> list[str]:
    what = {
        "compare": "a query with a document, all compared",
        "visit_list": "an inverted list",
        "scan_code": f"a code (PQ{DIMENSION // 2}x4fs)",
        "refine": "a proposed document with its exact vector",
    }
    table = [
        [f"`{name}`", meaning, pages.spread([one[name] for one in rounds], 2), f"{getattr(costs, name):g}"]
        for name, meaning in what.items()
    ]
    searches = len(LISTS) * len(NPROBES) * len(REFINE_FACTORS)
    return [
        pages.heading("What the steps of a search cost", "costs"),
        f"The `text` set of [vectors](vectors.md), {documents:,} documents, {queries:,} queries, {DIMENSION} "
        f"dimensions. The last three come of a fit over {searches} searches: {', '.join(map(str, LISTS))} lists, "
        f"nprobe {', '.join(map(str, NPROBES))}, refine factor {', '.join(map(str, REFINE_FACTORS))}. "
        f"{pages.rounds_of(len(rounds))}",
        pages.table(["cost", "of", "measured, ns", "written, ns"], table),
        "`operators/vectors/costs.json` holds the last column. Only ratios decide: whether an index pays, and which "
        "operating point is the cheapest that reaches the recall.",
    ]


if __name__ == "__main__":
    main()
