"""Scheduling: what a partition costs beside its work, on a Ray cluster of three nodes, and what the driver holds.

`python -m benchmarks.scheduling` mines tiny partitions on three Ray nodes of this machine, more and more of them, kills
the largest run once in the middle and starts it again, and writes benchmarks/scheduling.md.
"""

import argparse
import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import charts, pages
from benchmarks.committed import committed, killed
from benchmarks.growth import STAGES
from benchmarks.mining import Mined, given_vectors, mine, written_command
from benchmarks.processes import with_packages
from benchmarks.sources import write_sources
from benchmarks.synthetic import Hard
from infra.local.ray_nodes import Cluster, Node, ray_cluster

SIZES = (1_000, 3_000, 10_000)
NODES = 3
DIMENSION, ROWS = 16, 8  # of a vector, and of a partition
PARTITIONS_PER_FILE = 50
PARTITIONS_PER_QUERY_PARTITION = 100
SHARDS = 40
K = 16
DRIVER_MIB_AT_MOST = 2048
LINEAR_WITHIN = 0.30


@dataclass(frozen=True)
class Scheduled:
    """One run.

    Attributes:
        mined: the process, and what it says of itself.
        units: that were committed, of all stages.
        records: files that commit them.
    """

    mined: Mined
    units: int
    records: int


@dataclass(frozen=True)
class Restarted:
    """A run that was killed, and started again.

    Attributes:
        step: in which it was killed.
        done: units of the step that were committed then, and units that it has.
        killed_after: seconds.
        mined: the second process.
        redone: units, of all stages, that were committed when it was killed and were committed again.
        rewritten: records that were there when it was killed and are not there, or were written again.
        same: whether its rows are those of a run that was not killed.
    """

    step: str
    done: tuple[int, int]
    killed_after: float
    mined: Mined
    redone: int
    rewritten: int
    same: bool


def main() -> None:
    """Run all sizes, kill the largest once, and write the page."""
    parser = pages.parser(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), metavar="PARTITIONS")
    args = parser.parse_args()
    scratch = args.scratch.resolve()
    runs: dict[int, list[Scheduled]] = {size: [] for size in sorted(args.sizes)}
    for _ in range(args.rounds):
        for size, done in runs.items():
            done.append(_anew(size, scratch))
    largest = max(runs)
    restarted = _restarted(largest, scratch)
    shutil.rmtree(scratch / "run-scheduling")
    pages.write("scheduling", _page(runs, restarted, _about(args)))


def _about(args: argparse.Namespace) -> str:
    return (
        f"Partitions of {ROWS} documents with vectors of {DIMENSION} dimensions, {PARTITIONS_PER_FILE} to a source "
        f"file; a partition of {ROWS} queries for each {PARTITIONS_PER_QUERY_PARTITION} of them, searched in {SHARDS} "
        f"shards one by one. Ray on {NODES} nodes of one core on this machine, `engine.workers: {NODES}`: all work is "
        f"done on workers. Whole processes on a cluster that is there, a new one for each. `driver` is `hardneg mine` "
        f"alone: the seconds that it took of the cores, and its highest resident set. `all` is the highest sum of the "
        f"proportional set sizes of it and of the nodes. {pages.rounds_of(args.rounds)}"
    )


@contextmanager
def _cluster() -> Iterator[Cluster]:
    packages = {name: with_packages()[name] for name in ("HF_HUB_OFFLINE", "PYTHONPATH")}
    with ray_cluster([Node()] * NODES, environment=packages) as cluster:
        yield cluster


def _anew(size: int, scratch: Path) -> Scheduled:
    """Mine so many partitions into an empty run directory; it stays there."""
    run = scratch / "run-scheduling" / f"{size}"
    shutil.rmtree(run, ignore_errors=True)
    sources = _sources(size, scratch)
    with _cluster() as cluster:
        mined = _mined(_settings(size, sources, cluster), run, cluster)
    shutil.rmtree(sources)
    done = committed(run)
    pages.tell(f"{size:,} partitions: {mined.measured.seconds:.0f} s, driver {mined.measured.first_mib:,} MiB")
    return Scheduled(mined, units=len(done.units), records=len(done.records))


