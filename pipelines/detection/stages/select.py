"""Select: samples -> the hard ones among them, and what boxes and images weigh."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from operators.detections.config import SelectConfig
from operators.detections.cut import Cuts
from operators.detections.select import Select, Selection
from pipelines.detection.stages.cuts import CUT, find_cuts
from pipelines.detection.stages.partitions import units_of
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput, sum_counts
from pipelines.runtime.stage import Figure, Section, Stage, Summary
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder

KINDS = ("hard", "boxes", "images")


@dataclass(frozen=True)
class SelectSamples(Stage):
    """Partitions of samples -> the hard ones (HARD), and the weights of boxes and images.

    Attributes:
        config: which are hard.
    """

    config: SelectConfig

    name = "select"
    inputs = ("prepare/boxes", "match/boxes")
    checked_after = ("prepare/boxes", "match/boxes")

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration, and the code of strategies that are not ours."""
        return {**self.config.model_dump(mode="json"), "code": self.config.code()}

    def check(self, outputs: Mapping[str, StageOutput]) -> None:
        """Refuse thresholds of classes that there are not."""
        names = {*outputs["prepare/boxes"].manifest["names"].values(), *outputs["match/boxes"].manifest["classes"]}
        for strategy in self.config.strategies:
            strategy.check_classes(names)

    def run(self, execution: Execution) -> Summary:
        """Find the cut, where samples are chosen over many partitions, and choose."""
        prepared, matched = (execution.inputs[name] for name in self.inputs)
        units, select = units_of(prepared, samples=matched.parts("samples")), Select(self.config)
        cuts = None
        if self.config.per != "image":
            cuts = find_cuts(execution, select, matched.folder, units)
        selecting = partial(SelectPart, execution.folder, prepared.folder, matched.folder, select, cuts)
        stats = execution.map("select", selecting, units)
        samples, hard = (sum(one[name] for one in stats) for name in ("samples", "rows_out"))
        return Summary(
            rows_in=samples,
            rows_out=hard,
            facts={"hard_types": sum_counts(stats, "types"), "hard_strategies": sum_counts(stats, "strategies")},
            parts={kind: [one[kind] for one in stats] for kind in KINDS},
            temporary=[CUT],
            line=f"{hard:,} of {samples:,} samples are hard",
        )

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Say how many samples are hard, and why."""
        manifest = outputs[self.name].manifest
        hard, samples = manifest["rows_out"], manifest["rows_in"]
        rate = hard / samples if samples else None
        rows = [["type", *pair] for pair in manifest["hard_types"].items()]
        rows += [["strategy", *pair] for pair in manifest["hard_strategies"].items()]
        return Section(
            facts={
                "hard_samples": hard,
                "hard_negative_rate": rate,
                "hard_types": manifest["hard_types"],
                "hard_strategies": manifest["hard_strategies"],
            },
            sentences=[f"{hard:,} of {samples:,} samples are hard ({rate or 0:.1%})."],
            figures=[Figure("Hard samples", (["", "name", "hard samples"], rows))],
        )


class SelectPart:
    """One partition of samples -> the hard ones, and the weights."""

    def __init__(
        self, folder: StageFolder, prepared: StageFolder, matched: StageFolder, select: Select, cuts: Record | None
    ) -> None:
        self.folder, self.prepared, self.matched, self.select = folder, prepared, matched, select
        self.cuts = None if cuts is None else Cuts.of(folder.read_table(cuts))

    def __call__(self, unit: Unit) -> Stats:
        """Select in one partition."""
        samples = self.matched.read_table(unit.args["samples"])
        images = self.prepared.read_table(unit.args["images"])
        selection = self.select(samples, images, self.cuts)
        written = {}
        for kind in KINDS:
            table = getattr(selection, kind)
            file = self.folder.write_table(f"{kind}/part-{unit.name}.parquet", table)
            written[kind] = {**file, "rows": table.num_rows}
        return {
            **written,
            **_counts(selection),
            "samples": selection.boxes.num_rows,
            "rows_out": selection.hard.num_rows,
        }


def _counts(selection: Selection) -> dict[str, dict[str, int]]:
    """Return how many hard samples are of each type, and of each strategy."""
    lists = selection.hard.column("strategies").combine_chunks()
    counted = {"types": selection.hard.column("type"), "strategies": lists.flatten()}
    return {
        name: dict(sorted((row["values"], row["counts"]) for row in values.value_counts().to_pylist()))
        for name, values in counted.items()
    }
