"""The run directory: one folder per stage and fingerprint, units that are done, and a manifest that is the commit."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipelines.storage.folder import Folder

UNITS = "_units"
REFUSED = ".refused"
PLAN = "_plan.json"

# Raised when a stage writes something else than it used to: what an older version wrote is then not reused.
FORMAT = 3


def fingerprint(stage: str, settings: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """Name what a stage would write: equal for equal settings, inputs and format, and for nothing else."""
    identity = {"format": FORMAT, "stage": stage, "settings": settings, "inputs": list(inputs)}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class StageFolder(Folder):
    """Where one stage writes. A unit is done once its statistics lie there, the stage once its manifest does.

    Attributes:
        manifest_name: of the manifest; a folder that serves several inputs has one for each.
    """

    manifest_name: str = "_manifest.json"

    def begin_step(self, step: str, units: int, done: int) -> None:
        """Say how many units a step has, and how many of them had been done before, for whoever looks on."""
        self.write_json(f"{UNITS}/{step}.json", {"units": units, "done": done})

    def steps(self) -> dict[str, float]:
        """Return when each step began, or went on, in the order in which they did."""
        begun = {name.removesuffix(".json"): at for name, at in self.times(UNITS).items() if name.endswith(".json")}
        return dict(sorted(begun.items(), key=lambda step: step[1]))

    def step_times(self, step: str) -> tuple[dict[str, Any], list[float]]:
        """Return what was said when a step began, and when each of its units was done."""
        done = [at for name, at in self.times(f"{UNITS}/{step}").items() if name.endswith(".json")]
        return self.read_json(f"{UNITS}/{step}.json"), done

    def commit_unit(self, step: str, unit: str, stats: Mapping[str, Any]) -> None:
        """Say that a unit of work is done. Written after all that the unit wrote."""
        self.write_json(f"{UNITS}/{step}/{unit}.json", stats)

    def done_unit(self, step: str, unit: str) -> dict[str, Any] | None:
        """Return the statistics of a unit, or None while it is not done."""
        try:
            return dict(self.read_json(f"{UNITS}/{step}/{unit}.json"))
        except FileNotFoundError:
            return None

    def done_units(self, step: str, among: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
        """Return the statistics of the units of a step that are done: of all, or of some."""
        names = [name.removesuffix(".json") for name in self.names(f"{UNITS}/{step}") if name.endswith(".json")]
        paths = {self.path(f"{UNITS}/{step}/{name}.json"): name for name in names if among is None or name in among}
        found = self.fs.cat(list(paths)) if paths else {}  # of an object store: many at the same time
        return {paths[path]: json.loads(content) for path, content in sorted(found.items())}

    def refuse_unit(self, step: str, unit: str, why: str) -> None:
        """Say that the input of a unit is refused."""
        self.write_bytes(f"{UNITS}/{step}/{unit}{REFUSED}", why.encode())

    def take_refusal(self, step: str) -> str | None:
        """Return why a unit of a step was refused, and forget it, or None where none was."""
        refused = [name for name in self.names(f"{UNITS}/{step}") if name.endswith(REFUSED)]
        said = [self.read_bytes(f"{UNITS}/{step}/{name}").decode() for name in refused]
        for name in refused:
            self.remove(f"{UNITS}/{step}/{name}")
        return said[0] if said else None

    def manifest(self) -> dict[str, Any] | None:
        """Return what the stage said when it was complete, or None while it is not."""
        try:
            return dict(self.read_json(self.manifest_name))
        except FileNotFoundError:
            return None

    def commit(self, manifest: Mapping[str, Any]) -> None:
        """Say that the stage is complete. Written last."""
        self.write_json(self.manifest_name, manifest)


@dataclass(frozen=True)
class RunDirectory(Folder):
    """`<run>/<stage>/<fingerprint>/`, `<run>/dataset/<format>/` and `<run>/report/`."""

    def stage(self, name: str, mark: str) -> StageFolder:
        """Return the folder of a stage with this fingerprint."""
        return StageFolder(self._of(name, mark), self.storage_options)

    def growing_stage(self, name: str, units: str, mark: str) -> StageFolder:
        """Return the folder of a stage whose units, of the fingerprint `units`, serve whatever input they are part of.

        A corpus that grew finds there what was done for it when it was smaller.
        """
        return StageFolder(self._of(name, units), self.storage_options, f"_manifest-{mark}.json")

    def tell_plan(self, engine: str, stages: Sequence[tuple[str, StageFolder]]) -> bool:
        """Say which stages there are and where each writes, for whoever looks on; tell whether this run is the first.

        Nothing is written where the latest run said the same.
        """
        places = [
            {"name": name, "folder": folder.uri[len(self.uri.rstrip("/")) + 1 :], "manifest": folder.manifest_name}
            for name, folder in stages
        ]
        before = self.read_plan()
        if before is None or before["stages"] != places:
            began = datetime.now(UTC).isoformat(timespec="seconds")
            self.write_json(PLAN, {"engine": engine, "began": began, "stages": places})
        return before is None

    def read_plan(self) -> dict[str, Any] | None:
        """Return what the latest run said that it goes through, or None where none has begun."""
        try:
            return dict(self.read_json(PLAN))
        except FileNotFoundError:
            return None

    def _of(self, name: str, mark: str) -> str:
        return f"{self.uri.rstrip('/')}/{name}/{mark}"
