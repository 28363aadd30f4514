"""Candidates near the positives: the vectors of the positives are searched for as queries are."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from operators.candidates.proposers.cluster import Cluster
from operators.candidates.sources import keys_of_pairs, ranked_proposals
from operators.keys import pair_keys
from operators.schemas import matrix_of, positive_vectors_schema, to_numpy, vectors_column, vectors_schema
from operators.segments import first_of_each, join_sorted
from operators.vectors.geometry import InnerProduct
from operators.vectors.nearest import OperatingPoint
from operators.vectors.order import argsort_ranked
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.stage import Summary
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.encode import geometry_in
from pipelines.text.stages.search.proposer_stage import ProposerStage
from pipelines.text.stages.search.rounds import SearchContext, search_round
from pipelines.text.stages.search.shards import SearchPool

# Temporary: the vectors of the positives, each document once, and what was found near them.
POSITIVES, NOT_JUDGED = "positive_vectors", "not_judged"


@dataclass(frozen=True)
class ProposeCluster(ProposerStage):
    """Partitions of positives -> partitions of proposals (PROPOSALS).

    Attributes:
        proposer: its settings.
        name: of the stage.
        searchers: who searches.
    """

    proposer: Cluster
    searchers: SearchPool

    inputs = ("encode", "index", "search/all")

    def run(self, execution: Execution) -> Summary:
        """Search for the positives, with the effort of the search for queries."""
        encoded, index, searched = (execution.inputs[name] for name in self.inputs)
        positives = searched.parts("positives")
        units = [Unit(f"{i:05d}", {"positives": part}) for i, part in enumerate(positives)]
        geometry = geometry_in(encoded)
        listing = partial(ListPositives, execution.folder, searched.folder, geometry)
        listed = execution.map("list", listing, units)
        schema = positive_vectors_schema(encoded.manifest["dimension"], encoded.manifest["vector_dtype"])
        nothing = execution.folder.write_table(f"{NOT_JUDGED}/all.arrow", schema.empty_table())
        searching = SearchContext(
            index=index,
            queries=StageOutput(execution.folder, {}),
            geometry=geometry,
            positives=(execution.folder, [{"file": nothing}] * len(listed)),
            point=OperatingPoint(**searched.manifest["operating_point"]),
            searchers=self.searchers,
        )
        # Nearest to a positive are itself and maybe the others of its query.
        k = self.proposer.limit + max(one["most"] for one in listed)
        found = search_round(execution, searching, k, [one["file"] for one in listed])
        units = [
            Unit(f"{i:05d}", {"positives": part, "found": near})
            for i, (part, near) in enumerate(zip(positives, found.parts, strict=True))
        ]
        proposing = partial(ProposeNear, execution.folder, searched.folder, self.proposer.limit)
        proposed = execution.map("propose", proposing, units)
        return Summary(
            rows_in=sum(one["rows_in"] for one in proposed),
            rows_out=sum(one["rows_out"] for one in proposed),
            compute_seconds=found.compute_seconds,
            parts={"proposals": [one["file"] for one in proposed]},
            temporary=[POSITIVES, NOT_JUDGED, f"merged-{k}"],
        )


@dataclass(frozen=True)
class ListPositives:
    """One partition of positives -> the vectors of the documents in it, as those of queries."""

    folder: StageFolder
    searched: StageFolder
    geometry: InnerProduct

    def __call__(self, unit: Unit) -> Stats:
        """List one partition."""
        positives = self.searched.read_table(unit.args["positives"], ["query_key", "doc_key", "text_key", "vector"])
        _, counts = np.unique(to_numpy(positives, "query_key"), return_counts=True)
        keys, first = np.unique(to_numpy(positives, "doc_key"), return_index=True)
        once = positives.take(pa.array(first))
        vectors = self.geometry.as_queries(matrix_of(once.column("vector")))
        schema = vectors_schema(vectors.shape[1], "float16" if vectors.dtype == np.float16 else "float32")
        table = pa.table([keys, once.column("text_key"), vectors_column(vectors)], schema=schema)
        file = self.folder.write_table(f"{POSITIVES}/part-{unit.name}.arrow", table)
        return {"file": {**file, "rows": len(keys)}, "rows_out": len(keys), "most": int(counts.max(initial=0))}


@dataclass(frozen=True)
class ProposeNear:
    """What was found near the positives of a partition -> proposals for its queries."""

    folder: StageFolder
    searched: StageFolder
    limit: int

    def __call__(self, unit: Unit) -> Stats:
        """Propose for one partition."""
        positives = self.searched.read_table(unit.args["positives"], ["query_key", "doc_key"])
        near = self.folder.read_table(unit.args["found"], ["query_key", "doc_key", "score"])
        near = near.sort_by("query_key")  # the key of a positive
        row, found = join_sorted(to_numpy(positives, "doc_key"), to_numpy(near, "query_key"))
        query_key, doc_key = to_numpy(positives, "query_key")[row], to_numpy(near, "doc_key")[found]
        score = to_numpy(near, "score")[found]
        queries, query = np.unique(query_key, return_inverse=True)
        order = argsort_ranked(query, score, doc_key)
        query, document = query[order], doc_key[order]
        own = np.isin(pair_keys(queries[query], document), keys_of_pairs(positives))
        once = first_of_each(query, document)
        table = ranked_proposals(queries[query[once]], document[once], own[once], self.limit)
        file = self.folder.write_table(f"proposals/part-{unit.name}.parquet", table)
        return {"file": {**file, "rows": table.num_rows}, "rows_in": positives.num_rows, "rows_out": table.num_rows}