def _mined(settings: Mapping[str, Any], run: Path, cluster: Cluster) -> Mined:
    beside = [node.pid for node in cluster.nodes]
    return mine(settings, "ray", run, environment=cluster.environment, beside=beside)


def _sources(size: int, scratch: Path) -> Path:
    folder = scratch / "sources-scheduling"
    shutil.rmtree(folder, ignore_errors=True)
    cloud, queries = Hard(0, dimension=DIMENSION), -(-size // PARTITIONS_PER_QUERY_PARTITION) * ROWS
    write_sources(cloud, folder, size * ROWS, queries, rows_per_file=PARTITIONS_PER_FILE * ROWS)
    return folder


def _settings(size: int, sources: Path, cluster: Cluster) -> dict[str, Any]:
    settings = given_vectors(sources, "auto")
    return {
        "data": {**settings["data"], "partition_rows": ROWS},
        "index": {"factory": "exact", "shard_rows": -(-size // SHARDS) * ROWS},
        "search": {"k": K, "max_k": K},
        "select": {"range_max": K},
        "engine": {"address": cluster.address, "workers": NODES},
    }


def _restarted(size: int, scratch: Path) -> Restarted:
    """Mine so many partitions, kill the driver when half of the search is done, and start it again."""
    whole, run, step = scratch / "run-scheduling" / f"{size}", scratch / "run-scheduling" / "killed", f"search-{K}"
    shutil.rmtree(run, ignore_errors=True)
    sources = _sources(size, scratch)
    units = SHARDS * -(-size // PARTITIONS_PER_QUERY_PARTITION)
    with _cluster() as cluster:
        settings = _settings(size, sources, cluster)
        command = written_command(settings, "ray", run)
        seconds = killed(command, run, cluster.environment, step, units // 2)
        before = committed(run)
        mined = _mined(settings, run, cluster)
    shutil.rmtree(sources)
    after = committed(run)
    restarted = Restarted(
        step=step,
        done=(before.of_step(step), units),
        killed_after=seconds,
        mined=mined,
        redone=before.done_again(after),
        rewritten=before.rewritten(after),
        same=_rows(run).equals(_rows(whole)),
    )
    pages.tell(f"killed after {seconds:.0f} s, and finished in {mined.measured.seconds:.0f} s")
    return restarted


def _rows(run: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(file) for file in sorted((run / "dataset").glob("triplet/*.parquet"))])


def fitted(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Return the line through seconds over sizes, by least squares: seconds for each, and seconds at 0."""
    slope, start = np.polyfit(sizes, seconds, 1)
    return float(slope), float(start)


def off_the_line(sizes: Sequence[int], seconds: Sequence[float]) -> float | None:
    """Return by how much the largest size takes longer than the line through the smaller ones says; None for few."""
    if len(sizes) < 3:
        return None
    slope, start = fitted(sizes[:-1], seconds[:-1])
    return seconds[-1] / (start + slope * sizes[-1]) - 1


def _page(runs: Mapping[int, Sequence[Scheduled]], restarted: Restarted, about: str) -> list[str]:
    head = [
        "partitions",
        "units",
        "records",
        "seconds",
        *(f"{stage}, s" for stage in STAGES),
        "driver, s of a core",
        "driver, MiB",
        "all, MiB",
    ]
    sizes = list(runs)
    seconds = [_median([one.mined.measured.seconds for one in done]) for done in runs.values()]
    return [
        pages.heading("Scheduling: partitions with next to no work, on three Ray nodes", "scheduling"),
        about,
        _plot(runs),
        pages.table(head, [_row(size, done) for size, done in runs.items()]),
        *_lines(runs, sizes, seconds),
        "## Killed in the middle",
        _told(restarted, max(sizes), seconds[-1]),
        "\n".join(_goals(runs, off_the_line(sizes, seconds), restarted)),
    ]


def _row(size: int, done: Sequence[Scheduled]) -> list[str]:
    mined = [one.mined for one in done]
    return [
        f"{size:,}",
        f"{done[-1].units:,}",
        pages.spread([one.records for one in done]),
        pages.spread([one.measured.seconds for one in mined]),
        *(pages.spread([one.stage_seconds(stage) for one in mined], 1) for stage in STAGES),
        pages.spread([one.measured.first_cpu_seconds for one in mined], 1),
        pages.spread([one.measured.first_mib for one in mined]),
        pages.spread([one.measured.peak_mib for one in mined]),
    ]


def _lines(runs: Mapping[int, Sequence[Scheduled]], sizes: Sequence[int], seconds: Sequence[float]) -> list[str]:
    """Fit a line to the whole, to each stage and to what the driver takes."""
    if len(sizes) < 2:
        return []
    stages = {stage: [_stage(done, stage) for done in runs.values()] for stage in STAGES}
    measured = [[one.mined.measured for one in done] for done in runs.values()]
    driver = [_median([one.first_cpu_seconds for one in done]) for done in measured]
    mib = [_median([one.first_mib for one in done]) for done in measured]
    lines = {name: fitted(sizes, values) for name, values in {"whole": seconds, **stages, "driver": driver}.items()}
    rows = [[name, f"{1000 * slope:.2f}", f"{start:.1f}"] for name, (slope, start) in lines.items()]
    return [
        "Lines by least squares; that of the driver is of its seconds of a core:",
        pages.table(["", "ms a partition", "s at none"], rows),
        f"The resident set of the driver grows by {1024 * fitted(sizes, mib)[0]:.1f} KiB a partition.",
    ]


def _told(restarted: Restarted, size: int, whole: float) -> str:
    done, units = restarted.done
    second = restarted.mined.measured
    return (
        f"{size:,} partitions; the driver was killed with SIGKILL after {restarted.killed_after:,.0f} s, when {done:,} "
        f"of the {units:,} units of `{restarted.step}` were committed. The same command then took "
        f"{second.seconds:,.0f} s, with a driver of {second.first_mib:,} MiB: {restarted.killed_after:,.0f} + "
        f"{second.seconds:,.0f} s, where the run that was not killed took {whole:,.0f} s. Units that were committed "
        f"before the kill and again after it: {restarted.redone:,}; records from before it that were written again or "
        f"are gone: {restarted.rewritten:,}."
    )


def _goals(runs: Mapping[int, Sequence[Scheduled]], off: float | None, restarted: Restarted) -> list[str]:
    drivers = [one.mined.measured.first_mib for done in runs.values() for one in done]
    highest = max(*drivers, restarted.mined.measured.first_mib)
    linear = None if off is None else off <= LINEAR_WITHIN
    told = "" if off is None else f" ({off:+.0%})"
    return [
        pages.goal(highest <= DRIVER_MIB_AT_MOST, f"Driver under 2 GiB (highest {highest:,} MiB)"),
        pages.goal(linear, f"Linear: the largest at most {LINEAR_WITHIN:.0%} above the line of the smaller ones{told}"),
        pages.goal(restarted.same, "The same rows after the kill"),
        pages.goal(not restarted.redone and not restarted.rewritten, "No committed unit done again after the kill"),
    ]


def _plot(runs: Mapping[int, Sequence[Scheduled]]) -> str:
    sizes = [float(size) for size in runs]
    stages = {stage: [_stage(done, stage) for done in runs.values()] for stage in STAGES}
    whole = [_median([one.mined.measured.seconds for one in done]) for done in runs.values()]
    driver = [_median([one.mined.measured.first_mib for one in done]) for done in runs.values()]
    memory = charts.Panel("MiB of the driver", sizes, {"driver": driver}, ceiling=DRIVER_MIB_AT_MOST)
    return charts.lines("scheduling", [charts.Panel("seconds", sizes, {"whole": whole, **stages}), memory])


def _stage(done: Sequence[Scheduled], stage: str) -> float:
    return _median([one.mined.stage_seconds(stage) for one in done])


def _median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


if __name__ == "__main__":
    main()
