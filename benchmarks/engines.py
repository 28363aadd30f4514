"""The engines side by side: the same documents with vectors on each, and prepare on Ray in few and in many partitions.

`python -m benchmarks.engines` draws one collection, mines it on every engine in turn as whole processes, prepares it on
Ray in more and more partitions, and writes benchmarks/engines.md.
"""

import shutil
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import charts, pages
from benchmarks.growth import STAGES, spread_from
from benchmarks.mining import Mined, budget_of, given_vectors, mine
from benchmarks.real_vectors import real_vectors
from benchmarks.sources import written

ENGINES = ("local", "ray", "beam")
PARTITIONS = (122, 488, 976, 3_900)
# Ray may take so many times the seconds of `local`, and so many seconds and bytes more.
TIMES, SECONDS_MORE, BYTES_MORE = 1.3, 15, 2e9
FLAT_WITHIN = 0.30

Failures = dict[str, str]  # what failed -> how


def main() -> None:
    """Run everything in turn and write the page."""
    parser = pages.parser(__doc__)
    parser.add_argument("--documents", type=int, default=500_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--partitions", nargs="*", type=int, default=list(PARTITIONS), help="of prepare on Ray")
    parser.add_argument("--memory-budget", default="auto", help="engine.memory_budget; auto leaves it out")
    args = parser.parse_args()
    scratch = args.scratch.resolve()
    real_vectors(scratch)
    settings = given_vectors(written("text", scratch, args.documents, args.queries), args.memory_budget)
    runs: dict[str, list[Mined]] = {engine: [] for engine in args.engines}
    prepared: dict[int, list[Mined]] = {partitions: [] for partitions in sorted(args.partitions)}
    failed: Failures = {}
    for _ in range(args.rounds):
        for engine, mined in runs.items():
            _enter(mined, engine, failed, partial(_anew, settings, engine, scratch))
        for partitions, mined in prepared.items():
            smaller = _in_partitions(settings, -(-args.documents // partitions))
            what = f"prepare in {partitions:,} partitions"
            _enter(mined, what, failed, partial(_anew, smaller, "ray", scratch, "prepare"))
    shutil.rmtree(scratch / "sources-text")
    about = (
        f"The `text` set of [vectors](vectors.md), {args.documents:,} documents and {args.queries:,} queries with "
        f"vectors of 384 dimensions, {budget_of(args.memory_budget)}. Whole processes; memory is "
        f"the peak of the sum of the proportional set sizes of all processes; `own` is without the pages of mapped "
        f"files, which the system takes back when it needs them. {pages.rounds_of(args.rounds)}"
    )
    pages.write("engines", _page(runs, prepared, about, failed))


def _in_partitions(settings: Mapping[str, Any], rows: int) -> dict[str, Any]:
    return {**settings, "data": {**settings["data"], "partition_rows": rows}}


def _anew(settings: Mapping[str, Any], engine: str, scratch: Path, until: str | None = None) -> Mined:
    run = scratch / "run-engines"
    shutil.rmtree(run, ignore_errors=True)
    try:
        return mine(settings, engine, run, until)
    finally:
        shutil.rmtree(run, ignore_errors=True)


def _enter(runs: list[Mined], what: str, failed: Failures, work: Callable[[], Mined]) -> None:
    """Add a run to those of its kind. One that fails is a result too: it is named on the page, and not tried again."""
    if what in failed:
        return
    try:
        mined = work()
    except subprocess.CalledProcessError as error:
        pages.tell("\n".join(error.__notes__))
        failed[what] = f"failed with exit status {error.returncode}"
        return
    runs.append(mined)
    pages.tell(f"{what}: {mined.measured.seconds:.0f} s, {mined.measured.peak_mib:,} MiB")


def _page(
    runs: Mapping[str, Sequence[Mined]], prepared: Mapping[int, Sequence[Mined]], about: str, failed: Failures
) -> list[str]:
    engines = {engine: mined for engine, mined in runs.items() if mined}
    parts = {partitions: mined for partitions, mined in prepared.items() if mined}
    sections = [pages.heading("The engines side by side", "engines"), about]
    if engines:
        head = ["engine", "seconds", "MiB", "own MiB", *(f"{stage}, s" for stage in STAGES)]
        rows = [[engine, *_cells(mined, STAGES)] for engine, mined in engines.items()]
        sections += [_plot(engines), pages.table(head, rows), "\n".join(_goals(engines))]
    if parts:
        head = ["partitions", "seconds", "MiB", "own MiB", "prepare, s", "s a partition"]
        rows = [
            [f"{partitions:,}", *_cells(mined, ["prepare"]), f"{_prepare(mined) / partitions:.3f}"]
            for partitions, mined in parts.items()
        ]
        sections += [
            "## Prepare on Ray, in few and in many partitions",
            "The same documents up to the end of `prepare`, with `data.partition_rows` so that there are about so many "
            "partitions:",
            pages.table(head, rows),
            "\n".join(_flat(parts)),
        ]
    return [*sections, *(f"{what}: {how}." for what, how in failed.items())]


def _cells(mined: Sequence[Mined], stages: Sequence[str]) -> list[str]:
    return [
        pages.spread([one.measured.seconds for one in mined]),
        pages.spread([one.measured.peak_mib for one in mined]),
        pages.spread([one.measured.own_mib for one in mined]),
        *(pages.spread([one.stage_seconds(stage) for one in mined], 1) for stage in stages),
    ]


def _seconds(mined: Sequence[Mined]) -> float:
    return statistics.median(one.measured.seconds for one in mined)


def _mib(mined: Sequence[Mined]) -> float:
    return statistics.median(one.measured.peak_mib for one in mined)


def _prepare(mined: Sequence[Mined]) -> float:
    return statistics.median(one.stage_seconds("prepare") for one in mined)


def _goals(engines: Mapping[str, Sequence[Mined]]) -> list[str]:
    fast = small = None
    if {"local", "ray"} <= engines.keys():
        local, ray = engines["local"], engines["ray"]
        fast = _seconds(ray) <= TIMES * _seconds(local) + SECONDS_MORE
        small = _mib(ray) <= _mib(local) + BYTES_MORE / 2**20
    return [
        pages.goal(fast, f"Seconds on `ray` at most {TIMES} times those on `local`, and {SECONDS_MORE} more"),
        pages.goal(small, f"Memory on `ray` at most {BYTES_MORE / 1e9:g} GB more than on `local`"),
    ]


def _flat(parts: Mapping[int, Sequence[Mined]]) -> list[str]:
    lines = []
    for what, value in (("Seconds of prepare", _prepare), ("Peak memory", _mib)):
        apart = spread_from(list(parts), [value(mined) for mined in parts.values()], 0)
        spread = "" if apart is None else f" (highest {apart:.0%} above lowest)"
        met = None if apart is None else apart <= FLAT_WITHIN
        lines.append(pages.goal(met, f"{what} flat within {FLAT_WITHIN:.0%} over the partitions{spread}"))
    return lines


def _plot(engines: Mapping[str, Sequence[Mined]]) -> str:
    seconds = {
        stage: [statistics.median(one.stage_seconds(stage) for one in mined) for mined in engines.values()]
        for stage in STAGES
    }
    whole = {"whole": [_seconds(mined) for mined in engines.values()]}
    memory = {"peak": [_mib(mined) for mined in engines.values()]}
    return charts.bars(
        "engines",
        [charts.Panel("seconds", list(engines), {**whole, **seconds}), charts.Panel("MiB", list(engines), memory)],
    )


if __name__ == "__main__":
    main()
