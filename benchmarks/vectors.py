"""Vectors to negatives, a million of them: the project against an exact search done in sentence-transformers' way.

`python -m benchmarks.vectors` draws two collections (one harder than text, one with the spread of text), runs both ways
as whole processes on each in turn, and writes benchmarks/vectors.md.
"""

import json
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import charts, pages
from benchmarks.exact_search import QUERIES_AT_ONCE
from benchmarks.mining import budget_of, given_vectors, mine
from benchmarks.processes import measure
from benchmarks.real_vectors import real_vectors
from benchmarks.recall import recall
from benchmarks.sources import NAMES, cloud_of, written
from benchmarks.spread import Spread, spread_of

DEPTH = 100
PEER = "exact"


@dataclass(frozen=True)
class Run:
    """One run of one contestant: seconds of its parts, MiB at the peak, and the share of the exact result."""

    search: float
    index: float
    whole: float
    peak_mib: float
    own_mib: float
    recall: float


@dataclass(frozen=True)
class Contest:
    """One collection and what was measured on it.

    Attributes:
        name: of the collection.
        runs: contestant -> its rounds.
        choices: what the project said of its choice of an index, without repetition.
    """

    name: str
    runs: dict[str, list[Run]] = field(default_factory=dict)
    choices: dict[str, None] = field(default_factory=dict)

    def play(self, sources: Path, scratch: Path, engines: Sequence[str], memory_budget: str) -> None:
        """Run all contestants once."""
        found = scratch / f"exact-{self.name}.parquet"
        self._enter(PEER, exact_run(sources, found))
        for engine in engines:
            run = scratch / f"run-{self.name}"
            shutil.rmtree(run, ignore_errors=True)
            mined = mine(given_vectors(sources, memory_budget), engine, run)
            one = Run(
                search=mined.stage_seconds("search", "select"),
                index=mined.stage_seconds("index"),
                whole=mined.measured.seconds,
                peak_mib=mined.measured.peak_mib,
                own_mib=mined.measured.own_mib,
                recall=recall(run, found, DEPTH),
            )
            self._enter(f"hardneg, {engine}", one)
            choice = mined.report()["index"]
            self.choices[f"{choice['factory']} ({choice['why']})"] = None
            shutil.rmtree(run)

    def _enter(self, name: str, run: Run) -> None:
        self.runs.setdefault(name, []).append(run)
        pages.tell(f"{self.name}, {name}: {run.search:.1f} s, recall {run.recall:.3f}, {run.peak_mib:,.0f} MiB")

    def median(self, name: str, value: Callable[[Run], float]) -> float:
        """Return the median of something over the rounds of a contestant."""
        return statistics.median(map(value, self.runs[name]))

    def faster(self, name: str) -> float:
        """Return how many times as fast as the exact search a contestant is; index and loading left out on both."""
        pairs = zip(self.runs[PEER], self.runs[name], strict=True)
        return statistics.median(theirs.search / ours.search for theirs, ours in pairs)

    def larger(self, name: str) -> float:
        """Return how many times the memory of the exact search a contestant takes."""
        return self.median(name, _peak) / self.median(PEER, _peak)


def exact_run(sources: Path, found: Path) -> Run:
    """Run the exact search as a process of its own; what it finds is written to `found`."""
    command = [sys.executable, "-m", "benchmarks.exact_search", str(sources), str(found), "--range-max", str(DEPTH)]
    measured = measure(command, found.with_suffix(".log"))
    seconds = json.loads(measured.output.splitlines()[-1])["seconds"]
    return Run(
        search=seconds["search"] + seconds["pick"],
        index=seconds["index"],
        whole=measured.seconds,
        peak_mib=measured.peak_mib,
        own_mib=measured.own_mib,
        recall=1.0,
    )


