"""The vectors of the documents that are candidates, for draws that compare candidates with one another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.keys import Keys
from operators.schemas import NOT_POSITIVE, Vectors, matrix_of, to_numpy, vectors_column
from operators.vectors.geometry import InnerProduct
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.runtime.stage import Stage, Summary
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.search.candidates import VECTORS, ReadFound, inputs_of
from pipelines.text.stages.search.carry import carry_to_candidates
from pipelines.text.stages.search.shards import SearchPool
from pipelines.text.stages.wanted import WANTED


@dataclass(frozen=True)
class CarryVectors(Stage):
    """Partitions of candidates -> partitions of the vectors of their documents: (doc_key, vector), each once.

    A document that is a positive of all queries that found it has none: no draw may take it.

    Attributes:
        proposers: there are candidates beside those of the search.
        searchers: who opens the shards.
    """

    proposers: bool
    searchers: SearchPool

    name = VECTORS

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The vectors, and the stages that leave candidates."""
        return ("encode", "index", *inputs_of(self.proposers))

    def settings(self) -> Mapping[str, Any]:
        """Return nothing: all is said by the inputs."""
        return {}

    def run(self, execution: Execution) -> Summary:
        """Carry the vectors to the candidates."""
        found = {name: execution.inputs[name] for name in inputs_of(self.proposers)}
        # The ranks of proposers are not read.
        named_in = partial(documents_in, ReadFound({name: output.folder for name, output in found.items()}))

        def write(_: InnerProduct) -> Callable[[], WriteVectors]:
            return partial(WriteVectors, execution.folder)

        rows, stats = carry_to_candidates(execution, "carry", found, named_in, write, self.searchers)
        return Summary(
            rows_in=rows,
            rows_out=sum(one["rows_out"] for one in stats),
            parts={"vectors": [one["file"] for one in stats]},
            temporary=[WANTED],
        )


def documents_in(read: ReadFound, part: Record) -> Keys:
    """Return the keys of the documents that are no positive of some query of a partition, each once."""
    candidates = read.candidates(part["found"])
    eligible = to_numpy(candidates, "positive_kind") == NOT_POSITIVE
    return np.unique(to_numpy(candidates, "doc_key")[eligible])


@dataclass(frozen=True)
class WriteVectors:
    """All vectors that a partition of candidates wants -> the same, in the order of their documents."""

    folder: StageFolder

    def __call__(self, bucket: Unit, arrived: pa.Table) -> Stats:
        """Write one partition."""
        key = to_numpy(arrived, "key")
        order = np.argsort(key)
        table = pa.table({"doc_key": key[order], "vector": vectors_column(_in_order(arrived.column("vector"), order))})
        file = self.folder.write_table(f"vectors/part-{bucket.name}.arrow", table)
        return {"file": {**file, "rows": table.num_rows}, "rows_out": table.num_rows}


def _in_order(column: pa.ChunkedArray, order: npt.NDArray[np.int64]) -> Vectors:
    """Return the vectors in another order. What arrived may lie on disk; only the result is in memory."""
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    ordered = np.empty((len(order), column.type.list_size), dtype=column.type.value_type.to_pandas_dtype())
    first = 0
    for chunk in column.chunks:
        ordered[place[first : first + len(chunk)]] = matrix_of(chunk)
        first += len(chunk)
    return ordered
