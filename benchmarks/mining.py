"""Run `hardneg mine` as a process of its own, on a configuration made here, and read what it says of itself."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.processes import Measured, measure


@dataclass(frozen=True)
class Mined:
    """One run of the project.

    Attributes:
        run: the run directory.
        measured: the process from outside.
        result: the JSON object that it printed.
    """

    run: Path
    measured: Measured
    result: Mapping[str, Any]

    def stage_seconds(self, *names: str) -> float:
        """Return the seconds of some stages, summed."""
        return float(sum(self.result["stages"][name]["seconds"] for name in names))

    def compute_seconds(self) -> float | None:
        """Return the seconds inside of encode and FAISS calls, summed over the stages; None where no stage says."""
        told = [one["compute_seconds"] for one in self.result["stages"].values() if "compute_seconds" in one]
        return float(sum(told)) if told else None

    def report(self) -> Mapping[str, Any]:
        """Return the report of the run."""
        told: Mapping[str, Any] = json.loads((self.run / "report" / "report.json").read_text(encoding="utf-8"))
        return told


def mine(
    settings: Mapping[str, Any],
    engine: str,
    run: Path,
    until: str | None = None,
    environment: Mapping[str, str] | None = None,
    beside: Sequence[int] = (),
) -> Mined:
    """Mine into a run directory with these settings, on an engine; all stages, or those up to one of them.

    Args:
        settings: all but the run directory.
        engine: its name.
        run: the run directory; what is there of the same settings is not done again.
        until: the last stage.
        environment: beside that of this process.
        beside: processes whose memory counts as that of the run.

    Raises:
        subprocess.CalledProcessError: it failed; its standard error is beside the run directory.
    """
    command = written_command(settings, engine, run) + ([] if until is None else ["--until", until])
    measured = measure(command, run.with_name(f"{run.name}.log"), environment, beside)
    return Mined(run, measured, json.loads(measured.output.splitlines()[-1]))


def written_command(settings: Mapping[str, Any], engine: str, run: Path) -> list[str]:
    """Write the configuration beside the run directory; return the command that mines with it."""
    run.parent.mkdir(parents=True, exist_ok=True)
    config = run.with_name(f"{run.name}.yaml")
    config.write_text(yaml.safe_dump({"run": str(run), **settings}), encoding="utf-8")
    return [sys.executable, "-m", "pipelines.cli", "mine", str(config), "--engine", engine, "--json"]


def given_vectors(sources: Path, memory_budget: str) -> dict[str, Any]:
    """Return the settings that mine from Parquet sources with vectors; all but the memory budget by default."""
    settings: dict[str, Any] = {
        "data": {
            "corpus": {"path": str(sources / "corpus" / "*.parquet"), "columns": {"vector": "vector"}},
            "queries": {"path": str(sources / "queries.parquet"), "columns": {"vector": "vector"}},
            "judgements": {"path": str(sources / "judgements.parquet")},
        }
    }
    if memory_budget != "auto":  # the default; a version without the key has no other
        settings["engine"] = {"memory_budget": memory_budget}
    return settings


def budget_of(memory_budget: str) -> str:
    """Say under which memory budget runs with these settings were made."""
    given = "" if memory_budget == "auto" else f"`engine.memory_budget: {memory_budget}`, "
    return f"{given}all else by default"
