"""Run the steps of a stage on an engine: skip the units that are done, commit each that is, and show the progress."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from pipelines.runtime.engines import Engine, Pool, Stats, Unit
from pipelines.runtime.engines import Work as BatchWork
from pipelines.runtime.progress import Progress
from pipelines.runtime.shuffle import GatherGroups, Groups, Routed, RouteUnits, Shuffle, routed_folder, routed_in
from pipelines.runtime.steps import Step, StepProgress
from pipelines.runtime.storage.records import UNITS
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.runtime.unit_progress import forget_notes, rows_noted

Timed = TypeVar("Timed")
Work = Callable[[Unit], Stats]


@dataclass(frozen=True)
class StageOutput:
    """A stage that is complete: its folder and what it said in its manifest."""

    folder: StageFolder
    manifest: Mapping[str, Any]

    def parts(self, kind: str) -> list[dict[str, Any]]:
        """Return the data files of one kind: {path, rows}."""
        return list(self.manifest["parts"][kind])


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
    inputs: Mapping[str, StageOutput]
    engine: Engine
    progress: Progress

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool | None = None) -> list[Stats]:
        """Do the units of a step that are not done yet; return the statistics of all, in the order of `units`.

        `found` in the statistics tells which had been done before. Without a pool, the work is little more than to read
        what the arguments of the units name (`bytes`, as records of files have them).
        """
        following = self._following(step, units)
        todo = [unit for unit in units if unit.name not in following.done]
        if todo:
            self._do(following, partial(CommittedWork, make, following.step), todo, pool)
        return [following.done[unit.name] for unit in units]

    def done(self, step: str, units: Sequence[str]) -> dict[str, Stats]:
        """Return the statistics of those units of a step that are done already, by name."""
        return StepProgress(Step(self.folder, step), frozenset(units)).done

    def shuffle(self, step: str, shuffle: Shuffle) -> list[Stats]:
        """Gather the buckets that are not gathered yet; return the statistics of all, in the order of the buckets."""
        gathered, route = self._following(step, shuffle.buckets), f"{step}-route"
        groups = Groups(len(shuffle.buckets))
        missing = _missing(shuffle.buckets, groups, gathered.done)
        if missing:
            files = self._routed(route, shuffle, groups)
            ranges = files.written(self.folder, route)
            gathering = partial(GatherGroups, shuffle.make_gather, shuffle.schema, ranges, gathered.step)
            reads = files.size + _bytes_in([unit.args for unit in missing])
            self._do(gathered, gathering, missing, Pool(reads=reads))
        self.folder.clear(routed_folder(route))
        return [gathered.done[bucket.name] for bucket in shuffle.buckets]

    def _routed(self, step: str, shuffle: Shuffle, groups: Groups) -> Routed:
        """Route the units that are not routed yet; return the files of all."""
        following = self._following(step, shuffle.units)
        routing = partial(RouteUnits, shuffle.make_route, shuffle.schema, groups, following.step)
        while True:
            todo = [unit for unit in shuffle.units if unit.name not in following.done]
            if todo:
                self._do(following, routing, todo, shuffle.pool)
            files, left = routed_in(following.done, groups)
            if not left:
                return files
            following.forget(left)

    def _following(self, step: str, units: Sequence[Unit]) -> StepProgress:
        return StepProgress(Step(self.folder, step), frozenset(unit.name for unit in units))

    def _do(
        self, following: StepProgress, make: Callable[[], BatchWork], units: Sequence[Unit], pool: Pool | None
    ) -> None:
        """Have an engine do what is left of a step; afterwards its units are all done, or there is an error."""
        step, needed = following.step, pool or Pool(reads=_bytes_in([unit.args for unit in units]))
        forget_notes(self.folder, f"{UNITS}/{step.name}")
        self.folder.begin_step(step.name, len(following.names), len(following.done))
        with self.progress.step(step.name, len(following.names), lambda: _seen(following)):
            try:
                self.engine.map(f"{self.stage}/{step.name}", make, units, needed)
            except Exception as error:
                failure = step.pop_failure()
                if failure is not None:
                    raise failure from error
                raise
        following.refresh()
        lost = following.names - following.done.keys()
        if lost:
            raise RuntimeError(f"The engine lost {len(lost)} of {len(following.names)} units of {step.name}.")


def _seen(following: StepProgress) -> tuple[int, int]:
    """Look at a step; return how many units are done, and how many rows they and those in work have."""
    following.refresh()
    step = following.step
    noted = rows_noted(step.folder, f"{UNITS}/{step.name}", following.names - following.done.keys())
    return len(following.done), following.rows + noted


def _bytes_in(args: object) -> int:
    """Add up the sizes of the files that the arguments of units name, however deep."""
    if isinstance(args, Mapping):
        return int(args.get("bytes", 0)) + sum(map(_bytes_in, args.values()))
    return sum(map(_bytes_in, args)) if isinstance(args, list | tuple) else 0


def _missing(buckets: Sequence[Unit], groups: Groups, done: Mapping[str, Stats]) -> list[Unit]:
    """Return the groups of the buckets that are not gathered, as units."""
    group = groups.of(np.arange(len(buckets)))
    missing: dict[int, dict[str, Any]] = {}
    for number, bucket in enumerate(buckets):
        if bucket.name not in done:
            missing.setdefault(int(group[number]), {})[str(number)] = [bucket.name, dict(bucket.args)]
    return [Unit(f"{number:05d}", {"group": number, "buckets": some}) for number, some in missing.items()]


class CommittedWork:
    """Work that commits units when they are done, on the worker that did them."""

    def __init__(self, make: Callable[[], Work], step: Step) -> None:
        self.step = step
        with step.failing("making"):
            self.work = make()

    def __call__(self, batch: Sequence[Unit]) -> list[Stats]:
        """Do a batch of units and commit them."""
        with self.step.committing(batch[0].name) as commits:
            return [commits.once(unit.name, partial(self.work, unit)) for unit in batch]


def timed(work: Callable[..., Timed], *args: Any) -> tuple[Timed, float]:  # noqa: ANN401 - what the work takes
    """Call something; return what it gave and the seconds that it took."""
    began = time.perf_counter()
    given = work(*args)
    return given, round(time.perf_counter() - began, 4)


def sum_counts(stats: Sequence[Stats], key: str) -> dict[str, int]:
    """Add up the counts, by reason, that every unit gives under a key."""
    total: dict[str, int] = {}
    for one in stats:
        for reason, count in one.get(key, {}).items():
            total[reason] = total.get(reason, 0) + count
    return total
