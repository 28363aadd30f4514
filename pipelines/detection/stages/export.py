"""Export: the hard samples and the weights as files to train with, and as COCO to look at in other tools."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.detections.coco_samples import annotations_of, categories_of, images_of
from pipelines.detection.stages.partitions import names_in, units_of
from pipelines.detection.stages.select import KINDS
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.publication import check_published, publish
from pipelines.runtime.stage import Stage, Summary
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import RunDirectory, StageFolder

# The folders of the dataset: what `select` left under other names, the hard samples as lines, and as COCO.
FOLDERS: Mapping[str, str] = {"hard": "hard", "boxes": "box_weights", "images": "image_weights"}
LINES, COCO = "hard_jsonl", "coco"


@dataclass(frozen=True)
class ExportSamples(Stage):
    """Partitions of hard samples and weights -> Parquet, JSONL and COCO JSON."""

    name = "export"
    inputs = ("prepare/boxes", "select")

    def settings(self) -> Mapping[str, Any]:
        """Return nothing: the inputs decide all."""
        return {}

    def check_run(self, run: RunDirectory) -> None:
        """Refuse a run directory in which something else is where the dataset is published."""
        check_published(run, self.inputs)

    def publish(
        self, outputs: Mapping[str, StageOutput], run: RunDirectory, configuration: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """Make the files the dataset of the run; return folder -> URI."""
        del configuration
        exported = outputs[self.name]
        columns = exported.manifest["columns"]
        root = publish(run, exported.folder, columns, [part for name in columns for part in exported.parts(name)])
        return {name: f"{root}/{name}" for name in columns}

    def run(self, execution: Execution) -> Summary:
        """Write every format."""
        prepared, selected = (execution.inputs[name] for name in self.inputs)
        units = units_of(prepared, **{f"selected_{kind}": selected.parts(kind) for kind in KINDS})
        writing = partial(WritePart, execution.folder, selected.folder, len(units))
        stats = execution.map("write", writing, units)
        names = names_in(prepared)
        hard, images = (list(part) for part in (selected.parts("hard"), prepared.parts("images")))
        make = partial(WriteCoco, execution.folder, selected.folder, prepared.folder, names)
        (coco,) = execution.map("coco", make, [Unit("all", {"hard": hard, "images": images})])
        folders = [*FOLDERS.values(), LINES]
        return Summary(
            rows_in=selected.manifest["rows_out"],
            rows_out=sum(one["rows_out"] for one in stats),
            facts={"columns": {**{name: stats[0]["columns"][name] for name in folders}, COCO: []}},
            parts={**{name: [one[name] for one in stats] for name in folders}, COCO: [coco["file"]]},
        )


class WritePart:
    """One partition of hard samples and weights -> its files."""

    def __init__(self, folder: StageFolder, selected: StageFolder, parts: int) -> None:
        self.folder, self.selected, self.parts = folder, selected, parts

    def __call__(self, unit: Unit) -> Stats:
        """Write one partition."""
        number, written, columns = f"train-{unit.name}-of-{self.parts:05d}", {}, {}
        tables = {name: self.selected.read_table(unit.args[f"selected_{kind}"]) for kind, name in FOLDERS.items()}
        for name, table in tables.items():
            written[name] = {**self.folder.write_table(f"{name}/{number}.parquet", table), "rows": table.num_rows}
            columns[name] = table.column_names
        hard = tables["hard"]
        lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in hard.to_pylist())
        file = self.folder.write_bytes(f"{LINES}/{number}.jsonl", lines.encode())
        columns[LINES] = hard.column_names
        return {**written, LINES: {**file, "rows": hard.num_rows}, "columns": columns, "rows_out": hard.num_rows}


class WriteCoco:
    """All hard samples -> one COCO file, partition after partition."""

    def __init__(
        self, folder: StageFolder, selected: StageFolder, prepared: StageFolder, names: Mapping[int, str]
    ) -> None:
        self.folder, self.selected, self.prepared, self.names = folder, selected, prepared, names

    def __call__(self, unit: Unit) -> Stats:
        """Write the file."""
        hard, images = unit.args["hard"], unit.args["images"]
        rows = sum(part["rows"] for part in hard)

        def write(stream: IO[bytes]) -> None:
            for text in self._texts(hard, images):
                stream.write(text.encode())

        file = self.folder.write(f"{COCO}/all.json", write)
        return {"file": {**file, "rows": rows}, "rows_out": rows}

    def _texts(self, hard: Sequence[Record], images: Sequence[Record]) -> Iterator[str]:
        pairs = [(images[at], hard[at]) for at in range(len(hard))]
        yield '{"images": ['
        yield from _listed(one for of_images, of_hard in pairs for one in images_of(*self._read(of_images, of_hard)))
        yield '], "annotations": ['
        first, classes = 1, set[int]()

        def annotations() -> Iterator[dict[str, Any]]:
            nonlocal first
            for part in hard:
                table = self.selected.read_table(part)
                classes.update(pc.unique(table.column("class_id")).to_pylist())
                yield from annotations_of(table, first)
                first += table.num_rows

        yield from _listed(annotations())
        yield f'], "categories": {json.dumps(categories_of(classes, self.names))}}}'

    def _read(self, images: Record, hard: Record) -> tuple[pa.Table, pa.Table]:
        return self.prepared.read_table(images), self.selected.read_table(hard, ["image_key"])


def _listed(ones: Iterator[dict[str, Any]]) -> Iterator[str]:
    for at, one in enumerate(ones):
        yield f"{',' if at else ''}\n{json.dumps(one)}"
