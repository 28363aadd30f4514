"""Growth: whether a document costs the same, and the memory stays the same, however many there are.

`python -m benchmarks.growth` mines collections of growing size with the spread of text under one memory budget, on each
engine, and writes benchmarks/growth.md.
"""

import argparse
import json
import shutil
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from pydantic import ByteSize, TypeAdapter

from benchmarks import charts, pages
from benchmarks.mining import Mined, budget_of, given_vectors, mine
from benchmarks.real_vectors import real_vectors
from benchmarks.sources import written

ENGINES = ("local", "ray")
SIZES = (250_000, 1_000_000, 4_000_000, 10_000_000)
STAGES = ("prepare", "encode", "index", "search", "select", "export")
FLAT_FROM, FLAT_WITHIN = 1_000_000, 0.15
FEW = "fewer than two sizes"
# Disk for a value of a vector: 4 in the sources, 4 where they are prepared, 2 encoded, 2 in the shards; codes and what
# is written in passing.
BYTES_PER_VALUE, DIMENSION = 13.5, 384


@dataclass(frozen=True)
class Grown:
    """What the runs of one size on one engine took; medians over the rounds.

    Attributes:
        engine: its name.
        documents: the size.
        seconds: of the whole process.
        peak_mib: at the peak, of all processes.
        own_mib: of that, without the pages of mapped files.
        stages: stage -> seconds.
        disk_gb: the run directory when it was finished.
        index: what was chosen.
        recall: what the report says of the recall, "-" where it says nothing.
    """

    engine: str
    documents: int
    seconds: float
    peak_mib: float
    own_mib: float
    stages: dict[str, float]
    disk_gb: float
    index: str
    recall: str

    def per_million(self) -> float:
        """Return the seconds for a million documents."""
        return self.seconds / (self.documents / 1e6)


