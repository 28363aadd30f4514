"""Growth: whether a document costs the same, and the memory stays the same, however many there are.

`python -m benchmarks.growth` mines collections of growing size with the spread of text under one memory budget, and
writes benchmarks/growth.md.
"""

import argparse
import json
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import charts, pages
from benchmarks.mining import Mined, given_vectors, mine
from benchmarks.real_vectors import real_vectors
from benchmarks.sources import written

SIZES = (250_000, 1_000_000, 4_000_000, 10_000_000)
STAGES = ("prepare", "encode", "index", "search", "select", "export")
FLAT_FROM, FLAT_WITHIN = 1_000_000, 0.15
# Disk for a value of a vector: 4 in the sources, 4 where they are prepared, 2 encoded, 2 in the shards; codes and what
# is written in passing.
BYTES_PER_VALUE, DIMENSION = 13.5, 384


@dataclass(frozen=True)
class Grown:
    """What the runs of one size took; medians over the rounds.

    Attributes:
        documents: the size.
        seconds: of the whole process.
        peak_mib: at the peak, of all processes.
        own_mib: of that, without the pages of mapped files.
        stages: stage -> seconds.
        disk_gb: the run directory when it was finished.
        index: what was chosen.
        recall: what the report says of the recall, "-" where it says nothing.
    """

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
    """Run all sizes and write the page."""
    parser = pages.parser(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--memory-budget", default="4GiB", help="engine.memory_budget; auto leaves it out")
    parser.add_argument("--resume", action="store_true", help="measure only what an earlier run did not come to")
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    args = parser.parse_args()
    scratch = args.scratch.resolve()
    real_vectors(scratch)
    grown: list[Grown] = []
    left_out = [line for size in sorted(args.sizes) if (line := _grow(grown, size, args, scratch)) is not None]
    if not grown:
        raise SystemExit("\n".join(left_out))
    about = (
        f"The `text` set of [vectors](vectors.md), 384 dimensions, {args.queries:,} queries, engine `{args.engine}`, "
        f"`engine.memory_budget: {args.memory_budget}`, all else by default. Whole processes; memory is the peak of "
        f"the sum of the proportional set sizes of all processes; `own` is without the pages of mapped files, which "
        f"the system takes back when it needs them. {pages.rounds_of(args.rounds)}"
    )
    pages.write("growth", _page(grown, about, left_out))


def _grow(grown: list[Grown], size: int, args: argparse.Namespace, scratch: Path) -> str | None:
    """Measure one size and add it to `grown`; where that cannot be done, say why.

    What was measured stays in the scratch folder: with --resume only what is missing is measured.
    """
    kept = scratch / f"growth-{size}.json"
    if args.resume and kept.exists():
        grown.append(Grown(**json.loads(kept.read_text(encoding="utf-8"))))
        return None
    needed, free = size * DIMENSION * BYTES_PER_VALUE / 1e9, shutil.disk_usage(scratch).free / 1e9
    if needed > free:
        return f"{size:,} documents: left out, about {needed:,.0f} GB of disk are needed."
    try:
        settings = given_vectors(written("text", scratch, size, args.queries), args.memory_budget)
        grown.append(_rounds(settings, args.engine, scratch / "run-growth", size, args.rounds))
        kept.write_text(json.dumps(asdict(grown[-1])), encoding="utf-8")
    except subprocess.CalledProcessError as error:  # a result too, and the smaller sizes took hours
        pages.tell("\n".join(error.__notes__))
        return f"{size:,} documents: failed with exit status {error.returncode}."
    finally:
        for name in ("run-growth", "sources-text"):
            shutil.rmtree(scratch / name, ignore_errors=True)
    return None


def _rounds(settings: dict[str, Any], engine: str, run: Path, size: int, rounds: int) -> Grown:
    runs, disk = [], 0.0
    for _ in range(rounds):
        shutil.rmtree(run, ignore_errors=True)
        mined = mine(settings, engine, run)
        runs.append(mined)
        told = mined.report()
        disk = max(disk, sum(file.stat().st_size for file in run.rglob("*") if file.is_file()) / 1e9)
        shutil.rmtree(run)
        pages.tell(f"{size:,}: {mined.measured.seconds:.0f} s, {mined.measured.peak_mib:,} MiB, {disk:.1f} GB")
    tuned = told["search"]["recall"]
    return Grown(
        documents=size,
        seconds=_median([mined.measured.seconds for mined in runs]),
        peak_mib=_median([mined.measured.peak_mib for mined in runs]),
        own_mib=_median([mined.measured.own_mib for mined in runs]),
        stages={stage: _stage(runs, stage) for stage in STAGES},
        disk_gb=disk,
        index=told["index"]["factory"],
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


def _page(grown: Sequence[Grown], about: str, left_out: Sequence[str]) -> list[str]:
    head = ["documents", "seconds", "s / million", "MiB", "own MiB", "recall@100", "index", "GB on disk", *STAGES]
    return [
        pages.heading("Growth: seconds per million documents, and memory", "growth"),
        about,
        _plot(grown),
        pages.table(head, [_row(one) for one in grown]),
        "The last columns: seconds of each stage; `encode` takes the vectors that are given. Recall is the run's own "
        "estimate, from a sample of queries.",
        *left_out,
        "\n".join(_goals(grown)),
    ]


def _row(one: Grown) -> list[str]:
    told = [f"{one.documents:,}", f"{one.seconds:,.0f}", f"{one.per_million():,.0f}"]
    told += [f"{one.peak_mib:,.0f}", f"{one.own_mib:,.0f}", one.recall, one.index, f"{one.disk_gb:.1f}"]
    return [*told, *(f"{one.stages[stage]:,.1f}" for stage in STAGES)]


def _goals(grown: Sequence[Grown]) -> list[str]:
    sizes = [one.documents for one in grown]
    measured = {
        "Seconds per million documents": spread_from(sizes, [one.per_million() for one in grown], FLAT_FROM),
        "Peak memory": spread_from(sizes, [one.peak_mib for one in grown], FLAT_FROM),
    }
    return [
        pages.goal(
            None if apart is None else apart <= FLAT_WITHIN,
            f"{what} flat within {FLAT_WITHIN:.0%} from {FLAT_FROM / 1e6:g}M on "
            + (f"(highest {apart:.0%} above lowest)" if apart is not None else "(fewer than two sizes)"),
        )
        for what, apart in measured.items()
    ]


def _plot(grown: Sequence[Grown]) -> str:
    sizes = [float(one.documents) for one in grown]
    per_stage = {stage: [one.stages[stage] / (one.documents / 1e6) for one in grown] for stage in STAGES}
    seconds = {"whole": [one.per_million() for one in grown], **per_stage}
    memory = {"all": [one.peak_mib for one in grown], "without mapped files": [one.own_mib for one in grown]}
    panels = [charts.Panel("seconds per million documents", sizes, seconds), charts.Panel("MiB", sizes, memory)]
    return charts.lines("growth", panels)


if __name__ == "__main__":
    main()
