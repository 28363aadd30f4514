"""A pipeline: stages in their order, what of their output can be reused, and the run of the rest."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from operators.errors import InputError
from pipelines.runtime.engines import Engine
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.progress import Progress
from pipelines.runtime.stage import Stage, group_of
from pipelines.runtime.status import rows_reused
from pipelines.runtime.storage.records import files_in
from pipelines.runtime.storage.run_directory import PLAN, RunDirectory, StageFolder, fingerprint

SHOWN_DAMAGES = 5


@dataclass(frozen=True)
class PlannedStage:
    """A stage, where it would write, and whether that is there already.

    Attributes:
        stage: what would run.
        folder: where it would write.
        fingerprint: of its settings and inputs.
        manifest: of the complete stage; None where it has to run.
        partial: whether some of it is there.
        damaged: what is wrong with its files, where it was complete.
    """

    stage: Stage
    folder: StageFolder
    fingerprint: str
    manifest: Mapping[str, Any] | None
    partial: bool
    damaged: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """The stages of a run that are complete, and which of them had been before."""

    completed: Mapping[str, StageOutput]
    reused: Mapping[str, bool]


@dataclass
class Pipeline:
    """Stages in the order in which they run, and the run directory in which they write.

    Attributes:
        stages: every stage comes after its inputs.
        run_directory: where they write.
    """

    stages: Sequence[Stage]
    run_directory: RunDirectory
    _ran: set[str] = field(default_factory=set, init=False)
    _begun: set[str] = field(default_factory=set, init=False)  # of those that ran, the ones of which nothing was there

    def check_run(self) -> None:
        """Refuse a run directory in which a stage cannot publish.

        Raises:
            InputError: it cannot.
        """
        for stage in self.stages:
            stage.check_run(self.run_directory)

    def plan(self) -> list[PlannedStage]:
        """Return for every stage whether it would be reused. Writes nothing."""
        fingerprints: dict[str, str] = {}
        planned = []
        for stage in self.stages:
            mark = fingerprint(stage.name, stage.settings(), [fingerprints[name] for name in stage.inputs])
            fingerprints[stage.name] = mark
            content_settings = stage.content_settings()
            if content_settings is None:
                folder = self.run_directory.stage(stage.name, mark)
            else:
                units = fingerprint(stage.name, content_settings, [])
                folder = self.run_directory.content_addressed_stage(stage.name, units, mark)
            manifest = folder.manifest()
            if manifest is not None and manifest["fingerprint"] != mark:  # of another folder, copied here
                manifest = None
            damaged = [] if manifest is None else folder.differing(list(files_in(manifest["parts"])))
            if damaged:
                manifest = None
            found = [f"{folder.uri}/{record['path']}: {what}" for record, what in damaged]
            partial = manifest is None and folder.exists()
            planned.append(PlannedStage(stage, folder, mark, manifest, partial, found))
        return planned

    def run(self, until: str, engine: Engine, progress: Progress, *, recorded: bool = True) -> Outcome:
        """Run the stages up to one of them, or to the last of the group it names (`search` is both of its rounds).

        What is complete is reused. Input that is refused leaves nothing of its stage behind, and nothing at all where
        this run had only done stages whose output costs little; what was there before this run stays.

        Args:
            until: the last stage, or group of stages; empty for all.
            engine: where it runs.
            progress: where to show how far it is.
            recorded: the status of the run directory becomes that of these stages.

        Raises:
            InputError: the input is refused.
            DamagedError: a file of a stage that was reused is damaged.
        """
        completed: dict[str, StageOutput] = {}
        reused: dict[str, bool] = {}
        everything = self.plan()
        stages = [(one.stage.name, one.folder) for one in everything]
        first = recorded and self.run_directory.write_stage_list(engine.name, stages)
        for planned in _up_to(until, everything):
            stage, manifest = planned.stage, planned.manifest
            reused[stage.name] = manifest is not None and stage.name not in self._ran
            try:
                if manifest is None:
                    self._begin(planned, progress)
                    manifest = self._run_stage(planned, completed, engine, progress)
                else:
                    manifest = _without_left(planned.folder, manifest)
                completed[stage.name] = StageOutput(planned.folder, manifest)
                self._check(stage.name, completed)
            except InputError:
                growing = stage.content_settings() is not None  # its units are right, whatever they are part of
                new = stage.name in self._begun and stage.name not in completed and not growing
                self._clear([*([planned.folder] if new else []), *self._not_kept(completed)])
                if first:
                    self.run_directory.remove(PLAN)
                raise
            progress.say(line_of(stage.name, manifest, reused[stage.name]))
            for warning in stage.warnings(manifest):
                progress.say(f"warning: {stage.name}: {warning}")
        return Outcome(completed, reused)

    def check_complete(self, until: str) -> None:
        """Check that everything up to a stage is there already.

        Raises:
            InputError: it is not.
        """
        missing = next((one.stage.name for one in _up_to(until, self.plan()) if one.manifest is None), None)
        if missing is not None:
            raise InputError(
                f"{self.run_directory.uri}: {missing} is not complete for this configuration; "
                f"run `hardneg mine CONFIG --until {until}` first."
            )

    def _begin(self, planned: PlannedStage, progress: Progress) -> None:
        stage = planned.stage
        self._ran.add(stage.name)
        if not planned.partial:
            self._begun.add(stage.name)
        progress.stage = stage.name
        for line in planned.damaged[:SHOWN_DAMAGES]:
            progress.say(f"warning: {line}. It is written again.")
        if planned.partial or stage.announced:
            progress.say(f"{stage.name}: {'going on' if planned.partial else 'starting'}")

    def _check(self, completed_now: str, completed: Mapping[str, StageOutput]) -> None:
        """Have every stage check what it can, as soon as what it looks at is complete."""
        here = {stage.name for stage in self.stages}
        for stage in self.stages:
            after = here.intersection(stage.checked_after)
            if completed_now in after and after <= completed.keys():
                stage.check({name: completed[name] for name in after})

    def _not_kept(self, completed: Mapping[str, StageOutput]) -> list[StageFolder]:
        """Return what this run wrote, if none of it is to be kept: a refusal leaves nothing of it."""
        stages = [stage for stage in self.stages if stage.name in completed and stage.name in self._ran]
        if any(stage.kept_when_refused for stage in stages):
            return []
        return [completed[stage.name].folder for stage in stages if stage.name in self._begun]

    def _run_stage(
        self, planned: PlannedStage, completed: Mapping[str, StageOutput], engine: Engine, progress: Progress
    ) -> Mapping[str, Any]:
        stage, folder = planned.stage, planned.folder
        began = time.perf_counter()
        inputs = {name: completed[name] for name in stage.inputs}
        summary = stage.run(Execution(stage.name, folder, inputs, engine, progress))
        left = {"temporary": list(summary.temporary), "replaced": list(summary.replaced)}
        manifest = {
            "stage": stage.name,
            "fingerprint": planned.fingerprint,
            "settings": stage.settings(),
            "inputs": {name: one.manifest["fingerprint"] for name, one in inputs.items()},
            "engine": engine.name,
            "version": version("hardneg"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - began, 3),
            "resumed": planned.partial,  # some of it had been done before these seconds
            **summary.manifest(),
        }
        if any(left.values()):
            manifest["left"] = left
        folder.commit(manifest)
        return _without_left(folder, manifest)

    def _clear(self, folders: Sequence[StageFolder]) -> None:
        """Remove what was written for input that was refused, and the folders above it that are empty then."""
        root = self.run_directory.path()
        for folder in folders:
            folder.clear()
            above = folder.path()[len(root) + 1 :].rpartition("/")[0]
            while self.run_directory.remove_if_empty(above) and above:
                above = above.rpartition("/")[0]


def _without_left(folder: StageFolder, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Remove what a complete stage needs no more; a run that was killed meanwhile leaves that to the next."""
    if "left" not in manifest:
        return manifest
    for name in manifest["left"]["temporary"]:
        folder.clear(name)
    folder.remove_all(manifest["left"]["replaced"])
    cleared = {name: value for name, value in manifest.items() if name != "left"}
    folder.commit(cleared)
    return cleared


def _up_to(until: str, planned: Sequence[PlannedStage]) -> Sequence[PlannedStage]:
    if not until:
        return planned
    last = [i for i, one in enumerate(planned) if until in {one.stage.name, group_of(one.stage.name)}]
    if not last:
        raise InputError(f"{until}: this configuration has no such stage.")
    return planned[: last[-1] + 1]


def line_of(name: str, manifest: Mapping[str, Any], reused: bool) -> str:
    """Say in one line what a stage did, or had done before."""
    took = "reused" if reused else f"{manifest['seconds']:.1f} s"
    if "line" in manifest:
        return f"{name}: {manifest['line']}, {took}"
    dropped, found = sum(manifest["dropped"].values()), 0 if reused else rows_reused(manifest)
    counts = [f"{manifest['rows_in']:,} in", f"{manifest['rows_out']:,} out"]
    counts += [f"{count:,} {what}" for count, what in ((found, "found"), (dropped, "dropped")) if count]
    return f"{name}: {', '.join([*counts, took])}"
