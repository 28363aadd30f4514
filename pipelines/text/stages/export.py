"""Export: bring the texts to the negatives, and write the training data with its card."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from operators.datasets.card import CardFacts
from operators.datasets.export import ExportConfig, folder_of, layout_of
from operators.datasets.layout import NegativeRows
from operators.datasets.order import spread
from operators.keys import Keys
from operators.plugins import code_of
from operators.schemas import to_numpy
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.publication import check_published, publish
from pipelines.runtime.stage import Stage, Summary
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import RunDirectory, StageFolder
from pipelines.text.cards import write_card
from pipelines.text.stages.texts import bring_texts
from pipelines.text.stages.wanted import WANTED


@dataclass(frozen=True)
class ExportDataset(Stage):
    """Partitions of negatives -> one file each and format, with the texts."""

    config: ExportConfig
    num_negatives: int
    cache: Cache

    name = "export"
    inputs = ("prepare/corpus", "prepare/queries", "select")

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration."""
        code = {name: code_of(layout_of(name)) for name in self.config.formats}
        return {**self.config.model_dump(mode="json"), "num_negatives": self.num_negatives, "code": code}

    def check_run(self, run: RunDirectory) -> None:
        """Refuse a run directory in which something else is where the dataset is published."""
        check_published(run, self.inputs)

    def publish(
        self, outputs: Mapping[str, StageOutput], run: RunDirectory, configuration: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """Write the cards, and make the files the dataset of the run; return format -> URI."""
        exported, selected = outputs[self.name], outputs["select"].manifest
        files: list[Record] = []
        for layout in self.config.formats:
            parts = exported.parts(layout)
            facts = CardFacts(
                layout=layout,
                file_format=self.config.file_format_of(layout),
                rows=exported.manifest["rows"][layout],
                num_negatives=self.num_negatives,
                counts={"chosen": selected["rows_out"], **selected["dropped"]},
                pairs={"all": selected["pairs"], "short": selected["short_rows"], "empty": selected["empty_rows"]},
                configuration=configuration,
                digest=xxhash.xxh3_64_hexdigest(" ".join(part["xxh3"] for part in parts).encode()),
            )
            files += [*parts, write_card(exported.folder, layout, facts)]
        columns = {folder_of(layout): columns for layout, columns in self._columns().items()}
        root = publish(run, exported.folder, columns, files)
        return {layout: f"{root}/{folder_of(layout)}" for layout in self.config.formats}

    def _columns(self) -> dict[str, list[str]]:
        """Return the columns that a trainer reads, of every format."""
        return {layout: layout_of(layout).training_columns(self.num_negatives) for layout in self.config.formats}

    def run(self, execution: Execution) -> Summary:
        """Bring the texts to the query partitions and write every format."""
        corpus, queries, selected = (execution.inputs[name] for name in self.inputs)
        negatives = selected.parts("negatives")
        most = selected.manifest["rows_out"] + selected.manifest["pairs"]
        buckets = [
            Unit(f"{i:05d}", {"negatives": one, "queries": of_queries, "parts": len(negatives)})
            for i, (one, of_queries) in enumerate(zip(negatives, queries.parts("queries"), strict=True))
        ]
        naming = negatives, partial(documents_in, selected.folder), most
        gather = partial(WriteFormats, execution.folder, queries.folder, selected.folder, self)
        stats = bring_texts(execution, corpus, naming, gather, buckets, self.cache)
        return Summary(
            rows_in=selected.manifest["rows_out"],
            rows_out=sum(one["rows_out"] for one in stats),
            facts={
                "rows": {layout: sum(one["rows"][layout] for one in stats) for layout in self.config.formats},
                "columns": self._columns(),
            },
            parts={
                layout: [{**one["files"][layout], "rows": one["rows"][layout]} for one in stats]
                for layout in self.config.formats
            },
            temporary=[WANTED],
        )


def documents_in(selected: StageFolder, negatives: Record) -> Keys:
    """Return the keys of the documents that a partition of negatives names: positives and negatives."""
    table = selected.read_table(negatives, ["positive_key", "doc_key"])
    return np.union1d(to_numpy(table, "positive_key"), to_numpy(table, "doc_key"))


class WriteFormats:
    """All texts that a partition of negatives names -> the partition in every format."""

    def __init__(self, folder: StageFolder, queries: StageFolder, selected: StageFolder, stage: ExportDataset) -> None:
        self.folder, self.queries, self.selected, self.stage = folder, queries, selected, stage

    def __call__(self, bucket: Unit, texts: pa.Table) -> Stats:
        """Write one partition."""
        rows_of_part = NegativeRows(
            negatives=self.selected.read_table(bucket.args["negatives"]),
            queries=self.queries.read_table(bucket.args["queries"]),
            texts=texts.sort_by("doc_key"),
            num_negatives=self.stage.num_negatives,
        )
        number = f"train-{bucket.name}-of-{bucket.args['parts']:05d}"
        rows, files = {}, {}
        for layout in self.stage.config.formats:
            table = spread(layout_of(layout)(rows_of_part))
            rows[layout], files[layout] = table.num_rows, self._write(layout, number, table)
        return {"rows_out": rows_of_part.negatives.num_rows, "rows": rows, "files": files}

    def _write(self, layout: str, number: str, table: pa.Table) -> Record:
        if self.stage.config.file_format_of(layout) == "jsonl":
            lines = [json.dumps(row, ensure_ascii=False) for row in table.to_pylist()]
            return self.folder.write_bytes(
                f"{folder_of(layout)}/{number}.jsonl", "".join(f"{line}\n" for line in lines).encode()
            )
        path = f"{folder_of(layout)}/{number}.parquet"
        if table.num_rows:
            return self.folder.write_table(path, table)
        # Without a row group: `load_dataset` takes a file with a row group of no rows for a damaged one.
        buffer = io.BytesIO()
        pq.ParquetWriter(buffer, table.schema).close()
        return self.folder.write_bytes(path, buffer.getvalue())
