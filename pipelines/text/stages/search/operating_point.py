"""Tune the operating point of a search: sample the queries, try every shard with them, choose for all."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.schemas import concat, matrix_of, to_numpy, vectors_schema
from operators.vectors.factory import EXACT, lists_in
from operators.vectors.nearest import depth_for
from operators.vectors.precision import in_float32
from operators.vectors.search import SearchConfig
from operators.vectors.tune import SAMPLE, ParameterSpace, Tuned, nprobes_to_try, probe, refine_factors_to_try, tune
from pipelines.runtime.engines import Pool, Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.runtime.resources import share_of_cores
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.search.shards import Indexed, OpenShards, name_of

SEED = 11  # of the sample


def tuned_operating_point(
    execution: Execution, config: SearchConfig, indexed: Indexed, only: Sequence[Record | None] = ()
) -> Tuned | None:
    """Return the cheapest operating point that reaches the recall target; None for an index without codes.

    Args:
        execution: of the stage; the steps are named after `config.k`.
        config: how deep, and how well.
        indexed: the vectors, and the index that is tuned.
        only: for each partition of queries the file, in the stage's folder, of a table whose `query_key` are meant, or
            None where none of them is; all, where nothing is given.
    """
    encoded, index, searchers = indexed.encoded, indexed.index, indexed.searchers
    factory = index.manifest["choice"]["factory"]
    if factory == EXACT:
        return None
    schema = vectors_schema(encoded.manifest["dimension"], encoded.manifest["vector_dtype"])
    sampling = partial(SampleQueries, execution.folder, encoded.folder, schema, config.k)
    everything = Unit("all", {"queries": encoded.parts("queries"), "only": list(only)})
    (sample,) = execution.map(f"sample-{config.k}", sampling, [everything])
    shards = index.parts("shards")
    units = [Unit(name_of(shard), shard) for shard in shards]
    opened = OpenShards(index.folder, searchers.cache, indexed.geometry)
    trying = partial(TryShard, execution.folder, opened, config, sample["file"])
    # The memory that a search needs is enough for it.
    placed = Pool(cpus=share_of_cores(len(units)), resources=searchers.pool.resources)
    tried = execution.map(f"try-{config.k}", trying, units, placed)
    space = ParameterSpace(
        nprobes=nprobes_to_try(config, lists_in(factory)),
        refine_factors=refine_factors_to_try(config),
        depth=depth_for(config.k),
        queries=sample["rows_out"],
        population=sample["population"],
        documents=sum(shard["rows"] for shard in shards),
        shards=len(shards),
        dimension=index.manifest["dimension"],
    )
    trials = [execution.folder.read_table(one["file"]) for one in tried]
    return tune(config, trials, [one["scanned"] for one in tried], space)


def line_of(tuned: Tuned) -> str:
    """Say what was chosen, and what it finds."""
    how = "every vector" if tuned.point.exact else f"nprobe {tuned.point.nprobe} x {tuned.point.refine_factor}"
    return f"{how}, recall@{tuned.k} {tuned.recall:.3f} of {tuned.queries} queries ({tuned.why})"


class SampleQueries:
    """All queries, or those that are meant -> a random sample of them."""

    def __init__(self, folder: StageFolder, encoded: StageFolder, schema: pa.Schema, k: int) -> None:
        self.folder, self.encoded, self.schema, self.k = folder, encoded, schema, k

    def __call__(self, unit: Unit) -> Stats:
        """Take the sample."""
        parts, only = unit.args["queries"], unit.args["only"]
        counts = [len(self._asked(one)) for one in only] if only else [part["rows"] for part in parts]
        first = np.cumsum([0, *counts])
        population = int(first[-1])
        size = min(SAMPLE, population)
        wanted = np.sort(np.random.default_rng(SEED).choice(population, size, replace=False))
        tables = []
        for number in np.unique(np.searchsorted(first, wanted, side="right") - 1):
            rows = wanted[(wanted >= first[number]) & (wanted < first[number + 1])] - first[number]
            table = self.encoded.read_table(parts[number])
            if only:
                table = table.filter(pa.array(np.isin(to_numpy(table, "key"), self._asked(only[number]))))
            tables.append(table.take(rows))
        sample = concat(tables, self.schema)
        file = self.folder.write_table(f"sample-{self.k}/queries.arrow", sample)
        return {"file": file, "rows_out": sample.num_rows, "population": population}

    def _asked(self, file: Record | None) -> npt.NDArray[np.int64]:
        return np.zeros(0, np.int64) if file is None else to_numpy(self.folder.read_table(file), "query_key")


class TryShard:
    """A shard with codes -> where these propose what exact search finds."""

    def __init__(self, folder: StageFolder, shards: OpenShards, config: SearchConfig, sample: Record) -> None:
        self.folder, self.shards, self.config = folder, shards, config
        self.queries = in_float32(matrix_of(folder.read_table(sample, ["vector"]).column("vector")))

    def __call__(self, unit: Unit) -> Stats:
        """Try one shard."""
        trials, scanned = probe(self.shards.open(unit.args, whole=True), self.queries, self.config)
        file = self.folder.write_table(f"tried-{self.config.k}/{unit.name}.parquet", trials)
        return {"file": file, "rows_out": trials.num_rows, "scanned": scanned}


def missed_recall(rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for every round that was tuned and did not reach the target."""
    recalls = [one["recall"] for one in rounds if one["recall"] is not None]
    return [f"recall@{one['k']} {one['recall']:.3f}; {one['why']}" for one in recalls if not one["reached"]]
