"""Search: carry the positives' vectors to their queries, tune the effort, search every shard, and merge."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.schemas import POSITIVES, matrix_of, numbers, positive_vectors_schema, vectors_column
from operators.segments import row_of
from operators.vectors.nearest import Effort
from operators.vectors.precision import multiplies_bfloat16
from operators.vectors.search import SearchConfig
from operators.vectors.similarity import score_pairs
from pipelines.engines import Pool, Stats, Unit
from pipelines.execution import Completed, Execution
from pipelines.shuffle import Shuffle
from pipelines.stages import Stage, Summary
from pipelines.stages.search.effort import line_of, tuned_effort
from pipelines.stages.search.rounds import Searching, search_round
from pipelines.stages.search.shards import OpenShards, Searchers
from pipelines.storage.records import Record
from pipelines.storage.run_directory import StageFolder

Ints = npt.NDArray[np.int64]

# Loading torch takes seconds, as this many floating-point operations in float32 do on two cores.
MUCH_WORK = 1e12


@dataclass(frozen=True)
class SearchAll(Stage):
    """Shards and partitions of query vectors -> partitions of candidates (CANDIDATES) and of positives.

    The positives (schema positive_vectors_schema) keep their documents' vectors: deeper rounds need them.

    Attributes:
        config: how deep, and how well.
        searchers: who searches.
    """

    config: SearchConfig
    searchers: Searchers

    name = "search/all"
    inputs: tuple[str, ...] = ("prepare/queries", "encode", "index")

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration of this round."""
        return self.config.model_dump(exclude={"max_k"})

    def run(self, execution: Execution) -> Summary:
        """Carry positives, tune, search, merge."""
        encoded, index = execution.inputs["encode"], execution.inputs["index"]
        queries = encoded.parts("queries")
        carried = self._carry(execution, queries)
        tuned = tuned_effort(execution, self.config, self.searchers)
        if tuned is not None:
            execution.progress.say(f"search: {line_of(tuned)}")
        searching = Searching(
            index=index,
            queries=encoded,
            positives=(execution.folder, carried),
            effort=Effort(exact=True) if tuned is None else tuned.effort,
            searchers=replace(self.searchers, device=self._device(sum(part["rows"] for part in queries), index)),
        )
        found = search_round(execution, searching, self.config.k, queries)
        return {
            "temporary": [f"sample-{self.config.k}", f"tried-{self.config.k}"],
            "rows_in": sum(part["rows"] for part in queries),
            "rows_out": sum(part["rows"] for part in found.parts),
            "bare_seconds": found.bare_seconds,
            "dropped": {},
            "effort": asdict(searching.effort),
            "recall": None if tuned is None else {**asdict(tuned), "target": self.config.recall_target},
            "parts": {
                "candidates": found.parts,
                "positives": [{**one["file"], "rows": one["rows_out"]} for one in carried],
            },
        }

    def _device(self, queries: int, index: Completed) -> str:
        """Return the device that compares every vector: for much work torch's, where it has bfloat16 in hardware."""
        products = queries * index.manifest["rows_out"] * 2 * index.manifest["dimension"]
        device = self.searchers.device
        return "cpu:0" if device == "cpu" and products > MUCH_WORK and multiplies_bfloat16() else device

    def _carry(self, execution: Execution, queries: Sequence[Mapping[str, Any]]) -> list[Stats]:
        prepared, encoded, index = (execution.inputs[name] for name in self.inputs)
        schema = positive_vectors_schema(encoded.manifest["dimension"], encoded.manifest["vector_dtype"])
        units = [Unit(f"{i:05d}", shard) for i, shard in enumerate(index.parts("shards"))]
        judgements = prepared.parts("judgements")
        buckets = [
            Unit(f"{i:05d}", {"queries": part, "judgements": judged})
            for i, (part, judged) in enumerate(zip(queries, judgements, strict=True))
        ]
        shards = OpenShards(index.folder, self.searchers.cache)
        route = partial(RoutePositives, shards, prepared.folder, judgements)
        gather = partial(WritePositives, execution.folder, prepared.folder, encoded.folder)
        resources = self.searchers.pool.resources
        pool = Pool(resources=resources) if resources else None
        return execution.shuffle("positives", Shuffle(route, units, gather, buckets, schema, pool))


class RoutePositives:
    """One shard -> the vectors in it that are positives, to the partition of their query."""

    def __init__(self, shards: OpenShards, prepared: StageFolder, judgements: Sequence[Record]) -> None:
        self.shards, self.prepared, self.judgements = shards, prepared, judgements

    def __call__(self, unit: Unit) -> Iterator[tuple[Ints, pa.Table]]:
        """Route one shard; one partition of judgements at a time is held against it."""
        shard = self.shards.open(unit.args)
        for part, judgements in enumerate(self.judgements):
            positives = _positive(self.prepared.read_table(judgements))
            row = shard.row_of(numbers(positives, "doc_key"))
            here = np.flatnonzero(row >= 0)
            score = pa.nulls(len(here), pa.float32())  # known where the query's vector is
            carried = positives.take(pa.array(here)).append_column("score", score)
            vectors = vectors_column(shard.vectors[row[here]])
            yield np.full(len(here), part), carried.append_column("vector", vectors)


class WritePositives:
    """All positives of one partition of queries -> the same in order, with their exact scores."""

    def __init__(self, folder: StageFolder, prepared: StageFolder, encoded: StageFolder) -> None:
        self.folder, self.prepared, self.encoded = folder, prepared, encoded

    def __call__(self, bucket: Unit, positives: pa.Table) -> Stats:
        """Write one partition."""
        judgements = self.prepared.read_table(bucket.args["judgements"])
        queries = self.encoded.read_table(bucket.args["queries"])
        # As judged: the order in which positives arrive is the shuffle's.
        judged = _by_pair(_positive(judgements))
        order = np.empty_like(judged)
        order[judged] = _by_pair(positives)
        positives = positives.take(pa.array(order))
        query = row_of(numbers(queries, "key"), numbers(positives, "query_key"))
        vectors = matrix_of(positives.column("vector"))
        score = score_pairs(matrix_of(queries.column("vector")), query, vectors, np.arange(len(query)))
        index = positives.schema.get_field_index("score")
        scored = positives.set_column(index, POSITIVES.field("score"), pa.array(score))
        file = self.folder.write_table(f"positives/part-{bucket.name}.arrow", scored)
        return {"file": file, "rows_out": positives.num_rows}


def _positive(judgements: pa.Table) -> pa.Table:
    return judgements.filter(pa.array(numbers(judgements, "judged") > 0))


def _by_pair(judgements: pa.Table) -> npt.NDArray[np.int64]:
    return np.lexsort((numbers(judgements, "doc_key"), numbers(judgements, "query_key")))
