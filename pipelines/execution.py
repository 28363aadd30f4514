"""Run the steps of a stage on an engine: skip the units that are done, commit each that is, and show the progress."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from pipelines.engines import Engine, Gather, Pool, Route, Shuffle, Stats, Unit, Work
from pipelines.progress import Progress
from pipelines.rows_so_far import forget_notes, rows_noted
from pipelines.steps import Step, StepProgress
from pipelines.storage.records import UNITS
from pipelines.storage.run_directory import StageFolder

Timed = TypeVar("Timed")
GatherStats = Callable[[int, Sequence[Stats]], Stats]

# What units say, on its way to where it is gathered: JSON.
SAID = pa.schema({"unit": pa.string(), "stats": pa.string()})


@dataclass(frozen=True)
class Completed:
    """A stage that is complete: its folder and what it said in its manifest."""

    folder: StageFolder
    manifest: Mapping[str, Any]

    def parts(self, kind: str) -> list[dict[str, Any]]:
        """Return the data files of one kind: {path, rows}."""
        return list(self.manifest["parts"][kind])


@dataclass(frozen=True)
class Gathering:
    """What is done with what the units of a bucket say.

    Attributes:
        gather: is called with the bucket and with the statistics of its units, in the order of their names.
        pool: of what does the units.
    """

    gather: GatherStats
    pool: Pool


@dataclass(frozen=True)
class Execution:
    """What a stage gets to run with.

    Attributes:
        stage: its name.
        folder: where to write.
        inputs: the stages that it builds on.
        engine: where its units are done.
        progress: where to show how far it is.
    """

    stage: str
    folder: StageFolder
    inputs: Mapping[str, Completed]
    engine: Engine
    progress: Progress

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool = Pool()) -> list[Stats]:  # noqa: B008 - Pool is frozen
        """Do the units of a step that are not done yet; return the statistics of all, in the order of `units`.

        `found` in the statistics tells which had been done before.
        """
        following = self._following(step, [unit.name for unit in units])
        todo = [unit for unit in units if unit.name not in following.done]
        if todo:
            work = partial(CommittedWork, make, following.step)
            self._do([following], lambda: self.engine.map(f"{self.stage}/{step}", work, todo, pool))
        return [following.done[unit.name] for unit in units]

    def done(self, step: str, units: Sequence[str]) -> dict[str, Stats]:
        """Return the statistics of those units of a step that are done already, by name."""
        return dict(self._following(step, units).done)

    def shuffle(self, step: str, shuffle: Shuffle) -> list[Stats]:
        """Gather the buckets that are not gathered yet; return the statistics of all, in the order of the buckets."""
        following = self._following(step, [bucket_name(bucket) for bucket in shuffle.buckets])
        missing = [bucket for bucket in shuffle.buckets if bucket_name(bucket) not in following.done]
        if missing:
            needed = replace(
                shuffle,
                make_route=partial(RouteToMissing, shuffle.make_route, following.step, frozenset(missing)),
                gather=CommittedGather(shuffle.gather, following.step),
                buckets=missing,
            )
            self._do([following], lambda: self.engine.shuffle(f"{self.stage}/{step}", needed))
        return [following.done[bucket_name(bucket)] for bucket in shuffle.buckets]

    def map_and_gather(
        self, steps: tuple[str, str], make: Callable[[], Work], units: Sequence[tuple[int, Unit]], gathering: Gathering
    ) -> dict[int, Stats]:
        """Do units, and bring what those of each bucket say to one place; return what gathering says, by bucket.

        Args:
            steps: the names of the doing and of the gathering.
            make: makes the work on the worker.
            units: (bucket, unit), in the order in which they are best done.
            gathering: what is done with what they say, and the pool that does the units.
        """
        first, second = steps
        buckets = sorted({bucket for bucket, _ in units})
        gathered = self._following(second, [bucket_name(bucket) for bucket in buckets])
        missing = [bucket for bucket in buckets if bucket_name(bucket) not in gathered.done]
        if missing:
            wanted = set(missing)
            todo = [
                Unit(unit.name, {"bucket": bucket, "args": unit.args}) for bucket, unit in units if bucket in wanted
            ]
            mapped = self._following(first, [unit.name for unit in todo])
            route = partial(RouteSaid, make, mapped.step)
            gather = CommittedGather(GatherSaid(gathering.gather), gathered.step)
            needed = Shuffle(route, todo, gather, missing, SAID, gathering.pool)
            followed = [mapped, gathered]
            self._do(followed, lambda: self.engine.shuffle(f"{self.stage}/{first}", needed))
        return {bucket: gathered.done[bucket_name(bucket)] for bucket in buckets}

    def _following(self, step: str, names: Sequence[str]) -> StepProgress:
        return StepProgress(Step(self.folder, step), frozenset(names))

    def _do(self, steps: Sequence[StepProgress], doing: Callable[[], None]) -> None:
        """Have an engine do what is left of some steps; afterwards their units are all done, or there is an error."""
        for step in steps:
            forget_notes(self.folder, f"{UNITS}/{step.step.name}")
            self.folder.begin_step(step.step.name, len(step.names), len(step.done))
        total = sum(len(step.names) for step in steps)
        with self.progress.step(steps[0].step.name, total, lambda: _seen(steps)):
            try:
                doing()
            except Exception as error:
                for step in steps:
                    failure = step.step.take_failure()
                    if failure is not None:
                        raise failure from error
                raise
        for step in steps:
            step.look()
            lost = step.names - step.done.keys()
            if lost:
                raise RuntimeError(f"The engine lost {len(lost)} of {len(step.names)} units of {step.step.name}.")


def _seen(steps: Sequence[StepProgress]) -> tuple[int, int]:
    """Look at steps; return how many units are done, and how many rows they and those in work have."""
    rows = 0
    for step in steps:
        step.look()
        rows += step.rows + rows_noted(step.step.folder, f"{UNITS}/{step.step.name}", step.names - step.done.keys())
    return sum(len(step.done) for step in steps), rows


class CommittedWork:
    """Work that commits each unit when it is done, on the worker that did it."""

    def __init__(self, make: Callable[[], Work], step: Step) -> None:
        self.step = step
        with step.failing("making"):
            self.work = make()

    def __call__(self, unit: Unit) -> Stats:
        """Do one unit and commit it."""
        return self.step.committed(unit.name, lambda: self.work(unit))


class RouteToMissing:
    """Routing to the buckets that are not gathered yet; the others were, before the run was interrupted."""

    def __init__(self, make: Callable[[], Route], step: Step, missing: frozenset[int]) -> None:
        self.step, self.missing = step, missing
        with step.failing("making"):
            self.route = make()

    def __call__(self, unit: Unit) -> Iterator[tuple[int, pa.Table]]:
        """Route one unit."""
        with self.step.failing(f"routing-{unit.name}"):
            yield from ((bucket, table) for bucket, table in self.route(unit) if bucket in self.missing)


class RouteSaid:
    """Doing units, and routing what they say to their bucket."""

    def __init__(self, make: Callable[[], Work], step: Step) -> None:
        self.work = CommittedWork(make, step)

    def __call__(self, unit: Unit) -> Iterator[tuple[int, pa.Table]]:
        """Do one unit."""
        stats = self.work(Unit(unit.name, unit.args["args"]))
        yield unit.args["bucket"], pa.table({"unit": [unit.name], "stats": [json.dumps(stats)]}, schema=SAID)


@dataclass(frozen=True)
class GatherSaid:
    """Gathering of what units said."""

    gather: GatherStats

    def __call__(self, bucket: int, said: pa.Table) -> Stats:
        """Gather one bucket."""
        return self.gather(bucket, [json.loads(stats) for stats in said.sort_by("unit").column("stats").to_pylist()])


@dataclass(frozen=True)
class CommittedGather:
    """Gathering that commits each bucket when it is done."""

    gather: Gather
    step: Step

    def __call__(self, bucket: int, table: pa.Table) -> Stats:
        """Gather one bucket and commit it."""
        return self.step.committed(bucket_name(bucket), lambda: self.gather(bucket, table))


def bucket_name(bucket: int) -> str:
    """Return the name under which a bucket is committed."""
    return f"{bucket:05d}"


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
