"""Match: partitions of boxes -> what each prediction is, and which objects were missed."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from operators.detections.account import Account
from operators.detections.average_precision import Counts
from operators.detections.config import MatchConfig
from operators.detections.kinds import FALSE_POSITIVES, MISSED
from operators.detections.tables import TYPES
from pipelines.detection.stages.match_figures import histograms_of, scatter_of
from pipelines.detection.stages.partitions import names_in, read_boxes, units_of
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput, sum_counts
from pipelines.runtime.stage import Figure, Section, Stage, Summary
from pipelines.runtime.storage.run_directory import StageFolder

CLASSES = "classes"
TIDE_MISSED = "tide_missed"


@dataclass(frozen=True)
class MatchBoxes(Stage):
    """Partitions of boxes -> one row for each prediction, and for each object that none has (SAMPLES)."""

    config: MatchConfig

    name = "match/boxes"
    inputs = ("prepare/boxes",)

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration."""
        return self.config.model_dump(mode="json")

    def run(self, execution: Execution) -> Summary:
        """Match in every partition."""
        prepared = execution.inputs["prepare/boxes"]
        matching = partial(MatchPart, execution.folder, prepared.folder, Account(self.config, names_in(prepared)))
        stats = execution.map("match", matching, units_of(prepared))
        types = sum_counts(stats, "types")
        classes = sorted({name for one in stats for name in one[CLASSES]})
        boxes = prepared.manifest["boxes"]
        kept = sum(count for kind, count in types.items() if kind not in {MISSED, "ignored_truth"})
        beyond = boxes["predictions"] - kept
        return Summary(
            rows_in=boxes["truths"] + boxes["predictions"],
            rows_out=sum(one["rows_out"] for one in stats),
            dropped={"max_detections": beyond} if beyond else {},
            facts={
                "types": {kind: types.get(kind, 0) for kind in TYPES},
                TIDE_MISSED: sum(one[TIDE_MISSED] for one in stats),
                CLASSES: {name: sum_counts([one[CLASSES] for one in stats], name) for name in classes},
            },
            parts={"samples": [one["file"] for one in stats]},
        )

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Count rights and wrongs, in all and by class."""
        manifest = outputs[self.name].manifest
        total, by_class = counts_of(manifest["types"]), manifest[CLASSES]
        facts = {
            "totals": facts_of(total, manifest["types"]),
            "types": {**manifest["types"], TIDE_MISSED: manifest[TIDE_MISSED]},
            "by_class": {name: facts_of(counts_of(types), types) for name, types in by_class.items()},
        }
        rows = [[name, *(_shown(value) for value in one.values())] for name, one in facts["by_class"].items()]
        return Section(
            facts=facts,
            sentences=[
                f"{total.true_positives:,} predictions are right, {total.false_positives:,} are wrong, and "
                f"{total.false_negatives:,} objects were missed: precision {_shown(total.precision)}, recall "
                f"{_shown(total.recall)}, F1 {_shown(total.f1)}."
            ],
            figures=[
                Figure(
                    "Kinds of samples",
                    (["type", "samples"], [[kind, f"{count:,}"] for kind, count in facts["types"].items()]),
                    scatter=scatter_of(outputs[self.name]),
                ),
                *histograms_of(outputs[self.name]),
                Figure("Classes", (["class", *facts["totals"]], rows)),
            ],
        )


def counts_of(types: Mapping[str, int]) -> Counts:
    """Return how many predictions are right and wrong, and how many objects were missed."""
    wrong = sum(types.get(kind, 0) for kind in FALSE_POSITIVES)
    return Counts(types.get("true_positive", 0), wrong, types.get(MISSED, 0))


def facts_of(counts: Counts, types: Mapping[str, int]) -> dict[str, Any]:
    """Return the counts, with precision, recall and F1, as reports have them."""
    return {
        "predictions": counts.true_positives + counts.false_positives + types.get("ignored", 0),
        "true_positives": counts.true_positives,
        "false_positives": counts.false_positives,
        "false_negatives": counts.false_negatives,
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
    }


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


class MatchPart:
    """One partition of boxes -> its samples."""

    def __init__(self, folder: StageFolder, prepared: StageFolder, account: Account) -> None:
        self.folder, self.prepared, self.account = folder, prepared, account

    def __call__(self, unit: Unit) -> Stats:
        """Match in one partition."""
        samples = self.account(*read_boxes(self.prepared, unit))
        file = self.folder.write_table(f"samples/part-{unit.name}.parquet", samples)
        counted = samples.group_by(["class_name", "type"], use_threads=False).aggregate([([], "count_all")])
        classes: dict[str, dict[str, int]] = {}
        for row in counted.sort_by([("class_name", "ascending"), ("type", "ascending")]).to_pylist():
            classes.setdefault(row["class_name"], {})[row["type"]] = row["count_all"]
        types = {"types": sum_counts([{"all": one} for one in classes.values()], "all")}
        missed = samples.filter((pa.compute.field("type") == MISSED) & ~pa.compute.field("correctable")).num_rows
        return {
            "file": {**file, "rows": samples.num_rows},
            CLASSES: classes,
            **types,
            TIDE_MISSED: missed,
            "rows_out": samples.num_rows,
        }
