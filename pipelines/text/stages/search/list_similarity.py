"""The mean similarity of each candidate to the documents that search found for its query, where a model reads it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from operators.candidates.false_negatives.list_similarity import LISTS, with_list_similarities
from operators.keys import Keys
from operators.schemas import PAIR, matrix_of, to_numpy
from operators.vectors.geometry import InnerProduct
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.runtime.stage import Stage, Summary
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.search.candidates import LIST, SIGNAL, ReadFound, inputs_of
from pipelines.text.stages.search.carry import carry_to_candidates
from pipelines.text.stages.search.shards import SearchPool
from pipelines.text.stages.wanted import WANTED


@dataclass(frozen=True)
class CompareWithList(Stage):
    """Partitions of candidates -> the same candidates with their similarity to the list of their query.

    Attributes:
        proposers: there are candidates beside those of the search.
        searchers: who opens the shards.
    """

    proposers: bool
    searchers: SearchPool

    name = f"{SIGNAL}{LIST}"

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The vectors, and the stages that leave candidates."""
        return ("encode", "index", *inputs_of(self.proposers))

    def settings(self) -> Mapping[str, Any]:
        """Return nothing: all is said by the inputs."""
        return {}

    def run(self, execution: Execution) -> Summary:
        """Carry the vectors to the candidates, and compare them there."""
        found = {name: execution.inputs[name] for name in inputs_of(self.proposers)}
        # The ranks of proposers are not read.
        read = ReadFound({name: output.folder for name, output in found.items()})

        def write(geometry: InnerProduct) -> Callable[[], WriteSimilarity]:
            return partial(WriteSimilarity, execution.folder, read, geometry)

        named_in = partial(documents_in, read)
        rows, stats = carry_to_candidates(execution, "compare", found, named_in, write, self.searchers)
        return Summary(
            rows_in=rows,
            rows_out=sum(one["rows_out"] for one in stats),
            parts={"signals": [one["file"] for one in stats]},
            temporary=[WANTED],
        )


def documents_in(read: ReadFound, part: Record) -> Keys:
    """Return the keys of the documents that are candidates in a partition, each once."""
    return np.unique(to_numpy(read.candidates(part["found"]), "doc_key"))


@dataclass(frozen=True)
class WriteSimilarity:
    """All vectors that a partition of candidates wants -> the similarity of each candidate to its list."""

    folder: StageFolder
    read: ReadFound
    geometry: InnerProduct

    def __call__(self, bucket: Unit, arrived: pa.Table) -> Stats:
        """Write one partition."""
        candidates = self.read.candidates(bucket.args["found"])
        vectors = to_numpy(arrived, "key"), matrix_of(arrived.column("vector"))
        table = with_list_similarities(candidates, *vectors, self.geometry).select([*PAIR, *LISTS])
        file = self.folder.write_table(f"signals/part-{bucket.name}.parquet", table)
        return {"file": {**file, "rows": table.num_rows}, "rows_out": table.num_rows}
