"""Index the corpus: choose, train one quantizer on a sample, build the shards that are not there yet."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, groupby
from typing import IO, Any

import numpy as np
import pyarrow as pa
import xxhash

from operators.errors import placed
from operators.schemas import matrix_of, to_numpy
from operators.vectors.encoder import Device
from operators.vectors.factory import EXACT
from operators.vectors.geometry import AS_THEY_ARE, InnerProduct
from operators.vectors.index import (
    IndexChoice,
    IndexConfig,
    Task,
    add,
    begin_flat,
    check_dimension,
    check_enough,
    choose,
    codes_from,
    save,
    train,
)
from operators.vectors.rounding import lengths_of
from pipelines.runtime.engines import Pool, Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput, timed
from pipelines.runtime.resources import return_memory, share_of_cores
from pipelines.runtime.stage import Section, Stage, Summary
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.encoder_stages import OF_RUN, EncoderStages
from pipelines.text.stages.index_layout import Part, shards_of
from pipelines.text.stages.index_sample import Encoded, read_sample
from pipelines.text.stages.partitions import dimension_of

KEY_BYTES = 16 + 8  # of a document and its text, and two lengths
# FAISS adds many vectors at a time faster than few, and many files are read at a time: 25 MB of 384 values in float32.
ROWS_AT_ONCE = 16384
# A trained quantizer goes on serving a corpus as long as at least so much of it was there when it was trained.
STILL_KNOWN = 0.5


@dataclass(frozen=True)
class BuildIndex(Stage):
    """Partitions of vectors -> shards: vectors.faiss, keys.npy, lengths.npy, and codes.faiss if the index has codes.

    A shard is kept under the digest of its partitions and of the quantizer: a corpus that grew gets new shards beside
    the old ones, or small ones in the place of smaller ones, and these share the quantizer with them.

    Attributes:
        config: which index.
        shard_bytes: what a shard may take, where its rows are left to `auto`.
        device: on which exact search would run.
        resources: custom resources that a worker needs: those of the search, as both hold the codes of a shard.
        stages: of the encoder whose vectors are indexed.
        geometry: of the vectors.
    """

    config: IndexConfig
    shard_bytes: int
    device: Device
    resources: Mapping[str, float] = field(default_factory=dict)
    stages: EncoderStages = OF_RUN
    geometry: InnerProduct = AS_THEY_ARE

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the stage."""
        return self.stages.index

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The vectors."""
        return (self.stages.encode,)

    @property
    def checked_after(self) -> tuple[str, ...]:  # type: ignore[override]
        """The stages that tell how many vectors there will be, and their lengths."""
        return (self.stages.trial, "prepare/corpus", "prepare/queries")

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration; `auto` is decided by the vectors, which the inputs name, and by the device."""
        return {**self.content_settings(), "device": self.device}

    def content_settings(self) -> Mapping[str, Any]:
        """Return the configuration and the size of shards."""
        size = {"shard_bytes": self.shard_bytes} if self.config.shard_rows == "auto" else {}
        return {**self.config.model_dump(), **size}

    def check(self, outputs: Mapping[str, StageOutput]) -> None:
        """Refuse an index that FAISS cannot make of so many vectors, or of vectors of this length."""
        dimension = dimension_of(outputs, self.stages) + self.geometry.added
        with placed(self.stages.section):
            check_enough(self.config, outputs["prepare/corpus"].manifest["rows_out"])
            check_dimension(self.config, dimension)

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Say which index was chosen, and why."""
        choice = outputs[self.name].manifest["choice"]
        return self.stages.reported({"index": choice}, "Index", f"{choice['factory']} ({choice['why']})")

    def run(self, execution: Execution) -> Summary:
        """Choose, train, build."""
        encoded = execution.inputs[self.stages.encode]
        parts, dimension = encoded.parts("documents"), encoded.manifest["dimension"]
        shard_rows = self._shard_rows(dimension, encoded.manifest["vector_dtype"])
        task = Task(
            documents=sum(part["rows"] for part in parts),
            queries=sum(part["rows"] for part in encoded.parts("queries")),
            dimension=dimension,
            shard_rows=shard_rows,
            device=self.device,
        )
        with placed(self.stages.section):
            choice = choose(self.config, task)
        execution.progress.say(f"{self.name}: {choice.factory} ({choice.why})")
        trained, train_seconds = self._trained(execution, choice, parts)
        shards = shards_of(parts, shard_rows, _built(execution, trained["name"]))
        units = [
            Unit(_digest(trained["name"], *(part["digest"] for part in shard)), {"parts": shard}) for shard in shards
        ]
        # Not all that was said of the training: it names every partition, and each batch of units brings this anew.
        quantizer = {name: trained[name] for name in ("name", "file")}
        build = partial(BuildShard, execution.folder, _encoded(encoded), quantizer)
        pool = Pool(cpus=share_of_cores(len(units)), resources=self.resources)
        only_reads = trained["file"] is None and not self.resources  # nothing is computed of codes
        stats = execution.map("build", build, units, None if only_reads else pool)
        chosen = {**choice.model_dump(), "factory": trained["factory"], "shard_rows": shard_rows}
        return Summary(
            rows_in=task.documents,
            rows_out=sum(one["rows_out"] for one in stats),
            rows_reused=sum(one["rows_out"] for one in stats if one["found"]),
            compute_seconds=train_seconds + sum(one["compute_seconds"] for one in stats),
            facts={"dimension": dimension, "choice": chosen},
            parts={
                "shards": [{"folder": one["folder"], "files": one["files"], "rows": one["rows_out"]} for one in stats],
                "trained": [] if trained["file"] is None else [trained["file"]],
            },
        )

    def _shard_rows(self, dimension: int, dtype: str) -> int:
        if self.config.shard_rows != "auto":
            return self.config.shard_rows
        codes = dimension // 4 + 8 if self.config.factory == "auto" else dimension  # a byte for each value at most
        return max(self.shard_bytes // (dimension * np.dtype(dtype).itemsize + codes + KEY_BYTES), 1)

    def _trained(self, execution: Execution, choice: IndexChoice, parts: Sequence[Part]) -> tuple[Stats, float]:
        """Train, or find what was trained while the corpus was smaller; returns its statistics, and seconds spent."""
        if choice.factory == EXACT:
            return {"name": EXACT, "factory": EXACT, "file": None}, 0.0
        digests = {part["digest"]: part["rows"] for part in parts}
        for before in sorted(execution.folder.done_units("train").values(), key=lambda one: str(one["name"])):
            known = sum(digests.get(digest, 0) for digest in before["digests"])
            same = self.config.factory == "auto" or before["factory"] == choice.factory
            if same and known >= STILL_KNOWN * sum(digests.values()):
                return before, 0.0
        unit = Unit(_digest(choice.factory, *digests), {"parts": list(parts)})
        encoded = _encoded(execution.inputs[self.stages.encode])
        training = partial(Train, execution.folder, encoded, choice, self.stages.section)
        pool = Pool(cpus=share_of_cores(1), resources=self.resources)
        (stats,) = execution.map("train", training, [unit], pool)
        return stats, stats["compute_seconds"]


def _encoded(stage: StageOutput) -> Encoded:
    return Encoded(stage.folder, stage.manifest["dimension"], stage.manifest["vector_dtype"])


def _digest(*names: str) -> str:
    return xxhash.xxh3_128_hexdigest("\0".join(names).encode())


def _built(execution: Execution, trained: str) -> list[list[str]]:
    """Return the partitions of the shards that are there for a quantizer."""
    return [one["digests"] for one in execution.folder.done_units("build").values() if one["trained"] == trained]


class Train:
    """A sample of all partitions -> the trained, empty index."""

    def __init__(self, folder: StageFolder, encoded: Encoded, choice: IndexChoice, section: str) -> None:
        self.folder, self.encoded, self.choice, self.section = folder, encoded, choice, section

    def __call__(self, unit: Unit) -> Stats:
        """Train on vectors taken at even distances over the whole corpus."""
        parts = unit.args["parts"]
        sample = read_sample(self.encoded, parts, self.choice.train_rows)
        with placed(self.section):
            trained, seconds = timed(train, self.choice, sample)
        file = self.folder.write_bytes(f"trained/{unit.name}.faiss", trained)
        return {
            "name": unit.name,
            "file": file,
            "factory": self.choice.factory,
            "digests": [part["digest"] for part in parts],
            "rows_out": len(sample),
            "compute_seconds": seconds,
        }


class BuildShard:
    """Some partitions -> one shard."""

    def __init__(self, folder: StageFolder, encoded: Encoded, trained: Mapping[str, Any]) -> None:
        self.folder, self.encoded, self.name = folder, encoded, trained["name"]
        self.trained = None if trained["file"] is None else folder.content(trained["file"]).to_pybytes()

    def __call__(self, unit: Unit) -> Stats:
        """Build one shard."""
        stats = self._built(unit)
        return_memory()
        return stats

    def _built(self, unit: Unit) -> Stats:
        """Read every file once; no more of its vectors are in memory than one block."""
        parts, path = unit.args["parts"], f"shards/{unit.name}"
        rows = sum(part["rows"] for part in parts)
        keys, lengths = np.empty((2, rows), np.int64), np.empty((2, rows), np.float32)
        codes = None if self.trained is None else codes_from(self.trained)
        seconds = 0.0

        def write(stream: IO[bytes]) -> None:
            nonlocal seconds
            stream.write(begin_flat(self.encoded.dimension, self.encoded.dtype, rows))
            at = 0
            for table in self._read(parts):
                block = slice(at, at + table.num_rows)
                keys[0, block], keys[1, block] = to_numpy(table, "key"), to_numpy(table, "text_key")
                vectors = matrix_of(table.column("vector"))
                lengths[:, block] = lengths_of(vectors)
                stream.write(np.ascontiguousarray(vectors).data)
                if codes is not None:
                    seconds += timed(add, codes, vectors)[1]
                at = block.stop

        files = [
            self.folder.write(f"{path}/vectors.faiss", write),
            self.folder.write_bytes(f"{path}/keys.npy", _npy(keys)),
            self.folder.write_bytes(f"{path}/lengths.npy", _npy(lengths)),
        ]
        if codes is not None:
            files.append(self.folder.write_path(f"{path}/codes.faiss", partial(save, codes)))
        return {
            "folder": path,
            "files": files,
            "rows_out": keys.shape[1],
            "digests": [part["digest"] for part in parts],
            "trained": self.name,
            "compute_seconds": seconds,
        }

    def _read(self, parts: Sequence[Part]) -> Iterator[pa.Table]:
        """Yield the tables of partitions in blocks."""
        ends = accumulate(part["rows"] for part in parts)
        for _, several in groupby(zip(parts, ends, strict=True), lambda one: one[1] // ROWS_AT_ONCE):
            yield pa.concat_tables(self.encoded.folder.read_tables([part for part, _ in several]))


def _npy(array: Any) -> bytes:  # noqa: ANN401 - any numpy array
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
