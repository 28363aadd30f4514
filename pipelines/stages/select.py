"""Select: candidates -> negatives, and suspected false negatives with their reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from operators.candidates.select import Select, SelectConfig
from pipelines.engines import Stats, Unit
from pipelines.execution import Execution, added
from pipelines.run_directory import StageFolder
from pipelines.stages import Summary


@dataclass(frozen=True)
class SelectNegatives:
    """Partitions of candidates and positives -> partitions of negatives and of suspected false negatives (SELECTED)."""

    config: SelectConfig

    name = "select"
    inputs: tuple[str, ...] = ("search",)

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration."""
        return self.config.model_dump()

    def run(self, execution: Execution) -> Summary:
        """Select in every partition."""
        searched = execution.inputs["search"]
        pairs = zip(searched.parts("candidates"), searched.parts("positives"), strict=True)
        units = [
            Unit(f"{i:05d}", {"candidates": candidates["path"], "positives": positives["path"]})
            for i, (candidates, positives) in enumerate(pairs)
        ]
        stats = execution.map("select", partial(SelectPart, execution.folder, searched.folder, self.config), units)
        return {
            "rows_in": sum(one["rows_in"] for one in stats),
            "rows_out": sum(one["rows_out"] for one in stats),
            "pairs": sum(one["pairs"] for one in stats),
            "short_rows": sum(one["short_rows"] for one in stats),
            "empty_rows": sum(one["empty_rows"] for one in stats),
            "dropped": added(stats, "dropped"),
            "parts": {kind: [one[kind] for one in stats] for kind in ("negatives", "suspected")},
        }


class SelectPart:
    """One partition of candidates -> its negatives."""

    def __init__(self, folder: StageFolder, searched: StageFolder, config: SelectConfig) -> None:
        self.folder, self.searched, self.select = folder, searched, Select(config)

    def __call__(self, unit: Unit) -> Stats:
        """Select in one partition."""
        candidates, positives = (self.searched.read_table(unit.args[kind]) for kind in ("candidates", "positives"))
        selection = self.select(candidates, positives)
        parts = {}
        for kind, table in (("negatives", selection.negatives), ("suspected", selection.suspected)):
            path = f"{kind}/part-{unit.name}.parquet"
            self.folder.write_table(path, table)
            parts[kind] = {"path": path, "rows": table.num_rows}
        counts = dict(selection.counts)
        chosen = counts.pop("negative")
        return {
            "rows_in": chosen + sum(counts.values()),
            "rows_out": chosen,
            "pairs": positives.num_rows,
            "dropped": {reason: count for reason, count in counts.items() if count},
            "short_rows": selection.short_rows,
            "empty_rows": selection.empty_rows,
            **parts,
        }
