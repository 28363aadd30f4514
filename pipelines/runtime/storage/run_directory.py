"""The run directory: one folder per stage and fingerprint, units that are done, and a manifest that is the commit."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import xxhash

from operators.storage import open_uri
from pipelines.runtime.storage.folder import Folder
from pipelines.runtime.storage.object_store import written_at
from pipelines.runtime.storage.records import UNITS, files_in

PLAN = "_plan.json"

# Raised when a stage writes something else than it used to: what an older version wrote is then not reused.
FORMAT = 11

_MARK = re.compile(r"[0-9a-f]{16}")
STAGE_FOLDER = re.compile(rf"(?:\w+/){{1,2}}{_MARK.pattern}/")

# The files that stages write, finished or not. What has another name is somebody else's, and stays.
_WRITTEN = re.compile(
    rf"(?:(?:_manifest(?:-[0-9a-f]{{16}})?\.json|{UNITS}/.+\.(?:json|failed|rows)"
    r"|(?:.+/)?(?:part-\d+|train-\d+-of-\d+|\d+|[0-9a-f]{32}(?:-\d+)?|all|queries|judgements|judged|dropped|vectors|codes|keys|lengths|postings|terms|suspects)"
    r"\.(?:parquet|arrow|faiss|npy|json|jsonl|csv))(?:\.[0-9a-f]{32}\.unfinished)?)"
)


_UNIT_RECORD = re.compile(r".*/[0-9a-f]{16}\.(\d+)\.json")


def fingerprint(stage: str, settings: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """Name what a stage would write: equal for equal settings, inputs and format, and for nothing else."""
    identity = {"format": FORMAT, "stage": stage, "settings": settings, "inputs": list(inputs)}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def in_records(records: Iterable[Mapping[str, dict[str, Any]] | None]) -> dict[str, dict[str, Any]]:
    """Return the statistics of the units that some records commit."""
    return {name: stats for committed in records if committed is not None for name, stats in committed.items()}


def _units_in(path: str) -> int:
    """Return how many units a record commits, by its name; 0 for another file."""
    named = _UNIT_RECORD.fullmatch(path)
    return int(named.group(1)) if named else 0


@dataclass(frozen=True)
class StageFolder(Folder):
    """Where one stage writes. A unit is done once its statistics are there, the stage once its manifest is.

    A record that is damaged counts as missing, and so does a unit or a stage with a file that is missing or has
    another size: it is done again.

    Attributes:
        manifest_name: of the manifest; a folder that serves several inputs has one for each.
    """

    manifest_name: str = "_manifest.json"

    def begin_step(self, step: str, units: int, done: int) -> None:
        """Record how many units a step has, and how many of them had been done before, for the progress."""
        self.write_sealed(f"{UNITS}/{step}.json", {"units": units, "done": done})

    def steps(self) -> dict[str, float]:
        """Return when each step began, or went on, in the order in which they did."""
        begun = {name.removesuffix(".json"): at for name, at in self.times(UNITS).items() if name.endswith(".json")}
        return dict(sorted(begun.items(), key=lambda step: step[1]))

    def step_times(self, step: str) -> tuple[dict[str, Any] | None, list[float]]:
        """Return the record of a step, and when each of its units was committed."""
        found = self.found(f"{UNITS}/{step}").items()
        done = [written_at(info) for path, info in found for _ in range(_units_in(path))]
        return self.read_sealed(f"{UNITS}/{step}.json"), done

    def commit_units(self, step: str, batch: str, units: Mapping[str, Mapping[str, Any]]) -> None:
        """Commit units of work: one record for all, under a name that no other units have. Written after their files.

        Args:
            step: of the stage.
            batch: the name of the batch that they are of.
            units: name -> statistics.
        """
        name = xxhash.xxh3_64_hexdigest("\n".join(sorted(units)).encode())
        self.write_sealed(f"{UNITS}/{step}/{batch}/{name}.{len(units)}.json", {"units": units})

    def unit_records(
        self, step: str, batch: str = "", known: Collection[str] = ()
    ) -> dict[str, dict[str, dict[str, Any]] | None]:
        """Return the units that each record of a step, or of a batch, commits; None for a record that is damaged.

        Args:
            step: of the stage.
            batch: of the step; all of them, where none is named.
            known: paths of records to leave out.
        """
        folder = f"{UNITS}/{step}/{batch}" if batch else f"{UNITS}/{step}"
        paths = sorted(path for path in self.found(folder) if _units_in(path) and path not in known)
        records = self.read_many_sealed(paths)
        return {path: records[path]["units"] if path in records else None for path in paths}

    def forget_units(self, step: str, records: Mapping[str, Mapping[str, Any] | None], units: Collection[str]) -> None:
        """Take units out of the records that commit them, and remove records that are damaged.

        Args:
            step: of the stage.
            records: of the step, as `unit_records` returns them.
            units: their names.
        """
        for path, committed in records.items():
            kept = {name: stats for name, stats in (committed or {}).items() if name not in units}
            if committed is not None and len(kept) == len(committed):
                continue
            if kept:
                self.commit_units(step, path.split("/")[-2], kept)
            self.remove_all([path])

    def done_units(self, step: str) -> dict[str, dict[str, Any]]:
        """Return the statistics of the committed units of a step whose files are there."""
        return self.whole_units(in_records(self.unit_records(step).values()))

    def whole_units(self, units: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return those of some units, name -> statistics, whose files are there with the size that was written."""
        records = [record for stats in units.values() for record in files_in(stats)]
        damaged = {record["path"] for record, _ in self.differing(records)}
        return {
            name: stats
            for name, stats in units.items()
            if damaged.isdisjoint(record["path"] for record in files_in(stats))
        }

    def manifest(self) -> dict[str, Any] | None:
        """Return the manifest of a complete stage, or None while it is not complete."""
        return self.read_sealed(self.manifest_name)

    def commit(self, manifest: Mapping[str, Any]) -> None:
        """Commit the stage. Written last."""
        self.write_sealed(self.manifest_name, manifest)

    def clear(self, name: str = "") -> None:
        """Remove what stages wrote into this folder, or into one below it, and folders that are empty then."""
        self.remove_all([path for path in self.sizes(name) if _WRITTEN.fullmatch(path)])
        self.remove_if_empty(name)


