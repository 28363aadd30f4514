"""Suspects: what was dropped because it is probably relevant, with its texts, in the order in which to judge it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from operators.candidates.suspects import OF_NEGATIVES, Suspects, SuspectsConfig, best_first
from operators.datasets.judging import csv_of, to_judge, with_queries
from operators.keys import Keys
from operators.schemas import PAIR, to_numpy
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.stage import Section, Stage, Summary
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import RunDirectory, StageFolder
from pipelines.text.edited import keep_edited
from pipelines.text.stages.search.candidates import ReadFound, inputs_of, units_of
from pipelines.text.stages.texts import bring_texts
from pipelines.text.stages.wanted import WANTED

CORPUS, QUERIES, SELECT = "prepare/corpus", "prepare/queries", "select"
# Files that are merged into one at a time.
MERGED_AT_ONCE = 64
# The folder of what is not merged yet: temporary.
FIRST = "first"
CSV, PARQUET = "suspects.csv", "suspects.parquet"


@dataclass(frozen=True)
class WriteSuspects(Stage):
    """Partitions of suspected false negatives -> those whose judgement would teach most, in one file to be judged.

    Attributes:
        config: how many are written.
        num_negatives: how many negatives a full row has.
        cache: where workers keep copies of what is wanted.
        sources: the names of the proposers.
        signals: those that are shown.
    """

    config: SuspectsConfig
    num_negatives: int
    cache: Cache
    sources: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()

    name = "suspects"

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The texts, the selection, and the candidates where pairs have more than the selection tells of them."""
        return (CORPUS, QUERIES, SELECT, *self._of_candidates)

    @property
    def _of_candidates(self) -> tuple[str, ...]:
        return inputs_of(bool(self.sources), self.signals) if self.sources or self.signals else ()

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration: the rest is said by the inputs."""
        return self.config.model_dump(mode="json")

    def publish(
        self, outputs: Mapping[str, StageOutput], run: RunDirectory, configuration: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """Return where the file is that people open."""
        del run, configuration
        return {self.name: f"{outputs[self.name].folder.uri}/{CSV}"}

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Say how many there are, and how many were written."""
        found, written = (outputs[self.name].manifest[key] for key in ("rows_in", "rows_out"))
        said = [f"{found:,} pairs of a query and a document are suspected; {written:,} are written to be judged."]
        return Section(facts={self.name: {"pairs": found, "written": written}}, sentences=said if found else [])

    def run(self, execution: Execution) -> Summary:
        """Order the pairs of each partition, merge the first of all, and bring the texts to them."""
        corpus = execution.inputs[CORPUS]
        read = {name: execution.inputs[name] for name in self._of_candidates}
        ordering = partial(OrderPairs, execution.folder, {n: one.folder for n, one in execution.inputs.items()}, self)
        stats = execution.map("order", ordering, self._units(execution.inputs, read))
        first = merged(execution, [one["file"] for one in stats], self.config.limit)
        naming = [first], partial(documents_in, execution.folder), first["rows"]
        buckets = [Unit("00000", first)]
        (written,) = bring_texts(execution, corpus, naming, partial(WriteFiles, execution.folder), buckets, self.cache)
        return Summary(
            rows_in=sum(one["pairs"] for one in stats),
            rows_out=written["rows_out"],
            parts={"to_judge": [written["parquet"]], "csv": [written["csv"]]},
            temporary=[FIRST, WANTED],
        )

    @staticmethod
    def _units(inputs: Mapping[str, StageOutput], read: Mapping[str, StageOutput]) -> list[Unit]:
        """Return a unit for each partition of queries."""
        selected, queries = inputs[SELECT], inputs[QUERIES]
        files = {
            "suspected": selected.parts("suspected"),
            "negatives": selected.parts("negatives"),
            "queries": queries.parts("queries"),
            "judgements": queries.parts("judgements"),
            **({"found": [unit.args["found"] for unit in units_of(read)]} if read else {}),
        }
        parts = zip(*files.values(), strict=True)
        return [Unit(f"{i:05d}", dict(zip(files, of_part, strict=True))) for i, of_part in enumerate(parts)]


class OrderPairs:
    """One partition of suspected false negatives -> the first of its pairs, in their order, with their queries."""

    def __init__(self, folder: StageFolder, inputs: Mapping[str, StageFolder], stage: WriteSuspects) -> None:
        self.folder, self.limit = folder, stage.config.limit
        self.queries, self.selected = inputs[QUERIES], inputs[SELECT]
        self.read = ReadFound({name: inputs[name] for name in stage._of_candidates}, stage.sources)
        self.suspects = Suspects(stage.num_negatives, stage.sources, stage.signals)

    def __call__(self, unit: Unit) -> Stats:
        """Order one partition."""
        suspected = self.selected.read_table(unit.args["suspected"])
        pairs = self.suspects(
            suspected,
            self.selected.read_table(unit.args["negatives"], OF_NEGATIVES),
            self.queries.read_table(unit.args["judgements"], PAIR),
            self.read.candidates(unit.args["found"]) if self.read.folders else suspected,
        )
        first = with_queries(best_first(pairs, self.limit), self.queries.read_table(unit.args["queries"]))
        file = self.folder.write_table(f"{FIRST}/0/part-{unit.name}.parquet", first)
        return {"file": {**file, "rows": first.num_rows}, "pairs": pairs.num_rows, "rows_out": first.num_rows}


def merged(execution: Execution, files: Sequence[Record], limit: int) -> Record:
    """Return the file of the first pairs of all files."""
    rounds = 0
    while len(files) > 1:
        rounds += 1
        groups = [files[first : first + MERGED_AT_ONCE] for first in range(0, len(files), MERGED_AT_ONCE)]
        units = [Unit(f"{i:05d}", {"files": list(group)}) for i, group in enumerate(groups)]
        merging = partial(MergePairs, execution.folder, limit, rounds)
        files = [one["file"] for one in execution.map(f"merge-{rounds}", merging, units)]
    return files[0]


@dataclass(frozen=True)
class MergePairs:
    """The first pairs of some files -> the first of all of them."""

    folder: StageFolder
    limit: int
    round: int

    def __call__(self, unit: Unit) -> Stats:
        """Merge some files."""
        tables = [self.folder.read_table(file) for file in unit.args["files"]]
        first = best_first(pa.concat_tables(tables), self.limit)
        file = self.folder.write_table(f"{FIRST}/{self.round}/part-{unit.name}.parquet", first)
        return {"file": {**file, "rows": first.num_rows}, "rows_out": first.num_rows}


def documents_in(folder: StageFolder, pairs: Record) -> Keys:
    """Return the keys of the documents that pairs name, each once."""
    return np.unique(to_numpy(folder.read_table(pairs, ["doc_key"]), "doc_key"))


@dataclass(frozen=True)
class WriteFiles:
    """The texts of all documents that the first pairs name -> the files to be judged."""

    folder: StageFolder

    def __call__(self, bucket: Unit, texts: pa.Table) -> Stats:
        """Write the files. One that somebody filled in is kept."""
        table = to_judge(self.folder.read_table(bucket.args), texts)
        content = csv_of(table)
        there = self.folder.read_bytes(CSV) if CSV in self.folder.files() else content
        if there != content:
            keep_edited(self.folder, CSV, there)
        return {
            "parquet": {**self.folder.write_table(PARQUET, table), "rows": table.num_rows},
            "csv": {**self.folder.write_bytes(CSV, content), "rows": table.num_rows},
            "rows_out": table.num_rows,
        }
