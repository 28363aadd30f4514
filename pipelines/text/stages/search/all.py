"""Search: carry the positives' vectors to their queries, tune the operating point, search every shard, and merge."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from operators.keys import Keys
from operators.schemas import concat, matrix_of, positive_vectors_schema, to_numpy, vectors_column
from operators.segments import first_index
from operators.vectors.costs import COSTS
from operators.vectors.geometry import InnerProduct
from operators.vectors.nearest import OperatingPoint
from operators.vectors.precision import multiplies_bfloat16
from operators.vectors.search import SearchConfig
from operators.vectors.similarity import score_pairs
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.stage import Section, Stage, Summary
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.encode import geometry_in
from pipelines.text.stages.search.carry import carry_vectors
from pipelines.text.stages.search.operating_point import line_of, missed_recall, tuned_operating_point
from pipelines.text.stages.search.rounds import SearchContext, search_round
from pipelines.text.stages.search.shards import SearchPool
from pipelines.text.stages.wanted import WANTED, wanted_by


@dataclass(frozen=True)
class SearchShards(Stage):
    """Shards and partitions of query vectors -> partitions of candidates (CANDIDATES) and of positives.

    The positives (schema positive_vectors_schema) keep their documents' vectors: deeper rounds need them.

    Attributes:
        config: how deep, and how well.
        searchers: who searches.
    """

    config: SearchConfig
    searchers: SearchPool

    name = "search/all"
    inputs = ("prepare/queries", "encode", "index")

    def warnings(self, manifest: Mapping[str, Any]) -> list[str]:
        """Warn of a recall below the target."""
        return missed_recall([manifest])

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Say how hard it searched, and what it found of the nearest documents."""
        manifest = outputs[self.name].manifest
        return Section({"search": {key: manifest[key] for key in ("operating_point", "recall")}})

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration of this round."""
        return self.config.model_dump(exclude={"max_k"})

    def run(self, execution: Execution) -> Summary:
        """Carry positives, tune, search, merge."""
        encoded, index = execution.inputs["encode"], execution.inputs["index"]
        queries = encoded.parts("queries")
        carried = self._carry(execution, queries)
        tuned = tuned_operating_point(execution, self.config, self.searchers)
        if tuned is not None:
            execution.progress.say(f"search: {line_of(tuned)}")
        searching = SearchContext(
            index=index,
            queries=encoded,
            geometry=geometry_in(encoded),
            positives=(execution.folder, carried),
            point=OperatingPoint(exact=True) if tuned is None else tuned.point,
            searchers=replace(self.searchers, device=self._device(sum(part["rows"] for part in queries), index)),
        )
        found = search_round(execution, searching, self.config.k, queries)
        return Summary(
            rows_in=sum(part["rows"] for part in queries),
            rows_out=sum(part["rows"] for part in found.parts),
            compute_seconds=found.compute_seconds,
            facts={
                "dimension": encoded.manifest["dimension"],
                "operating_point": asdict(searching.point),
                "recall": None if tuned is None else {**asdict(tuned), "target": self.config.recall_target},
            },
            parts={
                "candidates": found.parts,
                "positives": [{**one["file"], "rows": one["rows_out"]} for one in carried],
            },
            temporary=[WANTED, f"sample-{self.config.k}", f"tried-{self.config.k}"],
        )

    def _device(self, queries: int, index: StageOutput) -> str:
        """Return the device that compares every vector: for much work torch's, where it has bfloat16 in hardware."""
        products = queries * index.manifest["rows_out"] * 2 * index.manifest["dimension"]
        device = self.searchers.device
        return "cpu:0" if device == "cpu" and COSTS.worth_torch(products) and multiplies_bfloat16() else device

    def _carry(self, execution: Execution, queries: Sequence[Mapping[str, Any]]) -> list[Stats]:
        prepared, encoded = execution.inputs["prepare/queries"], execution.inputs["encode"]
        schema = positive_vectors_schema(encoded.manifest["dimension"], encoded.manifest["vector_dtype"])
        judgements = prepared.parts("judgements")
        most = sum(part["rows"] for part in judgements)
        wanted = wanted_by(execution, "positives", judgements, partial(positives_in, prepared.folder), most)
        buckets = [
            Unit(f"{i:05d}", {"queries": part, "judgements": judged})
            for i, (part, judged) in enumerate(zip(queries, judgements, strict=True))
        ]
        folders = execution.folder, prepared.folder, encoded.folder
        gather = partial(WritePositives, folders, schema, geometry_in(encoded))
        return carry_vectors(execution, "positives", wanted, gather, buckets, self.searchers)


def positives_in(prepared: StageFolder, judgements: Record) -> Keys:
    """Return the keys of the documents that a partition judges positive, each once."""
    return np.unique(to_numpy(_positive(prepared.read_table(judgements, ["doc_key", "relevance"])), "doc_key"))


class WritePositives:
    """All vectors that a partition of queries wants -> its positives as judged, with them and their exact scores."""

    def __init__(
        self, folders: tuple[StageFolder, StageFolder, StageFolder], schema: pa.Schema, geometry: InnerProduct
    ) -> None:
        (self.folder, self.prepared, self.encoded), self.schema, self.geometry = folders, schema, geometry

    def __call__(self, bucket: Unit, arrived: pa.Table) -> Stats:
        """Write one partition."""
        positives = _positive(self.prepared.read_table(bucket.args["judgements"]))
        queries = self.encoded.read_table(bucket.args["queries"])
        at = first_index(to_numpy(arrived, "key"), to_numpy(positives, "doc_key"))
        if (at < 0).any():
            raise LookupError("A judgement names a document whose vector did not arrive.")
        query = first_index(to_numpy(queries, "key"), to_numpy(positives, "query_key"))
        vectors = matrix_of(arrived.column("vector"))[at]
        product = score_pairs(matrix_of(queries.column("vector")), query, vectors, np.arange(len(query)))
        score = self.geometry.scores(product)
        scored = positives.append_column("score", pa.array(score)).append_column("vector", vectors_column(vectors))
        file = self.folder.write_table(f"positives/part-{bucket.name}.arrow", concat([scored], self.schema))
        return {"file": file, "rows_out": scored.num_rows}


def _positive(judgements: pa.Table) -> pa.Table:
    return judgements.filter(pa.array(to_numpy(judgements, "relevance") > 0))
