"""The status of a run, from its run directory alone: whoever works on it, and wherever."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from operators.errors import InputError
from operators.storage import as_input_error
from pipelines.runtime.storage.lease import holder
from pipelines.runtime.storage.records import UNITS
from pipelines.runtime.storage.run_directory import RunDirectory, StageFolder
from pipelines.runtime.unit_progress import rows_noted


@dataclass(frozen=True)
class StepStatus:
    """How far a step is.

    Attributes:
        units: how many it has.
        done: how many of them are done.
        rate: units a second since the step began, or went on; 0 while none was done.
        rows_in_work: how many rows are done of units that are not, as far as their workers noted them.
    """

    units: int
    done: int
    rate: float
    rows_in_work: int = 0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; None while that is unknown."""
        if self.done >= self.units:
            return 0.0
        return round((self.units - self.done) / self.rate, 1) if self.rate else None


def status(run: RunDirectory) -> dict[str, Any]:
    """Look at a run directory.

    Returns:
        `run`, `state` (`complete`, `running` or `stopped`), `began`, `engine`, `holder` (host/pid of who works on it,
        or null), `silent` (seconds since it last gave a sign of life, or null) and `stages`: name -> {state, rows_in,
        rows_out, seconds, rows_per_second (of what was not there before, or null)} where it is complete, {state, steps:
        name -> {units, done, per_second, seconds_left, rows_in_work}} where it has begun; `waiting` ones have neither.

    Raises:
        InputError: nothing has run there, or the storage cannot be read.
    """
    with as_input_error("run", run.uri, run.storage_options):
        plan = run.read_stage_list()
        if plan is None:
            raise InputError(
                f"{run.uri}: no run has begun here, or its `_plan.json` cannot be read. Check the path; "
                f"`hardneg verify RUN` looks for damage."
            )
        stages = {stage["name"]: _stage(run, stage) for stage in plan["stages"]}
        held = holder(run)
    complete = all(one["state"] == "complete" for one in stages.values())
    state = "running" if held is not None and held.lives else "complete" if complete else "stopped"
    return {
        "run": run.uri,
        "state": state,
        "engine": plan["engine"] if held is None else held.engine,
        "began": plan["began"],
        "holder": None if held is None else held.who,
        "silent": None if held is None else round(held.silent, 1),
        "stages": stages,
    }


def _stage(run: RunDirectory, stage: Mapping[str, Any]) -> dict[str, Any]:
    folder = StageFolder(f"{run.uri.rstrip('/')}/{stage['folder']}", run.storage_options, stage["manifest"])
    manifest = folder.manifest()
    if manifest is not None:
        counts = {key: manifest[key] for key in ("rows_in", "rows_out", "seconds")}
        return {"state": "complete", **counts, "rows_per_second": rows_per_second(manifest)}
    steps = {name: _step(folder, name, began) for name, began in folder.steps().items()}
    return (
        {"state": "begun", "steps": {name: _facts(one) for name, one in steps.items()}}
        if steps
        else {"state": "waiting"}
    )


def rows_per_second(manifest: Mapping[str, Any]) -> float | None:
    """Return the rate of what a complete stage did in the seconds it took; None where that is not known, or nothing."""
    found = rows_reused(manifest)
    if manifest.get("resumed", False) and found is None:
        return None
    rows = manifest["rows_out"] - (found or 0)
    return round(rows / manifest["seconds"], 1) if rows > 0 and manifest["seconds"] > 0 else None


def rows_reused(manifest: Mapping[str, Any]) -> int | None:
    """Return how many rows a stage found done, by a run on other data or a killed one; None where it does not tell."""
    sides = [side for side in manifest.get("rows", {}).values() if isinstance(side, Mapping)]
    found = [one["rows_reused"] for one in (manifest, *sides) if "rows_reused" in one]
    return sum(found) if found else None


def _step(folder: StageFolder, step: str, began: float) -> StepStatus:
    record, times = folder.step_times(step)
    step_record = record or {"units": len(times), "done": 0}  # the record is damaged
    since = [at for at in times if at >= began]
    done = min(step_record["done"] + len(since), step_record["units"])
    seconds = max(since, default=began) - began
    # Stores tell times in whole seconds: of what was done within the first one there is no rate yet.
    rate = len(since) / seconds if seconds else 0.0
    return StepStatus(step_record["units"], done, rate, rows_noted(folder, f"{UNITS}/{step}"))


def _facts(step: StepStatus) -> dict[str, Any]:
    return {
        "units": step.units,
        "done": step.done,
        "per_second": round(step.rate, 3),
        "seconds_left": step.seconds_left,
        "rows_in_work": step.rows_in_work,
    }


def show(found: Mapping[str, Any]) -> None:
    """Print a status as a table."""
    by = f" by {found['holder']}, last heartbeat {found['silent']:.0f} s ago" if found["holder"] else ""
    console = Console(width=120, highlight=False)
    console.print(f"{found['run']}: {found['state']} on {found['engine']}, begun {found['began']}{by}", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "state", "rows", "step", "parts", "rate", "left"):
        table.add_column(name, justify="right" if name in {"rows", "parts", "rate", "left"} else "left")
    for name, one in found["stages"].items():
        rows = f"{one['rows_out']:,}" if "rows_out" in one else ""
        rate = "" if one.get("rows_per_second") is None else f"{one['rows_per_second']:,.0f} rows/s"
        steps = {step: facts for step, facts in one.get("steps", {}).items() if facts["done"] < facts["units"]}
        table.add_row(name, one["state"], rows, "", "", rate, "")
        for step, facts in steps.items():
            left = "?" if facts["seconds_left"] is None else str(timedelta(seconds=round(facts["seconds_left"])))
            parts = f"{facts['done']:,} of {facts['units']:,}"
            noted = f"{facts['rows_in_work']:,}" if facts["rows_in_work"] else ""
            table.add_row("", "", noted, step, parts, f"{facts['per_second']:,.2f} parts/s", left)
    console.print(table)
