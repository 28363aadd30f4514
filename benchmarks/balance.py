"""A cap on documents over a million rows and on real ones, and draws from a corpus of ten million documents.

`python -m benchmarks.balance` writes benchmarks/balance.md.
"""

import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats

from benchmarks import beir, pages
from benchmarks.mining import Mined, given_vectors, mine
from benchmarks.potion import potion_folder
from benchmarks.processes import measure

ENGINES = ("local", "ray")
DIMENSION, CENTRES, NOISE = 32, 500, 0.5
CAP, NEGATIVES, K = 20, 4, 50
SHARES = (0.001, 0.01, 0.1)
REAL, SPLIT, CAPS = "insuranceqa-en", "train", (None, 50, 20, 10, 5)
SURE = 0.999
BALANCE = ("rounds", "full rows", "most uses", *(f"share of {share:.1%}" for share in SHARES), "mean score")


def main() -> None:
    """Mine with and without a cap, draw, and write the page."""
    parser = pages.parser(__doc__, rounds=None)
    parser.add_argument("--queries", type=int, default=1_000_000)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--corpus", type=int, default=10_000_000)
    args = parser.parse_args()
    kept = args.scratch.resolve() / "balance-real"  # texts are encoded once
    scratch = args.scratch.resolve() / "balance"
    shutil.rmtree(scratch, ignore_errors=True)
    write_sources(scratch / "sources", args.documents, args.queries)
    runs = {engine: _mined(scratch, engine, CAP) for engine in ENGINES}
    free = _mined(scratch, "local", None)
    digests = {digest_of(run.run) for run in runs.values()}
    table = [[f"`{engine}`", *_costs(run), *_balance(run)] for engine, run in (("local, no cap", free), *runs.items())]
    real = [[f"{cap or 'none'}", *_balance(_real(kept, cap))] for cap in CAPS]
    drawn = [_drawn(scratch, name, args.corpus) for name in ("uniform", "frequency")]
    shutil.rmtree(scratch)
    pages.write(
        "balance",
        [
            pages.heading("Caps, and draws from the whole corpus", "balance"),
            f"{args.queries:,} queries with one positive each, {args.documents:,} documents, vectors of {DIMENSION} "
            f"dimensions around {CENTRES} centres, `search.k: {K}`, {NEGATIVES} negatives, "
            f"`select.max_rows_per_document: {CAP}`. Whole processes. Select is the seconds of that stage. A share is "
            f"that of all negatives which the most used documents have.",
            pages.table(["engine", "seconds", "MiB", "select, s", *BALANCE], table),
            pages.goal(len(digests) == 1, "Both engines give the same rows"),
            "## Real texts",
            f"{REAL} ({SPLIT}) with potion-base-4m, {NEGATIVES} negatives, `relative_margin: 0.05`, and "
            f"`select.max_rows_per_document` as the first column says, all else by default.",
            pages.table(["cap", *BALANCE], real),
            "## Draws",
            f"One process opens a corpus of {args.corpus:,} documents with weights, and draws for queries until as "
            f"many documents are drawn as it has; the frequency is that of Zipf's law. Chi-square over 1,000 groups of "
            f"documents by weight; {SURE:.1%} of fair draws are below the bound.",
            pages.table(["proposer", "weigh, s", "draws per second", "MiB", "chi-square", "bound"], drawn),
        ],
    )


