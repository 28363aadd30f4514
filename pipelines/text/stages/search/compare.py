"""What candidates have in common with the positives of their queries: a comparison, where a filter or draw reads it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from operators.candidates.comparison import Comparison
from operators.keys import Keys
from operators.schemas import to_numpy
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, sum_counts
from pipelines.runtime.shuffle import Shuffle
from pipelines.runtime.stage import Stage, Summary
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.search.candidates import ALL, SIGNAL, ReadFound, inputs_of, positives_of, units_of
from pipelines.text.stages.wanted import WANTED, OpenWanted, wanted_by

CORPUS = "prepare/corpus"
# Documents whose features are routed at a time: a document may go to many partitions.
ROUTED_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class CompareWithPositives(Stage):
    """Partitions of candidates and positives -> the same candidates with the signals of a comparison.

    Features travel, not documents: a signature in the place of a text.

    Attributes:
        comparison: what is compared, and how.
        sources: the names of the proposers.
        cache: where workers keep copies of what is wanted.
    """

    comparison: Comparison
    sources: tuple[str, ...]
    cache: Cache

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the stage."""
        return f"{SIGNAL}{self.comparison.name}"

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The stages that leave candidates, and the documents."""
        return (*inputs_of(bool(self.sources)), CORPUS)

    def settings(self) -> Mapping[str, Any]:
        """Return what decides the signals: the rest is said by the inputs."""
        return self.comparison.settings()

    def warnings(self, manifest: Mapping[str, Any]) -> list[str]:
        """Warn of what no document has."""
        missing = [what for what, count in manifest["comparable"].items() if not count]
        return [self.comparison.warning(what) for what in missing] if manifest["rows_out"] else []

    def run(self, execution: Execution) -> Summary:
        """Bring the features of candidates and positives to their partitions, and compare them there."""
        found = {name: execution.inputs[name] for name in inputs_of(bool(self.sources))}
        read = ReadFound({name: output.folder for name, output in found.items()}, self.sources)
        units, corpus = units_of(found), execution.inputs[CORPUS]
        most = sum(output.manifest["rows_out"] for output in found.values())
        most += sum(part["rows"] for part in found[ALL].parts("positives"))
        named = [unit.args for unit in units]
        wanted = wanted_by(execution, "compare", named, partial(documents_in, read), most)
        documents = [Unit(f"{i:05d}", part) for i, part in enumerate(corpus.parts("documents"))]
        route = partial(RouteFeatures, corpus.folder, execution.folder, wanted, self)
        gather = partial(WriteSignals, execution.folder, read, self.comparison)
        stats = execution.shuffle("compare", Shuffle(route, documents, gather, units, self.comparison.schema))
        rows = sum(one["rows_out"] for one in stats)
        return Summary(
            rows_in=rows,
            rows_out=rows,
            facts={"comparable": sum_counts(stats, "comparable")},
            parts={"signals": [one["file"] for one in stats]},
            temporary=[WANTED],
        )


def documents_in(read: ReadFound, part: Mapping[str, Any]) -> Keys:
    """Return the keys of the documents that are candidates or positives in a partition, each once."""
    positives = positives_of(read.folders[ALL], part["positives"])
    return np.union1d(to_numpy(read.candidates(part["found"]), "doc_key"), to_numpy(positives, "doc_key"))


class RouteFeatures:
    """One partition of documents -> the features of those that are wanted, to the partitions that want them."""

    def __init__(
        self, corpus: StageFolder, folder: StageFolder, wanted: Sequence[Record], stage: CompareWithPositives
    ) -> None:
        self.corpus, self.comparison = corpus, stage.comparison
        self.wanted = OpenWanted(folder, wanted, stage.cache)

    def __call__(self, unit: Unit) -> Iterator[tuple[Keys, pa.Table]]:
        """Route one partition."""
        documents = self.corpus.read_table(unit.args, ["doc_key", *self.comparison.reads])
        for part, row in self.wanted.among(to_numpy(documents, "doc_key")):
            once, place = np.unique(row, return_inverse=True)
            features = self.comparison.features(documents.take(pa.array(once)))
            for first in range(0, len(place), ROUTED_AT_ONCE):
                piece = slice(first, first + ROUTED_AT_ONCE)
                yield part[piece], features.take(pa.array(place[piece]))


@dataclass(frozen=True)
class WriteSignals:
    """The features of all candidates and positives of a partition -> the signals of the candidates."""

    folder: StageFolder
    read: ReadFound
    comparison: Comparison

    def __call__(self, bucket: Unit, arrived: pa.Table) -> Stats:
        """Compare in one partition."""
        candidates, positives = self.read(bucket)
        table = self.comparison(candidates, positives, arrived)
        file = self.folder.write_table(f"signals/part-{bucket.name}.parquet", table)
        return {
            "file": {**file, "rows": table.num_rows},
            "rows_out": table.num_rows,
            "comparable": dict(self.comparison.comparable(arrived)),
        }
