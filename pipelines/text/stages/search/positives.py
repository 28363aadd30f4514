"""Carry the vectors of the positives from the shards to the queries that they are judged for."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from operators.keys import Keys
from operators.schemas import concat, matrix_of, positive_vectors_schema, to_numpy, vectors_column
from operators.segments import first_index
from operators.vectors.geometry import InnerProduct
from operators.vectors.similarity import score_pairs
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.search.carry import carry_vectors
from pipelines.text.stages.search.shards import Indexed
from pipelines.text.stages.wanted import wanted_by

# The step, and the folder of its files.
CARRIED = "positives"


def carry_positives(execution: Execution, prepared: StageOutput, indexed: Indexed) -> Sequence[Stats]:
    """Write the positives of every partition of queries (schema positive_vectors_schema); return what each said."""
    encoded = indexed.encoded
    schema = positive_vectors_schema(encoded.manifest["dimension"], encoded.manifest["vector_dtype"])
    judgements = prepared.parts("judgements")
    most = sum(part["rows"] for part in judgements)
    wanted = wanted_by(execution, CARRIED, judgements, partial(positives_in, prepared.folder), most)
    buckets = [
        Unit(f"{i:05d}", {"queries": part, "judgements": judged})
        for i, (part, judged) in enumerate(zip(encoded.parts("queries"), judgements, strict=True))
    ]
    gather = partial(WritePositives, (execution.folder, prepared.folder, encoded.folder), schema, indexed.geometry)
    return carry_vectors(execution, CARRIED, wanted, gather, buckets, indexed)


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
        score = pa.array(self.geometry.scores(product))
        scored = positives.append_column("score", score).append_column("vector", vectors_column(vectors))
        file = self.folder.write_table(f"{CARRIED}/part-{bucket.name}.arrow", concat([scored], self.schema))
        return {"file": file, "rows_out": scored.num_rows}


def _positive(judgements: pa.Table) -> pa.Table:
    return judgements.filter(pa.array(to_numpy(judgements, "relevance") > 0))
