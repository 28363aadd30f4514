"""What the steps of a search cost: it decides between exact search and an index, and between operating points.

`python -m benchmarks.costs` measures them on vectors with the spread of text, and writes benchmarks/costs.md and
operators/vectors/costs.json. What a GPU does is left as it is there.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from statistics import median

import faiss
import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from benchmarks import pages
from benchmarks.sources import cloud_of
from operators.vectors.costs import COSTS, DIMENSION, FILE, Costs
from operators.vectors.index import IndexChoice, add, codes_from, empty_flat, train
from operators.vectors.nearest import nearest_exact
from operators.vectors.rounding import lengths_of
from operators.vectors.shard import Shard
from operators.vectors.similarity import score_pairs

Matrix = npt.NDArray[np.float32]

LISTS, NPROBES = (256, 1024, 4096), (8, 32, 128)
DEPTH, REFINED = 100, 400
SEED = 5


def main() -> None:
    """Measure and write."""
    parser = pages.parser(__doc__, rounds=3)
    parser.add_argument("--documents", type=int, default=500_000)
    parser.add_argument("--queries", type=int, default=1_000)
    args = parser.parse_args()
    rng = np.random.default_rng(SEED)
    drawn = cloud_of("text", args.scratch.resolve()).draw(args.documents + args.queries, rng)
    documents, queries = drawn[: args.documents], drawn[args.documents :]
    rounds = [_measured(documents, queries, rng) for _ in range(args.rounds)]
    costs = replace(COSTS, **{name: _rounded(median(one[name] for one in rounds)) for name in rounds[0]})
    FILE.write_text(json.dumps(asdict(costs), indent=1) + "\n", encoding="utf-8")
    pages.write("costs", _page(rounds, costs, args.documents, args.queries, args.rounds))


def _measured(documents: Matrix, queries: Matrix, rng: np.random.Generator) -> dict[str, float]:
    """Return the nanoseconds of each step."""
    pairs, shard = len(queries) * len(documents), _shard(documents)
    compare = _seconds(lambda: nearest_exact(shard, queries, np.full(len(queries), DEPTH))) / pairs
    query = np.repeat(np.arange(len(queries)), REFINED)
    row = rng.integers(0, len(documents), len(query))
    refine = _seconds(lambda: score_pairs(queries, query, shard.vectors, row)) / len(query)
    visit, scan = _lists(documents, queries)
    return {"compare": compare * 1e9, "visit_list": visit * 1e9, "scan_code": scan * 1e9, "refine": refine * 1e9}


def _shard(documents: Matrix) -> Shard:
    flat, vectors = empty_flat(documents.shape[1], "float16"), documents.astype(np.float16)
    add(flat, vectors)
    keys = np.arange(len(documents))
    return Shard(flat, keys, keys, lengths_of(vectors))


def _lists(documents: Matrix, queries: Matrix) -> tuple[float, float]:
    """Fit seconds of a query = a + lists visited * b + codes scanned * c; return b and c."""
    rows, seconds = [], []
    for lists in LISTS:
        sample = documents[:: max(len(documents) // (64 * lists), 1)]
        choice = IndexChoice(factory=f"IVF{lists},PQ{DIMENSION // 2}x4fs", train_rows=len(sample), why="")
        index = codes_from(train(choice, sample))
        add(index, documents)
        sizes = np.array([index.invlists.list_size(number) for number in range(lists)])
        for nprobe in NPROBES:
            faiss.ParameterSpace().set_index_parameter(index, "nprobe", nprobe)
            _, visited = index.quantizer.search(queries, nprobe)
            seconds.append(_seconds(partial(index.search, queries, DEPTH)) / len(queries))
            rows.append([1.0, nprobe, sizes[visited].sum(axis=1).mean()])
    scale = np.array(seconds)  # relative errors: a point of milliseconds must not outweigh those of microseconds
    (_, visit, scan), _ = nnls(np.array(rows) / scale[:, None], np.ones(len(scale)))
    return float(visit), float(scan)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _rounded(value: float) -> float:
    """Return two significant digits: more are noise."""
    return float(f"{value:.2g}")


def _page(rounds: list[dict[str, float]], costs: Costs, documents: int, queries: int, count: int) -> list[str]:
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
    return [
        pages.heading("What the steps of a search cost", "costs"),
        f"The `text` set of [vectors](vectors.md), {documents:,} documents, {queries:,} queries, {DIMENSION} "
        f"dimensions; lists and codes from a fit over {len(LISTS)} x {len(NPROBES)} searches with "
        f"{', '.join(map(str, LISTS))} lists. {pages.rounds_of(count)}",
        pages.table(["cost", "of", "measured, ns", "written, ns"], table),
        "`operators/vectors/costs.json` holds the last column. Only ratios decide: whether an index pays, and which "
        "operating point is the cheapest that reaches the recall.",
    ]


if __name__ == "__main__":
    main()