def write_sources(folder: Path, documents: int, queries: int) -> None:
    """Write documents around centres of very different sizes, and queries near documents."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((CENTRES, DIMENSION))
    share = 1 / np.arange(1, CENTRES + 1)
    of = random.choice(CENTRES, documents, p=share / share.sum())
    vectors = _unit(centres[of] + NOISE * random.standard_normal((documents, DIMENSION)))
    positive = random.integers(documents, size=queries)
    asked = _unit(vectors[positive] + 0.3 * random.standard_normal((queries, DIMENSION)))
    (folder / "corpus").mkdir(parents=True)
    for name, kind, matrix in (("corpus/part.parquet", "doc", vectors), ("queries.parquet", "query", asked)):
        ids = [f"{kind}{number}" for number in range(len(matrix))]
        flat = pa.array(matrix.astype(np.float32).ravel())
        column = pa.FixedSizeListArray.from_arrays(flat, DIMENSION)
        pq.write_table(pa.table({f"{kind}_id": ids, "text": ids, "vector": column}), folder / name)
    judged = {
        "query_id": [f"query{number}" for number in range(queries)],
        "doc_id": [f"doc{number}" for number in positive.tolist()],
        "score": np.ones(queries, dtype=np.int64),
    }
    pq.write_table(pa.table(judged), folder / "judgements.parquet")


def _unit(matrix: "np.ndarray[Any, np.dtype[np.float64]]") -> "np.ndarray[Any, np.dtype[np.float64]]":
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True))


def _mined(scratch: Path, engine: str, cap: int | None) -> Mined:
    settings: dict[str, Any] = {
        **given_vectors(scratch / "sources", "auto"),
        "search": {"k": K, "max_k": K},
        "select": {"num_negatives": NEGATIVES, "range_max": K, "max_rows_per_document": cap},
        "index": "exact",
    }
    run = mine(settings, engine, scratch / f"{engine}-{cap}")
    pages.tell(f"{engine}, cap {cap}: {run.measured.seconds:.0f} s, select {run.stage_seconds('select'):.0f} s")
    return run


def _negatives(run: Path) -> pa.Table:
    return pq.read_table(sorted((run / "dataset" / "triplet").glob("*.parquet")))


def digest_of(run: Path) -> str:
    """Hash the ids of all triplets, in their order."""
    digest = hashlib.sha256()
    for column in _negatives(run).select(["query_id", "positive_id", "negative_id"]).columns:
        digest.update("\n".join(column.to_pylist()).encode())
    return digest.hexdigest()


def _real(run: Path, cap: int | None, until: str | None = None) -> Mined:
    """Mine real texts; of the caps behind the first only the selection is done again."""
    settings: dict[str, Any] = {
        "data": {"beir": str(beir.SETS / REAL), "split": SPLIT},
        "encoder": {"model": str(potion_folder(run.with_name("potion")))},
        "select": {"num_negatives": NEGATIVES, "relative_margin": 0.05, "max_rows_per_document": cap},
    }
    mined = mine(settings, "local", run, until)
    pages.tell(f"{REAL}, cap {cap}: {mined.measured.seconds:.0f} s")
    return mined


def _costs(run: Mined) -> Sequence[str]:
    return [
        f"{run.measured.seconds:.0f}",
        f"{run.measured.peak_mib:,}",
        f"{run.stage_seconds('select'):.1f}",
    ]


def _balance(run: Mined) -> Sequence[str]:
    table, report = _negatives(run.run), run.report()
    uses = np.sort(np.array(list(Counter(table["negative_id"].to_pylist()).values())))[::-1]
    documents = report["stages"]["index"]["rows_out"]
    pairs = report["pairs"]
    full = 1 - (pairs["short_rows"] + pairs["empty_rows"]) / pairs["pairs"]
    shares = [uses[: max(int(share * documents), 1)].sum() / uses.sum() for share in SHARES]
    mean = np.mean(table["negative_score"].to_numpy())
    return [
        f"{report.get('matching_rounds', 0)}",
        f"{full:.1%}",
        f"{uses[0]:,}",
        *(f"{share:.1%}" for share in shares),
        f"{mean:.3f}",
    ]


def _drawn(scratch: Path, name: str, documents: int) -> Sequence[str]:
    command = [sys.executable, "-m", "benchmarks.balance_alone", name, str(documents)]
    measured = measure(command, scratch / f"{name}.log")
    found: Mapping[str, float] = json.loads(measured.output.splitlines()[-1])
    pages.tell(f"{name}: {found}")
    bound = stats.chi2.ppf(SURE, found["groups"] - 1)
    return [
        f"`{name}`",
        f"{found['weigh']:.1f}",
        f"{found['rate']:,.0f}",
        f"{measured.peak_mib:,}",
        f"{found['chi_square']:.0f}",
        f"{bound:.0f}",
    ]


if __name__ == "__main__":
    main()
