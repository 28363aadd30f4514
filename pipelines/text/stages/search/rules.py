"""Which candidates meet the rules of draws: metadata are brought to the partitions of queries that found documents."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from operators.candidates.rules import CELLS, Rules
from operators.candidates.sources import WHERE
from operators.errors import shown
from operators.keys import Keys
from operators.schemas import to_numpy
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput, sum_counts
from pipelines.runtime.shuffle import Shuffle
from pipelines.runtime.stage import Section, Stage, Summary
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.search.candidates import SIGNAL, ReadFound, inputs_of, units_of
from pipelines.text.stages.wanted import WANTED, OpenWanted, wanted_by


@dataclass(frozen=True)
class EvaluateRules(Stage):
    """Partitions of candidates -> the same with a column for each rule (`Rules`), as the signals are written.

    Attributes:
        rules: all that draws have, ascending, and where each stands in the configuration.
        sources: the names of the proposers.
        cache: where workers keep copies of what is wanted.
    """

    rules: Mapping[str, str]
    sources: tuple[str, ...]
    cache: Cache

    name = f"{SIGNAL}{WHERE}"

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The stages that leave candidates, and the metadata."""
        return (*inputs_of(bool(self.sources)), "prepare/corpus", "prepare/queries")

    def settings(self) -> Mapping[str, Any]:
        """Return the rules: the rest is said by the inputs."""
        return {"rules": list(self.rules)}

    def warnings(self, manifest: Mapping[str, Any]) -> list[str]:
        """Warn of metadata that nothing has, and of rules that nothing meets."""
        lines = []
        for name in manifest["unknown"]:
            side, _, field = name.partition(".")
            whose = {"document": "candidate", "query": "query"}[side]
            place = next(place for rule, place in self.rules.items() if name in Rules([rule]).names)
            lines.append(f"{place}: no {whose} has the metadata {shown(field)} that the rule names")
        never = [rule for rule, count in manifest["met"].items() if not count]
        return lines + [f"{self.rules[rule]}: no candidate meets {shown(rule)}" for rule in never]

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Say how many candidates meet each rule."""
        manifest = outputs[self.name].manifest
        rows, met = manifest["rows_out"], manifest["met"]
        return Section(
            {"rules": met}, [f"{count:,} of {rows:,} candidates meet {rule}." for rule, count in met.items()]
        )

    def run(self, execution: Execution) -> Summary:
        """Bring the metadata of the candidates to their partitions, and evaluate every rule there."""
        found = {name: execution.inputs[name] for name in inputs_of(bool(self.sources))}
        corpus, prepared = (execution.inputs[name] for name in ("prepare/corpus", "prepare/queries"))
        read = ReadFound({name: output.folder for name, output in found.items()}, self.sources)
        candidates = units_of(found)
        most = sum(output.manifest["rows_out"] for output in found.values())
        named = [unit.args for unit in candidates]
        wanted = wanted_by(execution, "meet", named, partial(documents_in, read), most)
        documents = [Unit(f"{i:05d}", part) for i, part in enumerate(corpus.parts("documents"))]
        buckets = [
            Unit(unit.name, {**unit.args, "queries": part})
            for unit, part in zip(candidates, prepared.parts("queries"), strict=True)
        ]
        route = partial(RouteCells, corpus.folder, execution.folder, wanted, self)
        gather = partial(MeetRules, execution.folder, prepared.folder, read, self.rules)
        stats = execution.shuffle("meet", Shuffle(route, documents, gather, buckets, CELLS))
        rows, known = sum(one["rows_out"] for one in stats), {name for one in stats for name in one["known"]}
        met = sum_counts(stats, "met")
        return Summary(
            rows_in=rows,
            rows_out=rows,
            facts={
                "met": {rule: met.get(rule, 0) for rule in self.rules},
                "unknown": sorted(Rules(list(self.rules)).names - known),
            },
            parts={"signals": [one["file"] for one in stats]},
            temporary=[WANTED],
        )


def documents_in(read: ReadFound, part: Record) -> Keys:
    """Return the keys of the documents that are candidates in a partition, each once."""
    return np.unique(to_numpy(read.candidates(part["found"]), "doc_key"))


class RouteCells:
    """One partition of documents -> what rules read of those that are candidates, to the partitions that found them."""

    def __init__(
        self, corpus: StageFolder, folder: StageFolder, wanted: Sequence[Record], stage: EvaluateRules
    ) -> None:
        self.corpus, self.rules = corpus, Rules(list(stage.rules), stage.rules)
        self.wanted = OpenWanted(folder, wanted, stage.cache)

    def __call__(self, unit: Unit) -> Iterator[tuple[Keys, pa.Table]]:
        """Route one partition."""
        documents = self.corpus.read_table(unit.args, ["doc_key", "metadata"])
        for part, row in self.wanted.among(to_numpy(documents, "doc_key")):
            once, place = np.unique(row, return_inverse=True)
            yield part, self.rules.cells(documents.take(pa.array(once))).take(pa.array(place))


class MeetRules:
    """All metadata that a partition of candidates wants -> which candidates meet each rule."""

    def __init__(self, folder: StageFolder, prepared: StageFolder, read: ReadFound, rules: Mapping[str, str]) -> None:
        self.folder, self.prepared, self.read, self.rules = folder, prepared, read, Rules(list(rules), rules)

    def __call__(self, bucket: Unit, arrived: pa.Table) -> Stats:
        """Evaluate the rules in one partition."""
        candidates = self.read.candidates(bucket.args["found"])
        queries = self.prepared.read_table(bucket.args["queries"], ["query_key", "metadata"])
        met = self.rules(candidates, queries, arrived)
        file = self.folder.write_table(f"signals/part-{bucket.name}.parquet", met.table)
        return {
            "file": {**file, "rows": met.table.num_rows},
            "rows_out": met.table.num_rows,
            "known": sorted(met.known),
            "met": met.counts(),
        }
