"""What of a run is committed: to kill it at a certain moment, and to see whether any of that is done again."""

import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import ROOT, with_packages
from pipelines.runtime.storage.records import UNITS
from pipelines.runtime.storage.run_directory import StageFolder, in_records

SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class Committed:
    """What is committed at a moment.

    Attributes:
        records: when each file that commits units was written, in nanoseconds.
        units: (folder of the stage, step, unit) -> how many records commit it.
    """

    records: Mapping[Path, int]
    units: Counter[tuple[str, str, str]]

    def of_step(self, step: str) -> int:
        """Count the units of a step."""
        return sum(of == step for _, of, _ in self.units)

    def done_again(self, later: "Committed") -> int:
        """Count the units that are committed more often later on."""
        return sum(later.units[unit] > count for unit, count in self.units.items())

    def rewritten(self, later: "Committed") -> int:
        """Count the records that are not there later on, or were written again."""
        return sum(later.records.get(path) != at for path, at in self.records.items())


def committed(run: Path) -> Committed:
    """Look what is committed in a run directory."""
    records = {path: path.stat().st_mtime_ns for path in _records(run)}
    units: Counter[tuple[str, str, str]] = Counter()
    for place in {path.parents[1] for path in records}:
        folder = StageFolder(str(place.parents[1]))
        for record in folder.unit_records(place.name).values():
            units.update((folder.uri, place.name, unit) for unit in in_records([record]))
    return Committed(records, units)


def killed(command: Sequence[str], run: Path, environment: Mapping[str, str], step: str, units: int) -> float:
    """Run a command that works on a run directory, and kill it when so many units of a step are committed there.

    Returns:
        The seconds until then.

    Raises:
        SystemExit: it ended before.
    """
    with run.with_name(f"{run.name}.log").open("wb") as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=with_packages(environment), cwd=ROOT)
        while sum(int(path.name.split(".")[1]) for path in _records(run, step)) < units:
            if process.poll() is not None:
                raise SystemExit(f"The run ended before {units:,} units of {step} were seen. See {log.name}.")
            time.sleep(SECONDS_BETWEEN_LOOKS)
        process.kill()
        process.wait()
    return time.perf_counter() - began


def _records(run: Path, step: str = "*") -> list[Path]:
    """Return the files that commit units of a step, or of all: DIGEST.UNITS.json."""
    return [path for stage in ("*", "*/*") for path in run.glob(f"{stage}/*/{UNITS}/{step}/*/*.json")]