def main() -> None:
    """Draw the collections, run all contests and write the page."""
    parser = pages.parser(__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--engines", nargs="+", choices=["local", "ray"], default=["local"])
    parser.add_argument("--memory-budget", default="2GiB", help="engine.memory_budget; auto leaves it out")
    args = parser.parse_args()
    scratch = args.scratch.resolve()
    spreads = {"real": spread_of(real_vectors(scratch))}
    contests = []
    for name in args.sets:
        spreads[name] = spread_of(cloud_of(name, scratch).draw(len(real_vectors(scratch)), np.random.default_rng(0)))
        sources = written(name, scratch, args.documents, args.queries)
        contests.append(Contest(name))
        for _ in range(args.rounds):
            contests[-1].play(sources, scratch, args.engines, args.memory_budget)
        shutil.rmtree(sources)
    about = (
        f"{args.documents:,} documents and {args.queries:,} queries of 384 dimensions, one positive each, "
        f"{budget_of(args.memory_budget)}. {pages.rounds_of(args.rounds)}"
    )
    matrix = min(args.queries, QUERIES_AT_ONCE) * args.documents * 4 / 2**30
    pages.write("vectors", _page(contests, spreads, about, matrix))


def _page(contests: Sequence[Contest], spreads: Mapping[str, Spread], about: str, matrix: float) -> list[str]:
    head = [
        "set",
        "",
        "search and select, s",
        "times as fast",
        f"recall@{DEPTH}",
        "MiB",
        "times exact's MiB",
        "own MiB",
    ]
    head += ["index, s", "whole, s"]
    rows = [_row(contest, name) for contest in contests for name in contest.runs]
    chosen = [f"- {contest.name}: {choice}" for contest in contests for choice in contest.choices]
    return [
        pages.heading("Vectors to negatives, against exact search", "vectors"),
        about,
        _plot(contests),
        pages.table(head, rows),
        f"`exact` does what `mine_hard_negatives(use_faiss=True)` does behind its encoding: all vectors in memory, a "
        f"flat FAISS index, batches of {QUERIES_AT_ONCE:,} queries; without FAISS, its default, it would hold a matrix "
        f"of {matrix:,.1f} GiB of scores as well. Its seconds are search and choice, without loading. Memory is the "
        f"peak of the sum of the proportional set sizes of all processes; `own` is without the pages of mapped files, "
        f"which the system takes back when it needs them. Recall is against the exact result.",
        "\n".join(_goals(contests)),
        "## What `index: auto` chose",
        "\n".join(chosen),
        "## The two sets",
        "`hard`: 4,000 clusters, noise in all directions. `text`: drawn from the vectors of real documents "
        "(SciFact and InsuranceQA, all-MiniLM-L6-v2). Similarity of a vector to its neighbours in a sample as large as "
        "the real set, and effective dimensions (participation ratio of the covariance's spectrum):",
        pages.table(
            ["set", "nearest", "its deviation", "10th", "100th", "effective dimensions"],
            [_spread_row(name, one) for name, one in spreads.items()],
        ),
    ]


def _row(contest: Contest, name: str) -> list[str]:
    runs = contest.runs[name]
    return [
        contest.name,
        name,
        pages.spread([one.search for one in runs], 1),
        f"{contest.faster(name):.2f}",
        pages.spread([one.recall for one in runs], 3),
        pages.spread([one.peak_mib for one in runs]),
        f"{contest.larger(name):.2f}",
        pages.spread([one.own_mib for one in runs]),
        pages.spread([one.index for one in runs], 1),
        pages.spread([one.whole for one in runs]),
    ]


def _spread_row(name: str, one: Spread) -> list[str]:
    near = one.neighbours
    return [
        name,
        f"{near[1]:.3f}",
        f"{one.deviation:.3f}",
        f"{near[10]:.3f}",
        f"{near[100]:.3f}",
        f"{one.dimensions:.0f}",
    ]


def _goals(contests: Sequence[Contest]) -> list[str]:
    tenfold = [c.faster(name) >= 10 and c.median(name, _recall) >= 0.95 for c, name in _ours(contests, "text")]
    never = [c.faster(name) >= 1 for c, name in _ours(contests, "hard")]
    small = [c.larger(name) <= 0.25 for which in NAMES for c, name in _ours(contests, which)]
    return [
        pages.goal(all(tenfold) if tenfold else None, "`text`: ten times as fast at a recall of 0.95"),
        pages.goal(all(never) if never else None, "`hard`: never slower than exact"),
        pages.goal(all(small), "At most a quarter of the memory of exact"),
    ]


def _ours(contests: Sequence[Contest], which: str) -> list[tuple[Contest, str]]:
    return [(contest, name) for contest in contests if contest.name == which for name in contest.runs if name != PEER]


def _recall(run: Run) -> float:
    return run.recall


def _peak(run: Run) -> float:
    return run.peak_mib


def _plot(contests: Sequence[Contest]) -> str:
    groups, names = [contest.name for contest in contests], list(contests[0].runs)
    panels = [
        charts.Panel(title, groups, {name: [contest.median(name, value) for contest in contests] for name in names})
        for title, value in (("search and select, seconds", lambda run: run.search), ("MiB", _peak))
    ]
    return charts.bars("vectors", panels)


if __name__ == "__main__":
    main()
