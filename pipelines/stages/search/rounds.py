"""A round of search: every shard with every partition of queries, each by itself, then all shards merged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from operators.schemas import POSITIVES, numbers
from operators.vectors.merge import Merge
from operators.vectors.nearest import Effort
from operators.vectors.search import Search
from pipelines.engines import Stats, Unit
from pipelines.execution import Completed, Execution, timed
from pipelines.hardware import share_of_cores
from pipelines.stages.search.shards import OpenShards, Searchers
from pipelines.storage.records import Record
from pipelines.storage.run_directory import StageFolder


@dataclass(frozen=True)
class Searching:
    """What every round searches with.

    Attributes:
        index: the shards.
        queries: the encoded queries.
        positives: the stage's folder in which they lie, and the statistics of each partition.
        effort: for every shard.
        searchers: who searches.
    """

    index: Completed
    queries: Completed
    positives: tuple[StageFolder, Sequence[Stats]]
    effort: Effort
    searchers: Searchers


@dataclass(frozen=True)
class Found:
    """What a round found: a partition of candidates for each partition of queries."""

    parts: list[dict[str, Any]]
    bare_seconds: float


def search_round(
    execution: Execution, searching: Searching, k: int, queries: Sequence[Record], only: Sequence[Record | None] = ()
) -> Found:
    """Find `k` documents for each query.

    Args:
        execution: of the stage; the steps are named after `k`.
        searching: what to search with.
        k: how many documents that are not judged positive.
        queries: the partitions of query vectors.
        only: for each partition the file, in the stage's folder, of a table whose `query_key` are to be searched, or
            None where none of them is; all, where nothing is given.
    """
    shards = searching.index.parts("shards")
    parts = [q for q in range(len(queries)) if not only or only[q] is not None]
    # Shard by shard: a worker that has fetched one streams the query partitions through it.
    units = [
        (
            q,
            Unit(
                f"{s:05d}-{q:05d}",
                {"shard": shard, "part": q, "queries": queries[q], "only": only[q] if only else None},
            ),
        )
        for s, shard in enumerate(shards)
        for q in parts
    ]
    pool = searching.searchers.pool
    if not pool.stateful:
        pool = replace(pool, cpus=share_of_cores(len(units)))
    merge = partial(MergeShards, execution.folder, searching.queries.folder, queries, k)
    work = partial(SearchShard, execution.folder, searching, k)
    found = execution.map(f"search-{k}", work, [unit for _, unit in units], pool)
    of_part: dict[int, list[Stats]] = {}
    for (q, _), one in zip(units, found, strict=True):
        of_part.setdefault(q, []).append(one)
    merging = [Unit(f"{q:05d}", {"part": q, "found": some}) for q, some in of_part.items()]
    merged = dict(zip(of_part, execution.map(f"merge-{k}", merge, merging), strict=True))
    return Found(
        parts=[{**one["file"], "rows": one["rows_out"], "part": q} for q, one in merged.items()],
        bare_seconds=sum(one["bare_seconds"] for one in merged.values()),
    )


class SearchShard:
    """A shard and a partition of queries -> what the shard has for them."""

    def __init__(self, folder: StageFolder, searching: Searching, k: int) -> None:
        self.folder, self.searching, self.k = folder, searching, k
        self.shards = OpenShards(searching.index.folder, searching.searchers.cache)

    def __call__(self, unit: Unit) -> Stats:
        """Search one shard with one partition."""
        folder, positives = self.searching.positives
        queries = self.searching.queries.folder.read_table(unit.args["queries"])
        judged = folder.read_table(positives[unit.args["part"]]["file"])
        if unit.args["only"] is not None:
            asked = numbers(self.folder.read_table(unit.args["only"]), "query_key")
            queries = queries.filter(pa.array(np.isin(numbers(queries, "key"), asked)))
            judged = judged.filter(pa.array(np.isin(numbers(judged, "query_key"), asked)))
        shard = self.shards.open(unit.args["shard"])
        search = Search(self.k, shard, self.searching.effort, self.searching.searchers.device)
        candidates, seconds = timed(search, queries, judged)
        file = self.folder.write_table(f"found-{self.k}/{unit.name}.arrow", candidates)
        return {"file": file, "rows_out": candidates.num_rows, "bare_seconds": seconds}


@dataclass(frozen=True)
class MergeShards:
    """What all shards found for a partition of queries -> its candidates."""

    folder: StageFolder
    encoded: StageFolder
    queries: Sequence[Record]
    k: int

    def __call__(self, unit: Unit) -> Stats:
        """Merge one partition, a shard at a time: no more than two of them are in memory."""
        part, searched = unit.args["part"], unit.args["found"]
        keys = numbers(self.encoded.read_table(self.queries[part], ["key"]), "key")
        merge = Merge(self.k)
        candidates = merge(keys, [self.folder.read_table(searched[0]["file"])])
        for one in searched[1:]:
            candidates = merge(keys, [candidates, self.folder.read_table(one["file"])])
        file = self.folder.write_table(f"merged-{self.k}/part-{part:05d}.parquet", candidates)
        seconds = sum(one["bare_seconds"] for one in searched)
        return {"file": file, "rows_out": candidates.num_rows, "bare_seconds": seconds}


def positives_of(folder: StageFolder, part: Record) -> pa.Table:
    """Read a partition of positives, without their vectors (schema POSITIVES)."""
    return folder.read_table(part, POSITIVES.names)