@dataclass(frozen=True)
class RunDirectory(Folder):
    """`<run>/<stage>/<fingerprint>/`, `<run>/dataset` and `<run>/report/`."""

    def stage(self, name: str, mark: str) -> StageFolder:
        """Return the folder of a stage with this fingerprint."""
        return StageFolder(self._of(name, mark), self.storage_options)

    def content_addressed_stage(self, name: str, units: str, mark: str) -> StageFolder:
        """Return the folder of a stage whose units, of the fingerprint `units`, serve whatever input they are part of.

        A corpus that grew finds there what was done for it when it was smaller.
        """
        return StageFolder(self._of(name, units), self.storage_options, f"_manifest-{mark}.json")

    def write_stage_list(self, engine: str, stages: Sequence[tuple[str, StageFolder]]) -> bool:
        """Record which stages there are and where each writes, for the status; tell whether this run is the first.

        Nothing is written where the latest run had the same stages.
        """
        places = [
            {"name": name, "folder": folder.uri[len(self.uri.rstrip("/")) + 1 :], "manifest": folder.manifest_name}
            for name, folder in stages
        ]
        before = self.read_stage_list()
        if before is None or before["stages"] != places:
            began = datetime.now(UTC).isoformat(timespec="seconds")
            self.write_sealed(PLAN, {"engine": engine, "began": began, "stages": places})
        return before is None

    def is_used(self, stages: Iterable[str]) -> bool:
        """Tell whether a run has begun here: its plan is there, or one of some stages has written."""
        return self.exists(PLAN) or any(_MARK.fullmatch(name) for stage in stages for name in self.names(stage))

    def has_written(self, uri: str) -> bool:
        """Tell whether a URI is of a file in a folder of a stage, or of the dataset."""
        (fs, path), root = open_uri(uri, self.storage_options), self.path()
        if type(fs) is not type(self.fs):
            return False
        if self.is_local:
            path, root = os.path.realpath(path), os.path.realpath(root)
        return path.startswith(f"{root}/") and STAGE_FOLDER.match(path[len(root) + 1 :]) is not None

    def read_stage_list(self) -> dict[str, Any] | None:
        """Return which stages the latest run goes through, or None where none has begun."""
        return self.read_sealed(PLAN)

    def _of(self, name: str, mark: str) -> str:
        return f"{self.uri.rstrip('/')}/{name}/{mark}"
