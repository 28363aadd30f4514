"""Measure average precision as COCO does: the predictions of each class are brought together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.detections.average_precision import AREAS, MAX_DETECTIONS
from operators.detections.config import MatchConfig
from operators.detections.evaluate import EVALUATED, Evaluate, precisions
from pipelines.detection.stages.partitions import names_in, read_boxes, units_of
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.shuffle import Shuffle
from pipelines.runtime.stage import Figure, Section, Stage, Summary
from pipelines.runtime.storage.run_directory import StageFolder

MOST_BUCKETS = 256
MEASURES = ("ap", "ap50", "ap75", *(f"ap_{area}" for area in AREAS if area != "all"), f"ar{MAX_DETECTIONS}")


@dataclass(frozen=True)
class MeasurePrecision(Stage):
    """Partitions of boxes -> the average precision of each class."""

    config: MatchConfig

    name = "match/precision"
    inputs = ("prepare/boxes",)

    def settings(self) -> Mapping[str, Any]:
        """Return what of the configuration decides about it."""
        return {"class_agnostic": self.config.class_agnostic}

    def run(self, execution: Execution) -> Summary:
        """Match in every partition at all thresholds, and rank the predictions of each class."""
        prepared = execution.inputs["prepare/boxes"]
        names = names_in(prepared)
        buckets = [Unit(f"{at:05d}", {}) for at in range(min(max(len(names), 1), MOST_BUCKETS))]
        route = partial(RouteEvaluated, prepared.folder, self.config.class_agnostic, len(buckets))
        gather = partial(WritePrecision, execution.folder, names)
        stats = execution.shuffle("rank", Shuffle(route, units_of(prepared), gather, buckets, EVALUATED))
        classes = {name: found for one in stats for name, found in one["classes"].items()}
        means = {}
        for measure in MEASURES:
            known = [found[measure] for found in classes.values() if found[measure] is not None]
            means[measure] = float(np.mean(known)) if known else None
        return Summary(
            rows_in=prepared.manifest["boxes"]["predictions"],
            rows_out=len(classes),
            facts={"means": means, "of_classes": dict(sorted(classes.items()))},
            parts={"precision": [one["file"] for one in stats]},
            line=f"average precision {means['ap'] or 0:.3f} of {len(classes):,} classes",
        )

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Say what COCO's evaluation says."""
        manifest = outputs[self.name].manifest
        means, classes = manifest["means"], manifest["of_classes"]
        rows = [[name, *(_shown(one[measure]) for measure in MEASURES)] for name, one in classes.items()]
        return Section(
            facts={"average_precision": means, "average_precision_by_class": classes},
            sentences=[f"Average precision {_shown(means['ap'])}, at an IoU of .50 {_shown(means['ap50'])}."],
            figures=[
                Figure(
                    "Average precision",
                    (["class", *MEASURES], [["mean", *(_shown(means[measure]) for measure in MEASURES)], *rows]),
                )
            ],
        )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


class RouteEvaluated:
    """One partition of boxes -> what its predictions are at each threshold, to the bucket of their class."""

    def __init__(self, prepared: StageFolder, any_class: bool, buckets: int) -> None:
        self.prepared, self.buckets, self.evaluate = prepared, buckets, Evaluate(any_class)

    def __call__(self, unit: Unit) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
        """Route one partition."""
        evaluated = self.evaluate(*read_boxes(self.prepared, unit))
        yield np.asarray(evaluated.column("class_id").to_numpy()) % self.buckets, evaluated


class WritePrecision:
    """All predictions of some classes -> their average precision."""

    def __init__(self, folder: StageFolder, names: Mapping[int, str]) -> None:
        self.folder, self.names = folder, names

    def __call__(self, bucket: Unit, rows: pa.Table) -> Stats:
        """Write one bucket."""
        found = precisions(rows)
        names = [self.names.get(one, str(one)) for one in found]
        table = pa.table(
            {"class": pa.array(names, pa.string())}
            | {measure: pa.array([one[measure] for one in found.values()], pa.float64()) for measure in MEASURES}
        )
        file = self.folder.write_table(f"precision/part-{bucket.name}.parquet", table)
        classes = dict(zip(names, found.values(), strict=True))
        return {"file": {**file, "rows": len(names)}, "classes": classes, "rows_out": rows.num_rows}
