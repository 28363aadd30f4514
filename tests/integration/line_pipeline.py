"""A pipeline of two stages that has nothing to do with retrieval: how long the lines of text files are."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pipelines.runtime.config import RunConfig
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.engines.ray_cluster import RayCluster
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.stage import Section, Stage, Summary
from pipelines.runtime.storage.run_directory import StageFolder


@dataclass(frozen=True)
class MeasureLines(Stage):
    """Text files -> for each the length of its lines."""

    files: Sequence[Path]
    seconds: float

    name = "measure"

    def settings(self) -> Mapping[str, Any]:
        return {"files": [[str(file), file.stat().st_mtime_ns] for file in self.files]}

    def needs(self, manifest: Mapping[str, Any] | None) -> str:
        return f"{len(self.files)} files"

    def run(self, execution: Execution) -> Summary:
        units = [Unit(f"{i:05d}", {"file": str(file)}) for i, file in enumerate(self.files)]
        stats = execution.map("measure", partial(self._measuring, execution.folder), units)
        rows, parts = sum(one["rows_out"] for one in stats), [one["file"] for one in stats]
        return Summary(rows, rows, {"lengths": parts})

    def _measuring(self, folder: StageFolder) -> "partial[Stats]":
        return partial(_measure, folder, self.seconds)


def _measure(folder: StageFolder, seconds: float, unit: Unit) -> Stats:
    time.sleep(seconds)
    lengths = [len(line) for line in Path(unit.args["file"]).read_text(encoding="utf-8").splitlines()]
    file = folder.write_table(f"lengths/part-{unit.name}.parquet", pa.table({"length": lengths}))
    return {"file": file, "rows_out": len(lengths)}


@dataclass(frozen=True)
class CountLengths(Stage):
    """Lengths of lines -> how many lines have each."""

    shortest: int

    name = "count"
    inputs = ("measure",)

    def settings(self) -> Mapping[str, Any]:
        return {"shortest": self.shortest}

    def run(self, execution: Execution) -> Summary:
        measured = execution.inputs["measure"]
        counting = partial(_count, measured.folder, execution.folder, self.shortest)
        (stats,) = execution.map("count", lambda: counting, [Unit("all", {"files": measured.parts("lengths")})])
        most = {"most_common": stats["most_common"]}
        return Summary(stats["rows_in"], stats["rows_out"], {"counts": [stats["file"]]}, stats["dropped"], most)

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        return Section({"most_common": outputs[self.name].manifest["most_common"]})


def _count(measured: StageFolder, folder: StageFolder, shortest: int, unit: Unit) -> Stats:
    lengths = np.concatenate([measured.read_table(file)["length"].to_numpy() for file in unit.args["files"]])
    kept = lengths[lengths >= shortest]
    length, count = np.unique(kept, return_counts=True)
    file = folder.write_table("part-00000.parquet", pa.table({"length": length, "count": count}))
    counts = {"rows_in": len(lengths), "rows_out": len(length), "dropped": {"short": len(lengths) - len(kept)}}
    return {**counts, "file": file, "most_common": int(length[count.argmax()])}


class LineConfig(RunConfig):
    """Where the files are, and which lines count."""

    pipeline: str = "tests.integration.line_pipeline:LineConfig"
    folder: Path
    shortest: int = 1
    seconds: float = 0

    groups: ClassVar[Mapping[str, str]] = {"measure": "Measure lines.", "count": "Count lengths."}

    def stages(self, cluster: RayCluster | None) -> Sequence[Stage]:
        return [MeasureLines(sorted(self.folder.glob("*.txt")), self.seconds), CountLengths(self.shortest)]
