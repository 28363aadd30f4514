"""Carry the vectors of documents from the shards to the partitions of queries that want them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import pyarrow as pa

from operators.keys import Keys
from operators.schemas import vectors_column, vectors_schema
from operators.vectors.geometry import InnerProduct
from pipelines.runtime.engines import Pool, Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.shuffle import Gather, Shuffle
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.search.candidates import units_of
from pipelines.text.stages.search.shards import Indexed, OpenShards, SearchPool, name_of
from pipelines.text.stages.wanted import NamedIn, OpenWanted, wanted_by

# Vectors that are taken from a shard at a time.
PIECE_BYTES = 32 << 20


def carry_to_candidates(
    execution: Execution,
    step: str,
    found: Mapping[str, StageOutput],
    named_in: NamedIn,
    gather: Callable[[InnerProduct], Callable[[], Gather]],
    searchers: SearchPool,
) -> tuple[int, list[Stats]]:
    """Carry vectors to partitions of candidates; return how many candidates there are, and what gathering said.

    Args:
        execution: of a stage that reads `encode` and `index`.
        step: its name.
        found: the stages that leave candidates.
        named_in: returns the keys of the documents that a partition wants.
        gather: as of `carry_vectors`, of the geometry of the vectors.
        searchers: who opens the shards.
    """
    units = units_of(found)
    rows = sum(part["rows"] for output in found.values() for part in output.parts("candidates"))
    wanted = wanted_by(execution, step, [unit.args for unit in units], named_in, rows)
    indexed = Indexed(execution.inputs["encode"], execution.inputs["index"], searchers)
    return rows, carry_vectors(execution, step, wanted, gather(indexed.geometry), units, indexed)


def carry_vectors(
    execution: Execution,
    step: str,
    wanted: Sequence[Record],
    gather: Callable[[], Gather],
    buckets: Sequence[Unit],
    indexed: Indexed,
) -> list[Stats]:
    """Carry vectors; return what gathering said of each partition.

    Args:
        execution: of the stage.
        step: its name.
        wanted: which partitions want which documents, as `wanted_by` lists it for this step.
        gather: gets a partition, and the documents that it wants (schema vectors_schema, the key being the document's),
            in no certain order; those that are not in the corpus are missing.
        buckets: the partitions.
        indexed: the vectors.
    """
    encoded, index, searchers = indexed.encoded.manifest, indexed.index, indexed.searchers
    schema = vectors_schema(encoded["dimension"], encoded["vector_dtype"])
    units = [Unit(name_of(shard), shard) for shard in index.parts("shards")]
    shards = OpenShards(index.folder, searchers.cache, indexed.geometry)
    route = partial(RouteVectors, shards, execution.folder, wanted)
    resources = searchers.pool.resources
    pool = Pool(resources=resources) if resources else None
    return execution.shuffle(step, Shuffle(route, units, gather, buckets, schema, pool))


class RouteVectors:
    """One shard -> the documents in it that are wanted, once for each partition of queries that wants them."""

    def __init__(self, shards: OpenShards, folder: StageFolder, wanted: Sequence[Record]) -> None:
        self.shards, self.wanted = shards, OpenWanted(folder, wanted, shards.cache)

    def __call__(self, unit: Unit) -> Iterator[tuple[Keys, pa.Table]]:
        """Route one shard."""
        shard = self.shards.open(unit.args)
        size = max(PIECE_BYTES // shard.flat.code_size, 1)
        for part, row in self.wanted.among(shard.doc_key):
            for first in range(0, len(row), size):
                piece = row[first : first + size]
                table = {
                    "key": shard.doc_key[piece],
                    "text_key": shard.text_key[piece],
                    "vector": vectors_column(shard.vectors[piece]),
                }
                yield part[first : first + size], pa.table(table)
