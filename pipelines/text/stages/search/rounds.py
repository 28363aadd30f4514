"""A round of search: every shard gives its best for every partition of queries, then all shards are merged.

A shard is asked for its share of the k best and a little more, so what is written hardly grows with their number. Where
the merge shows that a shard may have more of the k best, it is asked again, for those queries alone, and merged again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.schemas import CANDIDATES, concat, to_numpy
from operators.vectors.geometry import InnerProduct
from operators.vectors.merge import Merge
from operators.vectors.missing import MISSING, asked_of, cut_lists, missing_rows, still_missing
from operators.vectors.nearest import OperatingPoint
from operators.vectors.search import Search
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput, Work, timed
from pipelines.runtime.resources import share_of_cores
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.search.shards import OpenShards, SearchPool, layout_of, name_of


@dataclass(frozen=True)
class SearchContext:
    """What every round searches with.

    Attributes:
        index: the shards.
        queries: the encoded queries.
        geometry: of the vectors.
        positives: the stage's folder in which they lie, and the statistics of each partition.
        point: for every shard.
        searchers: who searches.
    """

    index: StageOutput
    queries: StageOutput
    geometry: InnerProduct
    positives: tuple[StageFolder, Sequence[Stats]]
    point: OperatingPoint
    searchers: SearchPool


@dataclass(frozen=True)
class Found:
    """What a round found: a partition of candidates for each partition of queries."""

    parts: list[dict[str, Any]]
    compute_seconds: float


def search_round(
    execution: Execution,
    searching: SearchContext,
    k: int,
    queries: Sequence[Record],
    only: Sequence[Record | None] = (),
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
    round_ = Round(execution, searching, k, queries, only)
    parts = [q for q in range(len(queries)) if not only or only[q] is not None]
    merged = round_.merged_before(parts)
    merged |= round_.first([q for q in parts if q not in merged])
    merged |= round_.again({q: one for q, one in merged.items() if one["missing"] is not None})
    for name in ("found", "first", "missing", "again"):  # a partition that is merged is not searched again
        execution.folder.clear(f"{name}-{k}")
    return Found(
        parts=[{**merged[q]["file"], "rows": merged[q]["rows_out"], "part": q} for q in parts],
        compute_seconds=sum(merged[q]["compute_seconds"] for q in parts),
    )


@dataclass(frozen=True)
class Round:
    """The steps of a round; see `search_round`. Partitions of queries go by their number."""

    execution: Execution
    searching: SearchContext
    k: int
    queries: Sequence[Record]
    only: Sequence[Record | None]

    def merges(self, parts: Iterable[int]) -> dict[int, str]:
        """Name the units that merge partitions. What merging says of the shards holds for these shards alone."""
        layout = layout_of(self.searching.index.parts("shards"))
        return {q: f"{q:05d}-{layout}" for q in parts}

    def merged_before(self, parts: Sequence[int]) -> dict[int, Stats]:
        """Return the partitions of which nothing is missing since an earlier run, and what their merge said."""
        names = {name: q for q, name in self.merges(parts).items()}
        first, again = (self.execution.done(f"{step}-{self.k}", list(names)) for step in ("merge", "merge-again"))
        whole = {name: one for name, one in first.items() if one["missing"] is None}
        return {names[name]: one for name, one in {**whole, **again}.items()}

    def first(self, parts: Sequence[int]) -> dict[int, Stats]:
        """Ask every shard for its share of `k`, and a little more; return what merging said of each partition."""
        shards = self.searching.index.parts("shards")
        documents = sum(shard["rows"] for shard in shards)
        asked = [asked_of(self.k, shard["rows"], documents) for shard in shards]
        # Shard by shard: a worker that has fetched one streams the query partitions through it.
        units = [(s, q, {"asked": asked[s], "missing": None}) for s in range(len(shards)) for q in parts]
        found = self._searched(f"search-{self.k}", "found", units)
        cut = [(asked[s], shard["rows"]) for s, shard in enumerate(shards)]
        merge = partial(MergeShards, self.execution.folder, self.searching.queries.folder, self.k, cut)
        return self._merged(f"merge-{self.k}", merge, {q: {"found": found[q]} for q in parts})

    def again(self, short: Mapping[int, Stats]) -> dict[int, Stats]:
        """Ask the shards that may have more for all they have; return what merging said of each partition."""
        pairs = sorted((s, q) for q, one in short.items() for s in one["missing"]["shards"])
        units = [(s, q, {"asked": self.k, "missing": short[q]["missing"]["file"]}) for s, q in pairs]
        found = self._searched(f"search-again-{self.k}", "again", units)
        merge = partial(MergeAgain, self.execution.folder, self.searching.queries.folder, self.k)
        return self._merged(
            f"merge-again-{self.k}", merge, {q: {"first": brief(one), "found": found[q]} for q, one in short.items()}
        )

    def _searched(
        self, step: str, place: str, units: Sequence[tuple[int, int, dict[str, Any]]]
    ) -> dict[int, list[dict[str, Any]]]:
        """Search shards with partitions, (shard, partition, what else); return what was found for each partition."""
        searching, (carried, positives) = self.searching, self.searching.positives
        shards = searching.index.parts("shards")
        todo = []
        for s, q, more in units:
            only = self.only[q] if self.only else None
            args = {"shard": shards[s], "number": s, "queries": self.queries[q], "positives": positives[q]["file"]}
            todo.append(Unit(f"{name_of(shards[s])}-{q:05d}", {**args, "only": only, **more}))
        pool = searching.searchers.pool
        if not pool.stateful:
            pool = replace(pool, cpus=share_of_cores(len(units)))
        # Folders and no manifests, which grow with the corpus: a worker gets the work anew with each batch of units.
        folders = {"index": searching.index.folder, "queries": searching.queries.folder, "positives": carried}
        folders["found"] = self.execution.folder
        how = searching.searchers, searching.geometry, searching.point
        work = partial(SearchShard, folders, how, self.k, place)
        found: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for (_, q, _), one in zip(units, self.execution.map(step, work, todo, pool), strict=True):
            found[q].append(brief(one))
        return found

    def _merged(self, step: str, merge: Callable[[], Work], parts: Mapping[int, Mapping[str, Any]]) -> dict[int, Stats]:
        names = self.merges(parts)
        units = [Unit(names[q], {"part": q, "queries": self.queries[q], **args}) for q, args in parts.items()]
        return dict(zip(parts, self.execution.map(step, merge, units), strict=True))


class SearchShard:
    """A shard and a partition of queries -> what the shard has for them, or what of it was missing."""

    def __init__(
        self,
        folders: Mapping[str, StageFolder],
        how: tuple[SearchPool, InnerProduct, OperatingPoint],
        k: int,
        place: str,
    ) -> None:
        searchers, geometry, self.point = how
        self.folders, self.device, self.k, self.place = folders, searchers.device, k, place
        self.shards = OpenShards(folders["index"], searchers.cache, geometry)

    def __call__(self, unit: Unit) -> Stats:
        """Search one shard with one partition."""
        args, found = unit.args, self.folders["found"]
        queries = self.folders["queries"].read_table(args["queries"])
        judged = self.folders["positives"].read_table(args["positives"])
        wanted = args["missing"] or args["only"]
        if wanted is not None:
            wanted = found.read_table(wanted)
            if args["missing"] is not None:
                wanted = wanted.filter(pc.field("shard") == args["number"])
            asked = to_numpy(wanted, "query_key")
            queries = queries.filter(pa.array(np.isin(to_numpy(queries, "key"), asked)))
            judged = judged.filter(pa.array(np.isin(to_numpy(judged, "query_key"), asked)))
        shard = self.shards.open(args["shard"], whole=wanted is None)
        search = Search(self.k, shard, self.point, self.device, args["asked"])
        candidates, seconds = timed(search, queries, judged)
        if args["missing"] is not None:
            candidates = missing_rows(candidates, wanted)
        file = found.write_table(f"{self.place}-{self.k}/{unit.name}.arrow", candidates)
        return {"file": file, "rows_out": candidates.num_rows, "compute_seconds": seconds}


@dataclass(frozen=True)
class MergeShards:
    """What all shards found for a partition of queries -> its candidates, and which lists may lack some of them.

    Attributes:
        folder: of the stage.
        encoded: where the queries are.
        k: how many documents that are not judged positive.
        lists: for how many each shard was asked, and how many documents it has.
    """

    folder: StageFolder
    encoded: StageFolder
    k: int
    lists: Sequence[tuple[int, int]]

    def __call__(self, unit: Unit) -> Stats:
        """Merge one partition, a few shards at a time: no more rows than two rankings have are in memory."""
        keys = to_numpy(self.encoded.read_table(unit.args["queries"], ["key"]), "key")
        merge, found = Merge(self.k), unit.args["found"]
        merged, missing = CANDIDATES.empty_table(), MISSING.empty_table()
        for shards in portions([one["rows_out"] for one in found], self.k * len(keys)):
            tables = self.folder.read_tables([found[shard]["file"] for shard in shards])
            merged = merge(keys, [merged, *tables])
            cut = [cut_lists(table, shard, *self.lists[shard]) for shard, table in zip(shards, tables, strict=True)]
            missing = still_missing(concat([missing, *cut], MISSING), merged, self.k)
        part = f"part-{unit.args['part']:05d}"
        stats = {"rows_out": merged.num_rows, "compute_seconds": sum(one["compute_seconds"] for one in found)}
        if not missing.num_rows:
            file = self.folder.write_table(f"merged-{self.k}/{part}.parquet", merged)
            return {**stats, "file": file, "missing": None}
        shards = np.unique(to_numpy(missing, "shard")).tolist()
        lists = self.folder.write_table(f"missing-{self.k}/{part}.arrow", missing)
        file = self.folder.write_table(f"first-{self.k}/{part}.arrow", merged)
        return {**stats, "file": file, "missing": {"file": lists, "shards": shards}}


@dataclass(frozen=True)
class MergeAgain:
    """The candidates of a partition of queries, and what of them was missing -> all of its candidates."""

    folder: StageFolder
    encoded: StageFolder
    k: int

    def __call__(self, unit: Unit) -> Stats:
        """Merge one partition."""
        keys = to_numpy(self.encoded.read_table(unit.args["queries"], ["key"]), "key")
        merge, first, found = Merge(self.k), unit.args["first"], unit.args["found"]
        merged = self.folder.read_table(first["file"])
        for shards in portions([one["rows_out"] for one in found], self.k * len(keys)):
            merged = merge(keys, [merged, *self.folder.read_tables([found[shard]["file"] for shard in shards])])
        file = self.folder.write_table(f"merged-{self.k}/part-{unit.args['part']:05d}.parquet", merged)
        seconds = sum(one["compute_seconds"] for one in [first, *found])
        return {"file": file, "rows_out": merged.num_rows, "compute_seconds": seconds, "missing": None}


def brief(stats: Stats) -> dict[str, Any]:
    """Return what merging wants to know of a unit."""
    return {name: stats[name] for name in ("file", "rows_out", "compute_seconds")}


def portions(rows: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield the numbers of files that have so many rows each, in pieces of at most that many rows, or of one file."""
    piece: list[int] = []
    held = 0
    for number, count in enumerate(rows):
        if piece and held + count > most:
            yield piece
            piece, held = [], 0
        piece.append(number)
        held += count
    if piece:
        yield piece
