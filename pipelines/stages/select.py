"""Select: candidates -> negatives, and suspected false negatives with their reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from operators.candidates.select import Select, SelectConfig
from pipelines.engines import Stats, Unit
from pipelines.execution import Execution, added
from pipelines.stages import Stage, Summary
from pipelines.stages.search.rounds import positives_of
from pipelines.stages.search.short import replaced
from pipelines.storage.run_directory import StageFolder


@dataclass(frozen=True)
class SelectNegatives(Stage):
    """Partitions of candidates and positives -> partitions of negatives and of suspected false negatives (SELECTED)."""

    config: SelectConfig

    name = "select"
    inputs: tuple[str, ...] = ("search/all", "search/short")

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration."""
        return self.config.model_dump()

    def run(self, execution: Execution) -> Summary:
        """Select in every partition."""
        searched, deeper = (execution.inputs[name] for name in self.inputs)
        found = {"candidates": searched.parts("candidates"), "positives": searched.parts("positives")}
        found["deeper"] = deeper.parts("candidates")
        units = [
            Unit(f"{i:05d}", {kind: parts[i] for kind, parts in found.items()}) for i in range(len(found["candidates"]))
        ]
        selecting = partial(SelectPart, execution.folder, searched.folder, deeper.folder, self.config)
        stats = execution.map("select", selecting, units)
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

    def __init__(self, folder: StageFolder, searched: StageFolder, deeper: StageFolder, config: SelectConfig) -> None:
        self.folder, self.searched, self.deeper, self.select = folder, searched, deeper, Select(config)

    def __call__(self, unit: Unit) -> Stats:
        """Select in one partition."""
        candidates = self.searched.read_table(unit.args["candidates"])
        candidates = replaced(candidates, self.deeper.read_table(unit.args["deeper"]))
        positives = positives_of(self.searched, unit.args["positives"])
        selection = self.select(candidates, positives)
        parts = {}
        for kind, table in (("negatives", selection.negatives), ("suspected", selection.suspected)):
            file = self.folder.write_table(f"{kind}/part-{unit.name}.parquet", table)
            parts[kind] = {**file, "rows": table.num_rows}
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
