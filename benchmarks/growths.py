"""Small growths: what a corpus that grew ten times by a hundredth costs, beside one that was there from the start.

`python -m benchmarks.growths` mines a collection with the spread of text, adds documents and mines again, ten times,
then mines all of it anew, and writes benchmarks/growths.md.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import pages
from benchmarks.mining import Mined, given_vectors, mine
from benchmarks.recall import recall
from benchmarks.sources import cloud_of, write_more, written
from benchmarks.vectors import DEPTH, exact_run

NAME = "text"
GROWTHS, SHARE = 10, 0.01


@dataclass(frozen=True)
class Grown:
    """One run.

    Attributes:
        name: of the row.
        documents: how many there are.
        shards: how many documents each has.
        built: how many documents were put into a shard by this run.
        stated, exact: recall, as the run estimates it and against the exact result.
        index, search, whole: seconds of the stages, and of the process.
    """

    name: str
    documents: int
    shards: list[int]
    built: int
    stated: float
    exact: float
    index: float
    search: float
    whole: float


def main() -> None:
    """Mine, add, mine again, and write the page."""
    parser = pages.parser(__doc__, rounds=None)
    parser.add_argument("--documents", type=int, default=500_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--factory", default="IVF1024,PQ192x4fs")
    parser.add_argument("--shard-rows", type=int, default=None, help="by default what the memory budget allows")
    parser.add_argument("--memory-budget", default="4GiB")
    args = parser.parse_args()
    scratch = args.scratch.resolve()
    sources = written(NAME, scratch, args.documents, args.queries)
    settings = given_vectors(sources, args.memory_budget)
    settings["index"] = {"factory": args.factory, **({"shard_rows": args.shard_rows} if args.shard_rows else {})}
    grown = _grow(settings, sources, scratch, args.documents)
    pages.write("growths", _page(grown, args))


def _grow(settings: dict[str, Any], sources: Path, scratch: Path, documents: int) -> list[Grown]:
    """Mine the base, every growth of it, and all of it anew."""
    cloud, run, found = cloud_of(NAME, scratch), scratch / "run-growths", scratch / "exact-growths.parquet"
    piece = round(documents * SHARE)
    shutil.rmtree(run, ignore_errors=True)
    grown = []
    for growth in range(GROWTHS + 1):
        if growth:
            rows = range(documents + (growth - 1) * piece, documents + growth * piece)
            write_more(cloud, sources / "corpus" / f"piece-{growth:02d}.parquet", rows)
        exact_run(sources, found)
        grown.append(_measured(f"growth {growth}" if growth else "base", mine(settings, "local", run), found))
    shutil.rmtree(run)
    grown.append(_measured("anew", mine(settings, "local", run), found))
    for folder in (run, sources):
        shutil.rmtree(folder)
    return grown


def _measured(name: str, mined: Mined, found: Path) -> Grown:
    stage = mined.result["stages"]["index"]
    manifests = sorted(mined.run.glob("index/*/_manifest-*.json"), key=lambda path: path.stat().st_mtime)
    shards = json.loads(manifests[-1].read_text(encoding="utf-8"))["parts"]["shards"]
    tuned = mined.report()["search"]["recall"]
    one = Grown(
        name=name,
        documents=stage["rows_out"],
        shards=[shard["rows"] for shard in shards],
        built=stage["rows_out"] - stage["rows_reused"],
        stated=1.0 if tuned is None else tuned["recall"],
        exact=recall(mined.run, found, DEPTH),
        index=mined.stage_seconds("index"),
        search=mined.stage_seconds("search"),
        whole=mined.measured.seconds,
    )
    pages.tell(f"{name}: {len(one.shards)} shards, recall {one.exact:.3f}, {one.whole:.0f} s")
    return one


def _page(grown: Sequence[Grown], args: argparse.Namespace) -> list[str]:
    head = ["", "documents", "shards", "documents of each", "built", "recall, estimated", f"recall@{DEPTH}"]
    head += ["index, s", "search, s", "whole, s"]
    *growths, anew = grown
    built = sum(one.built for one in growths[1:])
    added = growths[-1].documents - growths[0].documents
    rows = f"`index.shard_rows: {args.shard_rows}`, " if args.shard_rows else ""
    return [
        pages.heading("Ten growths of one in a hundred, beside one rebuild", "growths"),
        f"The `text` set of [vectors](vectors.md), 384 dimensions, {args.queries:,} queries, engine `local`, "
        f"`index.factory: {args.factory}`, {rows}`engine.memory_budget: {args.memory_budget}`, all else by default. "
        f"Each growth is one more file. One round.",
        pages.table(head, [_row(one) for one in grown]),
        f"The run estimates recall from a sample of queries; recall@{DEPTH} is against the exact result "
        f"for the documents that were there. `built` are documents that a run put into a shard: {built:,} in ten "
        f"growths that added {added:,}, {built / added:.1f} times each. Queries have their positives in the base.",
        f"Recall after ten growths is {grown[-2].exact - anew.exact:+.3f} from that of one rebuild.",
    ]


def _row(one: Grown) -> list[str]:
    sizes = " ".join(f"{rows:,}" for rows in one.shards)
    cells = [one.name, f"{one.documents:,}", f"{len(one.shards)}", sizes, f"{one.built:,}"]
    cells += [f"{one.stated:.3f}", f"{one.exact:.3f}"]
    return [*cells, *(f"{seconds:,.1f}" for seconds in (one.index, one.search, one.whole))]


if __name__ == "__main__":
    main()