def main() -> None:
    """Run all sizes on all engines and write the page."""
    parser = pages.parser(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--memory-budget", default="4GiB", help="engine.memory_budget; auto leaves it out")
    parser.add_argument("--resume", action="store_true", help="measure only what an earlier run did not come to")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    args = parser.parse_args()
    scratch = args.scratch.resolve()
    real_vectors(scratch)
    grown: dict[str, list[Grown]] = {engine: [] for engine in args.engines}
    left_out = [line for size in sorted(args.sizes) for line in _grow(grown, size, args, scratch)]
    grown = {engine: sizes for engine, sizes in grown.items() if sizes}
    if not grown:
        raise SystemExit("\n".join(left_out))
    about = (
        f"The `text` set of [vectors](vectors.md), 384 dimensions, {args.queries:,} queries, "
        f"{budget_of(args.memory_budget)}. Whole processes; memory is the peak of "
        f"the sum of the proportional set sizes of all processes; `own` is without the pages of mapped files, which "
        f"the system takes back when it needs them. {pages.rounds_of(args.rounds)}"
    )
    pages.write("growth", _page(grown, about, left_out, _budget_mib(args.memory_budget)))


def _budget_mib(memory_budget: str) -> float | None:
    return None if memory_budget == "auto" else TypeAdapter(ByteSize).validate_python(memory_budget) / 2**20


def _grow(grown: Mapping[str, list[Grown]], size: int, args: argparse.Namespace, scratch: Path) -> list[str]:
    """Measure one size on every engine and add it to `grown`; return why that could not be done, where it could not.

    What was measured stays in the scratch folder: with --resume only what is missing is measured.
    """
    kept = {engine: scratch / f"growth-{engine}-{size}.json" for engine in grown}
    there = {engine for engine, file in kept.items() if args.resume and file.exists()}
    for engine in sorted(there):
        grown[engine].append(Grown(**json.loads(kept[engine].read_text(encoding="utf-8"))))
    missing = [engine for engine in grown if engine not in there]
    needed, free = size * DIMENSION * BYTES_PER_VALUE / 1e9, shutil.disk_usage(scratch).free / 1e9
    if not missing:
        return []
    if needed > free:
        return [f"{size:,} documents: left out, about {needed:,.0f} GB of disk are needed."]
    left_out = []
    settings = given_vectors(written("text", scratch, size, args.queries), args.memory_budget)
    for engine in missing:
        try:
            grown[engine].append(_rounds(settings, engine, scratch / "run-growth", size, args.rounds))
            kept[engine].write_text(json.dumps(asdict(grown[engine][-1])), encoding="utf-8")
        except subprocess.CalledProcessError as error:  # a result too, and the smaller sizes took hours
            pages.tell("\n".join(error.__notes__))
            left_out.append(f"{size:,} documents on `{engine}`: failed with exit status {error.returncode}.")
        finally:
            shutil.rmtree(scratch / "run-growth", ignore_errors=True)
    shutil.rmtree(scratch / "sources-text")
    return left_out


def _rounds(settings: dict[str, Any], engine: str, run: Path, size: int, rounds: int) -> Grown:
    runs, disk = [], 0.0
    for _ in range(rounds):
        shutil.rmtree(run, ignore_errors=True)
        mined = mine(settings, engine, run)
        runs.append(mined)
        report = mined.report()
        disk = max(disk, sum(file.stat().st_size for file in run.rglob("*") if file.is_file()) / 1e9)
        shutil.rmtree(run)
        pages.tell(
            f"{engine}, {size:,}: {mined.measured.seconds:.0f} s, {mined.measured.peak_mib:,} MiB, {disk:.1f} GB"
        )
    tuned = report["search"]["recall"]
    return Grown(
        engine=engine,
        documents=size,
        seconds=_median([mined.measured.seconds for mined in runs]),
        peak_mib=_median([mined.measured.peak_mib for mined in runs]),
        own_mib=_median([mined.measured.own_mib for mined in runs]),
        stages={stage: _stage(runs, stage) for stage in STAGES},
        disk_gb=disk,
        index=report["index"]["factory"],
        recall="1" if tuned is None else f"{tuned['recall']:.3f}",
    )


def _stage(runs: Sequence[Mined], stage: str) -> float:
    return _median([mined.stage_seconds(stage) for mined in runs])


def _median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def spread_from(sizes: Sequence[int], values: Sequence[float], first: int) -> float | None:
    """Return by how much the highest value is above the lowest, of sizes from `first` on; None for fewer than two."""
    flat = [value for size, value in zip(sizes, values, strict=True) if size >= first]
    return max(flat) / min(flat) - 1 if len(flat) > 1 else None


def rise_of(values: Sequence[float]) -> float | None:
    """Return by how much a value is at most above one before it, negative where all fall; None for fewer than two."""
    if len(values) < 2:
        return None
    lowest = accumulate(values[:-1], min)
    return max(later / low for later, low in zip(values[1:], lowest, strict=True)) - 1


def _page(
    grown: Mapping[str, Sequence[Grown]], about: str, left_out: Sequence[str], budget_mib: float | None
) -> list[str]:
    head = ["engine", "documents", "seconds", "s / million", "MiB", "own MiB", "recall@100", "index", "GB on disk"]
    return [
        pages.heading("Growth: seconds per million documents, and memory", "growth"),
        about,
        _plot(grown),
        pages.table([*head, *STAGES], [_row(one) for sizes in grown.values() for one in sizes]),
        "The last columns: seconds of each stage; `encode` takes the vectors that are given. Recall is the run's own "
        "estimate, from a sample of queries.",
        *left_out,
        "\n".join(line for engine, sizes in grown.items() for line in _goals(engine, sizes, budget_mib)),
    ]


def _row(one: Grown) -> list[str]:
    cells = [one.engine, f"{one.documents:,}", f"{one.seconds:,.0f}", f"{one.per_million():,.0f}"]
    cells += [f"{one.peak_mib:,.0f}", f"{one.own_mib:,.0f}", one.recall, one.index, f"{one.disk_gb:.1f}"]
    return [*cells, *(f"{one.stages[stage]:,.1f}" for stage in STAGES)]


def _goals(engine: str, grown: Sequence[Grown], budget_mib: float | None) -> list[str]:
    rise = rise_of([one.per_million() for one in grown])
    highest = max(one.peak_mib for one in grown)
    goals = [
        pages.goal(
            None if rise is None else rise <= FLAT_WITHIN,
            f"`{engine}`: seconds per million documents flat within {FLAT_WITHIN:.0%}, or falling "
            + (f"({FEW})" if rise is None else f"(at most {rise:+.0%} against a smaller size)"),
        ),
        pages.goal(
            None if budget_mib is None else highest <= budget_mib,
            f"`{engine}`: peak memory within the budget (highest {highest:,.0f} MiB)",
        ),
    ]
    kinds = {"with pages of mapped files": lambda one: one.peak_mib, "without these": lambda one: one.own_mib}
    return goals + [_flat(engine, what, grown, memory) for what, memory in kinds.items()]


def _flat(engine: str, what: str, grown: Sequence[Grown], memory: Callable[[Grown], float]) -> str:
    apart = spread_from([one.documents for one in grown], [memory(one) for one in grown], FLAT_FROM)
    return pages.goal(
        None if apart is None else apart <= FLAT_WITHIN,
        f"`{engine}`: peak memory {what} flat within {FLAT_WITHIN:.0%} from {FLAT_FROM / 1e6:g}M on "
        + (f"({FEW})" if apart is None else f"(highest {apart:.0%} above lowest)"),
    )


def _plot(grown: Mapping[str, Sequence[Grown]]) -> str:
    panels = []
    for engine, sizes in grown.items():
        documents = [float(one.documents) for one in sizes]
        per_stage = {stage: [one.stages[stage] / (one.documents / 1e6) for one in sizes] for stage in STAGES}
        seconds = {"whole": [one.per_million() for one in sizes], **per_stage}
        memory = {"all": [one.peak_mib for one in sizes], "without mapped files": [one.own_mib for one in sizes]}
        panels.append(charts.Panel(f"{engine}: seconds per million documents", documents, seconds))
        panels.append(charts.Panel(f"{engine}: MiB", documents, memory))
    return charts.lines("growth", panels)


if __name__ == "__main__":
    main()
