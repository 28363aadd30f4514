"""Search: carry the positives' vectors to their queries, search every shard with every partition, and merge."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.errors import InputError
from operators.schemas import JUDGEMENTS, POSITIVES, concat, matrix_of, numbers, positive_vectors_schema
from operators.segments import row_of
from operators.vectors.merge import Merge
from operators.vectors.search import Search, SearchConfig, open_shard
from operators.vectors.similarity import score_pairs
from pipelines.engines import Pool, Shuffle, Stats, Unit
from pipelines.execution import Completed, Execution
from pipelines.run_directory import StageFolder
from pipelines.stages import Summary, part_name


@dataclass(frozen=True)
class SearchShards:
    """Shards and partitions of query vectors -> partitions of candidates (CANDIDATES) and of positives (POSITIVES)."""

    config: SearchConfig

    name = "search"
    inputs: tuple[str, ...] = ("prepare/queries", "encode/corpus", "encode/queries", "index")

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration."""
        return self.config.model_dump()

    def run(self, execution: Execution) -> Summary:
        """Carry positives, search, merge."""
        folder, inputs = execution.folder, execution.inputs
        lengths = [inputs[name].manifest["dimension"] for name in ("encode/corpus", "encode/queries")]
        if lengths[0] != lengths[1]:
            raise InputError(f"The vectors of the corpus have {lengths[0]} values, those of the queries {lengths[1]}.")
        judgements = inputs["prepare/queries"].parts("judgements")
        queries = inputs["encode/queries"].parts("vectors")
        schema = positive_vectors_schema(inputs["index"].manifest["dimension"])
        units = [Unit(f"{i:05d}", part) for i, part in enumerate(inputs["encode/corpus"].parts("vectors"))]
        route = partial(RoutePositives, inputs["encode/corpus"].folder, inputs["prepare/queries"].folder, judgements)
        gather = WritePositives(folder, inputs["prepare/queries"], inputs["encode/queries"])
        carried = execution.shuffle("positives", Shuffle(route, units, gather, range(len(queries)), schema))

        shards = inputs["index"].parts("shards")
        # Shard by shard: a worker that has fetched one streams the query partitions through it. A local shard is a
        # memory map, opened in milliseconds, and needs no worker that keeps it.
        pairs = [(s, q) for s in range(len(shards)) for q in range(len(queries))]
        units = [
            Unit(f"{s:05d}-{q:05d}", {"shard": shards[s]["path"], "queries": queries[q]["path"], "part": q})
            for s, q in pairs
        ]
        searching = partial(SearchShard, folder, inputs["index"].folder, inputs["encode/queries"].folder, self.config)
        searched = execution.map("search", searching, units, Pool(stateful=not inputs["index"].folder.is_local))

        found = [stats["path"] for stats in searched]
        units = [
            Unit(f"{q:05d}", {"queries": part["path"], "found": found[q :: len(queries)]})
            for q, part in enumerate(queries)
        ]
        merged = execution.map(
            "merge", partial(MergeShards, folder, inputs["encode/queries"].folder, self.config.k), units
        )
        for name in ("found", "carried"):
            folder.remove(name)
        return {
            "rows_in": sum(part["rows"] for part in queries),
            "rows_out": sum(stats["rows_out"] for stats in merged),
            "dropped": {},
            "parts": {
                "candidates": [{"path": stats["path"], "rows": stats["rows_out"]} for stats in merged],
                "positives": [{"path": stats["path"], "rows": stats["rows_out"]} for stats in carried],
            },
        }


