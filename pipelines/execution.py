"""Run the steps of a stage on an engine: skip the units that are done, commit each that is, and show the progress."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from pipelines.engines import Engine, Gather, Pool, Result, Route, Shuffle, Stats, Unit, Work, bucket_name
from pipelines.progress import Progress
from pipelines.run_directory import StageFolder

Timed = TypeVar("Timed")


@dataclass(frozen=True)
class Completed:
    """A stage that is complete: its folder and what it said in its manifest."""

    folder: StageFolder
    manifest: Mapping[str, Any]

    def parts(self, kind: str) -> list[dict[str, Any]]:
        """Return the data files of one kind: {path, rows}."""
        return list(self.manifest["parts"][kind])


@dataclass(frozen=True)
class Execution:
    """What a stage gets to run with: where to write, what it builds on, the engine, and how to show progress."""

    folder: StageFolder
    inputs: Mapping[str, Completed]
    engine: Engine
    progress: Progress

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool = Pool()) -> list[Stats]:  # noqa: B008 - Pool is frozen
        """Do the units of a step that are not done yet; return the statistics of all, in the order of `units`.

        `found` in the statistics tells which had been done before.
        """
        done = self._done(step, [unit.name for unit in units])
        todo = [unit for unit in units if unit.name not in done]
        if todo:
            committed = partial(CommittedWork, make, self.folder, step)
            self._follow(step, done, len(units), self.engine.map(committed, todo, pool))
        return [done[unit.name] for unit in units]

    def shuffle(self, step: str, shuffle: Shuffle) -> list[Stats]:
        """Gather the buckets that are not gathered yet; return the statistics of all, in the order of the buckets."""
        names = [bucket_name(bucket) for bucket in shuffle.buckets]
        done = self._done(step, names)
        missing = [bucket for bucket in shuffle.buckets if bucket_name(bucket) not in done]
        if missing:
            needed = replace(
                shuffle,
                make_route=partial(RouteToMissing, shuffle.make_route, frozenset(missing)),
                gather=CommittedGather(shuffle.gather, self.folder, step),
                buckets=missing,
            )
            self._follow(step, done, len(names), self.engine.shuffle(needed))
        return [done[name] for name in names]

    def _done(self, step: str, names: Sequence[str]) -> dict[str, Stats]:
        known = set(names)
        done = self.folder.done_units(step)
        return {name: {**stats, "found": True} for name, stats in done.items() if name in known}

    def _follow(self, step: str, done: dict[str, Stats], total: int, results: Iterator[Result]) -> None:
        with self.progress.step(step, total, len(done)) as advance:
            for name, stats in results:
                done[name] = {**stats, "found": False}
                advance(stats)
        if len(done) < total:
            raise RuntimeError(f"The engine lost {total - len(done)} of {total} units of {step}.")


class CommittedWork:
    """Work that commits each unit when it is done, on the worker that did it."""

    def __init__(self, make: Callable[[], Work], folder: StageFolder, step: str) -> None:
        self.work, self.folder, self.step = make(), folder, step

    def __call__(self, unit: Unit) -> Stats:
        """Do one unit and commit it."""
        return _committed(self.folder, self.step, unit.name, lambda: self.work(unit))


class RouteToMissing:
    """Routing to the buckets that are not gathered yet; the others were, before the run was interrupted."""

    def __init__(self, make: Callable[[], Route], missing: frozenset[int]) -> None:
        self.route, self.missing = make(), missing

    def __call__(self, unit: Unit) -> Iterator[tuple[int, pa.Table]]:
        """Route one unit."""
        return ((bucket, table) for bucket, table in self.route(unit) if bucket in self.missing)


@dataclass(frozen=True)
class CommittedGather:
    """Gathering that commits each bucket when it is done."""

    gather: Gather
    folder: StageFolder
    step: str

    def __call__(self, bucket: int, table: pa.Table) -> Stats:
        """Gather one bucket and commit it."""
        return _committed(self.folder, self.step, bucket_name(bucket), lambda: self.gather(bucket, table))


def _committed(folder: StageFolder, step: str, name: str, work: Callable[[], Stats]) -> Stats:
    began = time.perf_counter()
    stats = {**work(), "seconds": round(time.perf_counter() - began, 4)}
    stats["worker"] = f"{socket.gethostname()}/{os.getpid()}"
    folder.commit_unit(step, name, stats)
    return stats


def timed(work: Callable[..., Timed], *args: Any) -> tuple[Timed, float]:  # noqa: ANN401 - what the work takes
    """Call something; return what it gave and the seconds that it took."""
    began = time.perf_counter()
    given = work(*args)
    return given, round(time.perf_counter() - began, 4)


def added(stats: Sequence[Stats], key: str) -> dict[str, int]:
    """Add up the counts, by reason, that every unit gives under a key."""
    total: dict[str, int] = {}
    for one in stats:
        for reason, count in one.get(key, {}).items():
            total[reason] = total.get(reason, 0) + count
    return total
