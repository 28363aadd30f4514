"""Tune the effort of a search: sample the queries, try every shard with them, choose for all."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from operators.schemas import concat, matrix_of, vectors_schema
from operators.vectors.index import EXACT, lists_in
from operators.vectors.nearest import depth_for
from operators.vectors.precision import in_float32
from operators.vectors.search import SearchConfig
from operators.vectors.tune import SAMPLE, Space, Tuned, nprobes_to_try, refine_factors_to_try, trial, tune
from pipelines.engines import Pool, Stats, Unit
from pipelines.execution import Completed, Execution
from pipelines.hardware import share_of_cores
from pipelines.stages.search.shards import OpenShards, Searchers
from pipelines.storage.run_directory import StageFolder

SAMPLED = "sample/queries.arrow"


def tuned_effort(execution: Execution, config: SearchConfig, searchers: Searchers) -> Tuned | None:
    """Return the cheapest effort that reaches the recall target; None for an index without codes, which needs none."""
    encoded, index = execution.inputs["encode"], execution.inputs["index"]
    factory = index.manifest["choice"]["factory"]
    if factory == EXACT:
        return None
    sample = execution.map("sample", partial(SampleQueries, execution.folder, encoded), [Unit("all", {})])
    shards = index.parts("shards")
    units = [Unit(f"{i:05d}", shard) for i, shard in enumerate(shards)]
    trying = partial(TryShard, execution.folder, OpenShards(index.folder, searchers.cache), config)
    # Where search runs, there is room for it.
    placed = Pool(cpus=share_of_cores(len(units)), resources=searchers.pool.resources)
    tried = execution.map("try", trying, units, placed)
    space = Space(
        nprobes=nprobes_to_try(config, lists_in(factory)),
        refine_factors=refine_factors_to_try(config),
        depth=depth_for(config.k),
        queries=sample[0]["rows_out"],
        documents=sum(shard["rows"] for shard in shards),
        shards=len(shards),
        dimension=index.manifest["dimension"],
    )
    trials = [execution.folder.read_table(one["path"]) for one in tried]
    return tune(config, trials, [one["scanned"] for one in tried], space)


class SampleQueries:
    """All queries -> some of them, at even distances."""

    def __init__(self, folder: StageFolder, encoded: Completed) -> None:
        self.folder, self.encoded = folder, encoded

    def __call__(self, unit: Unit) -> Stats:
        """Take the sample."""
        del unit
        parts = self.encoded.parts("queries")
        first = np.cumsum([0, *(part["rows"] for part in parts)])
        wanted = np.unique(np.linspace(0, first[-1] - 1, SAMPLE).astype(np.int64))
        tables = []
        for number in np.unique(np.searchsorted(first, wanted, side="right") - 1):
            rows = wanted[(wanted >= first[number]) & (wanted < first[number + 1])] - first[number]
            tables.append(self.encoded.folder.read_table(parts[number]["path"]).take(rows))
        manifest: Mapping[str, Any] = self.encoded.manifest
        sample = concat(tables, vectors_schema(manifest["dimension"], manifest["vector_dtype"]))
        self.folder.write_table(SAMPLED, sample)
        return {"rows_out": sample.num_rows}


class TryShard:
    """A shard with codes -> where these propose what exact search finds."""

    def __init__(self, folder: StageFolder, shards: OpenShards, config: SearchConfig) -> None:
        self.folder, self.shards, self.config = folder, shards, config
        self.queries = in_float32(matrix_of(folder.read_table(SAMPLED, ["vector"]).column("vector")))

    def __call__(self, unit: Unit) -> Stats:
        """Try one shard."""
        trials, scanned = trial(self.shards.open(unit.args["path"]), self.queries, self.config)
        path = f"tried/{unit.name}.parquet"
        self.folder.write_table(path, trials)
        return {"path": path, "rows_out": trials.num_rows, "scanned": scanned}
