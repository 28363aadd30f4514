"""Index the corpus: choose, train one quantizer on a sample, build one shard after another."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from operators.schemas import matrix_of, numbers
from operators.vectors.index import EXACT, IndexChoice, IndexConfig, build, choose, train
from pipelines.engines import Pool, Stats, Unit
from pipelines.execution import Execution
from pipelines.run_directory import StageFolder
from pipelines.stages import Summary

TRAINED = "trained.faiss"


@dataclass(frozen=True)
class BuildIndex:
    """Partitions of vectors -> shards: vectors.npy and keys.npy, and codes.faiss where the index is quantized."""

    config: IndexConfig

    name = "index"
    inputs: tuple[str, ...] = ("encode/corpus",)

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration; `auto` is decided by the corpus, which the inputs name."""
        return self.config.model_dump()

    def run(self, execution: Execution) -> Summary:
        """Choose, train, build."""
        folder, encoded = execution.folder, execution.inputs["encode/corpus"]
        parts = encoded.parts("vectors")
        rows = sum(part["rows"] for part in parts)
        choice = choose(self.config, rows, encoded.manifest["dimension"])
        execution.progress.say(f"index: {choice.factory} ({choice.why})")
        if choice.factory != EXACT:
            execution.map("train", partial(Train, folder, encoded.folder, choice), [Unit("all", {"parts": parts})])
        shards = _shards(parts, self.config.shard_rows)
        units = [Unit(f"{i:05d}", {"parts": shard}) for i, shard in enumerate(shards)]
        stats = execution.map("build", partial(BuildShard, folder, encoded.folder, choice), units, Pool(workers=1))
        return {
            "rows_in": rows,
            "rows_out": sum(one["rows_out"] for one in stats),
            "dropped": {},
            "dimension": encoded.manifest["dimension"],
            "choice": choice.model_dump(),
            "parts": {"shards": [{"path": one["path"], "rows": one["rows_out"]} for one in stats]},
        }


def _shards(parts: Sequence[Mapping[str, Any]], rows: int) -> list[list[Mapping[str, Any]]]:
    """Fill shards with whole partitions, up to `rows` documents each; a larger partition is a shard of its own."""
    shards: list[list[Mapping[str, Any]]] = []
    held = 0
    for part in parts:
        if not shards or held + part["rows"] > rows:
            shards.append([])
            held = 0
        shards[-1].append(part)
        held += part["rows"]
    return shards


class Train:
    """A sample of all partitions -> the trained, empty index."""

    def __init__(self, folder: StageFolder, vectors: StageFolder, choice: IndexChoice) -> None:
        self.folder, self.vectors, self.choice = folder, vectors, choice

    def __call__(self, unit: Unit) -> Stats:
        """Train on vectors taken at even distances over the whole corpus."""
        parts = unit.args["parts"]
        total = sum(part["rows"] for part in parts)
        wanted = np.unique(np.linspace(0, total - 1, self.choice.train_rows).astype(np.int64))
        sample, first = [], 0
        for part in parts:
            rows = wanted[(wanted >= first) & (wanted < first + part["rows"])] - first
            first += part["rows"]
            if len(rows):
                sample.append(matrix_of(self.vectors.read_table(part["path"], ["vector"]).column("vector"))[rows])
        self.folder.write_bytes(TRAINED, train(self.choice, np.concatenate(sample)))
        return {"rows_out": len(wanted)}


class BuildShard:
    """Some partitions -> one shard."""

    def __init__(self, folder: StageFolder, vectors: StageFolder, choice: IndexChoice) -> None:
        self.folder, self.vectors = folder, vectors
        self.trained = None if choice.factory == EXACT else folder.read_bytes(TRAINED)

    def __call__(self, unit: Unit) -> Stats:
        """Build one shard."""
        tables = [self.vectors.read_table(part["path"]) for part in unit.args["parts"]]
        matrix = np.concatenate([matrix_of(table.column("vector")) for table in tables])
        keys = np.stack([np.concatenate([numbers(table, name) for table in tables]) for name in ("key", "text_key")])
        path = f"shards/shard-{unit.name}"
        self.folder.write_bytes(f"{path}/vectors.npy", _npy(matrix))
        self.folder.write_bytes(f"{path}/keys.npy", _npy(keys))
        if self.trained is not None:
            self.folder.write_bytes(f"{path}/codes.faiss", build(self.trained, matrix))
        return {"path": path, "rows_out": len(matrix)}


def _npy(array: Any) -> bytes:  # noqa: ANN401 - any numpy array
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
