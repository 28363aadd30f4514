"""Export: bring the texts to the negatives, and write the training data with its card."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators.datasets.formats import JSONL_ONLY, LAYOUTS, ExportConfig, Mined
from operators.datasets.order import spread
from operators.schemas import TEXTS, numbers
from operators.segments import groups_of, product_within
from pipelines.engines import Shuffle, Stats, Unit
from pipelines.execution import Completed, Execution
from pipelines.stages import Stage, Summary
from pipelines.storage.records import Record
from pipelines.storage.run_directory import StageFolder


@dataclass(frozen=True)
class ExportDataset(Stage):
    """Partitions of negatives -> one file each and format, with the texts."""

    config: ExportConfig
    num_negatives: int

    name = "export"
    inputs: tuple[str, ...] = ("prepare/corpus", "prepare/queries", "select")

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration."""
        return {**self.config.model_dump(), "num_negatives": self.num_negatives}

    def run(self, execution: Execution) -> Summary:
        """Bring the texts to the query partitions and write every format."""
        corpus, queries, selected = (execution.inputs[name] for name in self.inputs)
        negatives = selected.parts("negatives")
        units = [Unit(f"{i:05d}", part) for i, part in enumerate(corpus.parts("documents"))]
        route = partial(RouteTexts, corpus.folder, selected.folder, negatives)
        gather = WriteFormats(execution.folder, queries, selected, self)
        stats = execution.shuffle("write", Shuffle(route, units, gather, range(len(negatives)), TEXTS))
        return {
            "rows_in": selected.manifest["rows_out"],
            "rows_out": sum(one["rows_out"] for one in stats),
            "dropped": {},
            "rows": {layout: sum(one["rows"][layout] for one in stats) for layout in self.config.formats},
            "parts": {
                layout: [{**one["files"][layout], "rows": one["rows"][layout]} for one in stats]
                for layout in self.config.formats
            },
        }


class RouteTexts:
    """One partition of documents -> those that a partition of negatives names, to that partition."""

    def __init__(self, corpus: StageFolder, selected: StageFolder, negatives: Sequence[Mapping[str, Any]]) -> None:
        self.corpus = corpus
        wanted = []
        for one in negatives:
            table = selected.read_table(one, ["positive_key", "doc_key"])
            wanted.append(np.union1d(numbers(table, "positive_key"), numbers(table, "doc_key")))
        part = np.repeat(np.arange(len(wanted)), [len(keys) for keys in wanted])
        key = np.concatenate(wanted)
        # Sorted once, so that a partition of documents looks up its own keys and not all that are wanted.
        order = np.argsort(key, kind="stable")
        self.key, self.part = key[order], part[order]

    def __call__(self, unit: Unit) -> Iterator[tuple[int, pa.Table]]:
        """Route one partition."""
        documents = self.corpus.read_table(unit.args, TEXTS.names)
        row, at = product_within(numbers(documents, "doc_key"), self.key)
        for part, places in groups_of(self.part[at]):
            yield part, documents.take(pa.array(row[places]))


@dataclass(frozen=True)
class WriteFormats:
    """All texts that a partition of negatives names -> the partition in every format."""

    folder: StageFolder
    queries: Completed
    selected: Completed
    stage: ExportDataset

    def __call__(self, bucket: int, texts: pa.Table) -> Stats:
        """Write one partition."""
        mined = Mined(
            negatives=self.selected.folder.read_table(self.selected.parts("negatives")[bucket]),
            queries=self.queries.folder.read_table(self.queries.parts("queries")[bucket]),
            texts=texts.sort_by("doc_key"),
            num_negatives=self.stage.num_negatives,
        )
        rows, files = {}, {}
        for layout in self.stage.config.formats:
            table = spread(LAYOUTS[layout](mined))
            rows[layout], files[layout] = table.num_rows, self._write(layout, bucket, table)
        return {"rows_out": mined.negatives.num_rows, "rows": rows, "files": files}

    def _write(self, layout: str, bucket: int, table: pa.Table) -> Record:
        number = f"train-{bucket:05d}-of-{len(self.selected.parts('negatives')):05d}"
        if layout in JSONL_ONLY or self.stage.config.file_format == "jsonl":
            lines = [json.dumps(row, ensure_ascii=False) for row in table.to_pylist()]
            return self.folder.write_bytes(f"{layout}/{number}.jsonl", "".join(f"{line}\n" for line in lines).encode())
        path = f"{layout}/{number}.parquet"
        if table.num_rows:
            return self.folder.write_table(path, table)
        # Without a row group: `load_dataset` takes a file with a row group of no rows for a damaged one.
        buffer = io.BytesIO()
        pq.ParquetWriter(buffer, table.schema).close()
        return self.folder.write_bytes(path, buffer.getvalue())
