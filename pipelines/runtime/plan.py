"""The plan of a run: what would be reused, what would run, and what it would need."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.runtime.pipeline import Pipeline, PlannedStage


def describe(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """Return for every stage what would happen, and what the rest of the run needs, as far as it is known."""
    return {
        one.stage.name: {
            "state": _state(one),
            "fingerprint": one.fingerprint,
            "rows": None if one.manifest is None else int(one.manifest["rows_out"]),
            "needs": one.stage.needs(one.manifest),
        }
        for one in pipeline.plan()
    }


def show(described: Mapping[str, Any]) -> None:
    """Print a plan as a table."""
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "state", "rows", "needs"):
        table.add_column(name, overflow="fold", justify="right" if name == "rows" else "left")
    for name, one in described["stages"].items():
        table.add_row(name, one["state"], "" if one["rows"] is None else f"{one['rows']:,}", one["needs"])
    Console(width=120).print(table)


def _state(planned: PlannedStage) -> str:
    if planned.manifest is not None:
        return "reuse"
    return "go on" if planned.partial else "run"