class RoutePositives:
    """One partition of document vectors -> the vectors that are positives, to the partition of their query."""

    def __init__(self, vectors: StageFolder, prepared: StageFolder, judgements: Sequence[Mapping[str, Any]]) -> None:
        self.vectors = vectors
        tables = [prepared.read_table(part["path"]) for part in judgements]
        self.part = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
        judged = concat(tables, JUDGEMENTS)
        positive = numbers(judged, "judged") > 0
        self.positives, self.part = judged.filter(pa.array(positive)), self.part[positive]

    def __call__(self, unit: Unit) -> Iterator[tuple[int, pa.Table]]:
        """Route one partition."""
        vectors = self.vectors.read_table(unit.args["path"], ["key", "vector"])
        row = row_of(numbers(vectors, "key"), numbers(self.positives, "doc_key"))
        here = np.flatnonzero(row >= 0)
        vector = vectors.column("vector").combine_chunks().take(pa.array(row[here]))
        score = pa.nulls(len(here), pa.float32())  # known where the query's vector is
        carried = self.positives.take(pa.array(here)).append_column("score", score).append_column("vector", vector)
        for part in np.unique(self.part[here]):
            yield int(part), carried.filter(pa.array(self.part[here] == part))


@dataclass(frozen=True)
class WritePositives:
    """All positives of one partition of queries -> the same in order, with their exact scores; vectors beside."""

    folder: StageFolder
    prepared: Completed
    encoded: Completed

    def __call__(self, bucket: int, positives: pa.Table) -> Stats:
        """Write one partition."""
        judgements = self.prepared.folder.read_table(self.prepared.parts("judgements")[bucket]["path"])
        queries = self.encoded.folder.read_table(self.encoded.parts("vectors")[bucket]["path"])
        # As judged: the order in which positives arrive is the shuffle's.
        judged = _by_pair(judgements.filter(pa.array(numbers(judgements, "judged") > 0)))
        order = np.empty_like(judged)
        order[judged] = _by_pair(positives)
        positives = positives.take(pa.array(order))
        query = row_of(numbers(queries, "key"), numbers(positives, "query_key"))
        vectors = matrix_of(positives.column("vector"))
        score = score_pairs(matrix_of(queries.column("vector")), query, vectors, np.arange(len(query)))
        index = positives.schema.get_field_index("score")
        positives = positives.set_column(index, POSITIVES.field("score"), pa.array(score))
        self.folder.write_table(f"carried/{part_name(bucket)}", positives)
        path = f"positives/{part_name(bucket)}"
        self.folder.write_table(path, positives.select(POSITIVES.names).cast(POSITIVES))
        return {"path": path, "rows_out": positives.num_rows}


def _by_pair(judgements: pa.Table) -> npt.NDArray[np.int64]:
    return np.lexsort((numbers(judgements, "doc_key"), numbers(judgements, "query_key")))


class SearchShard:
    """A shard and a partition of queries -> what the shard has for them."""

    def __init__(self, folder: StageFolder, index: StageFolder, queries: StageFolder, config: SearchConfig) -> None:
        self.folder, self.index, self.queries, self.config = folder, index, queries, config
        self.opened: tuple[str, Search] | None = None
        self.files = ExitStack()

    def __call__(self, unit: Unit) -> Stats:
        """Search one shard with one partition."""
        search = self._search(unit.args["shard"])
        positives = self.folder.read_table(f"carried/{part_name(unit.args['part'])}")
        candidates = search(self.queries.read_table(unit.args["queries"]), positives)
        path = f"found/{unit.name}.parquet"
        self.folder.write_table(path, candidates)
        return {"path": path, "rows_out": candidates.num_rows}

    def _search(self, shard: str) -> Search:
        if self.opened is None or self.opened[0] != shard:
            self.files.close()  # the copy of the shard before, where there was one
            local = self.files.enter_context(self.index.local(shard))
            self.opened = (shard, Search(self.config, open_shard(local)))
        return self.opened[1]


class MergeShards:
    """What all shards found for a partition of queries -> its candidates."""

    def __init__(self, folder: StageFolder, queries: StageFolder, k: int) -> None:
        self.folder, self.queries, self.merge = folder, queries, Merge(k)

    def __call__(self, unit: Unit) -> Stats:
        """Merge one partition."""
        keys = numbers(self.queries.read_table(unit.args["queries"], ["key"]), "key")
        candidates = self.merge(keys, [self.folder.read_table(path) for path in unit.args["found"]])
        path = f"candidates/part-{unit.name}.parquet"
        self.folder.write_table(path, candidates)
        return {"path": path, "rows_out": candidates.num_rows}
