"""Encode the corpus and the queries: texts -> vectors, one partition at a time, on one pool of encoders."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from rich.filesize import decimal

from operators.errors import InputError
from operators.schemas import matrix_of, vectors_column, vectors_schema
from operators.vectors.encode import Encode, normalise
from operators.vectors.encoder import Device, EncoderConfig, Side
from operators.vectors.geometry import InnerProduct, geometry_of
from operators.vectors.model_load import load_model
from operators.vectors.precision import in_float32
from pipelines.runtime.engines import Pool, Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput, timed
from pipelines.runtime.resources import return_memory
from pipelines.runtime.stage import Section, Stage, Summary
from pipelines.runtime.storage.arrow_layout import vectors_at
from pipelines.runtime.storage.records import UNITS
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.runtime.unit_progress import RowsSoFar, note_of
from pipelines.text.stages.encoder_stages import OF_RUN, EncoderStages
from pipelines.text.stages.partitions import dimension_of

SIDES: tuple[Side, ...] = ("document", "query")
STEP = "encode"
_PREPARED: Mapping[Side, str] = {"document": "prepare/corpus", "query": "prepare/queries"}
_KIND: Mapping[Side, str] = {"document": "documents", "query": "queries"}
_KEY: Mapping[Side, str] = {"document": "doc_key", "query": "query_key"}


@dataclass(frozen=True)
class EncodeTexts(Stage):
    """Partitions of documents and of queries -> partitions of vectors (schema vectors_schema), in the same order.

    A partition's vectors are kept under the digest of its texts and of how its side is encoded, and of nothing else:
    whatever corpus, or set of queries, the same partition is part of, and whatever encodes the other side, that is done
    once.

    Attributes:
        config: the encoder, with nothing left to `auto` or to what was saved with the model.
        weights: the digest of the model's files; None where no side needs the model.
        precomputed: the sides whose vectors came with them.
        pool: the encoders.
        device: where they encode.
        stages: of the encoder.
    """

    config: EncoderConfig
    weights: str | None
    precomputed: frozenset[Side]
    pool: Pool
    device: Device
    stages: EncoderStages = OF_RUN

    inputs = ("prepare/corpus", "prepare/queries")

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the stage."""
        return self.stages.encode

    @property
    def checked_after(self) -> tuple[str, ...]:  # type: ignore[override]
        """The stages that tell the lengths of vectors."""
        return (self.stages.trial, *self.inputs)

    def settings(self) -> Mapping[str, Any]:
        """Return what the vectors of each side depend on, beside its texts."""
        return {side: self._settings_of(side) for side in SIDES}

    def content_settings(self) -> Mapping[str, Any]:
        """Return nothing: the name of a unit tells how it is encoded, too."""
        return {}

    def check(self, outputs: Mapping[str, StageOutput]) -> None:
        """Refuse vectors of documents, of queries and of the model that differ in length."""
        dimension_of(outputs, self.stages)

    def needs(self, manifest: Mapping[str, Any] | None) -> str:
        """Say where it encodes, and how large the vectors are."""
        used = f"{self.device} x {self.pool.workers}, {self.config.dtype}, " if self.weights else ""
        if manifest is None:
            return f"{used}{_value_bytes(self.config.vector_dtype)} bytes x dimension for each vector"
        size = manifest["rows_out"] * manifest["dimension"] * _value_bytes(manifest["vector_dtype"])
        return f"{used}{decimal(size)} of vectors"

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Say what of the model was used."""
        encoder = outputs[self.name].manifest["encoder"]
        listed = ", ".join(f"{key} {json.dumps(value)}" for key, value in encoder.items())
        return self.stages.reported({"encoder": encoder}, "Encoder", listed)

    def _settings_of(self, side: Side) -> Mapping[str, Any]:
        """Return the weights (not the model's name) and what else the vectors of a side depend on."""
        if side in self.precomputed:
            return {**self._kept(), "vector_dtype": self.config.vector_dtype}
        beside = {"model", "revision", "query_prompt", "document_prompt", "curvature"}
        own = {"weights": self.weights, "prompt": self.config.prompt(side)}
        return {**own, **self.config.model_dump(exclude=beside), **self._kept()}

    def _kept(self) -> dict[str, Any]:
        """Return how the vectors are compared and how many values are added to them: lifts differ by that."""
        added = self.config.geometry.added
        return {**self._compared(), **({"added": added} if added else {})}

    def _compared(self) -> dict[str, Any]:
        """Return how the vectors are compared."""
        curved = {"curvature": self.config.curvature} if self.config.similarity == "poincare" else {}
        return {"similarity": self.config.similarity, **curved}

    def run(self, execution: Execution) -> Summary:
        """Encode every partition that is not encoded yet."""
        folders = {side: execution.inputs[_PREPARED[side]].folder for side in SIDES}
        units = {side: self._units(execution, side) for side in SIDES}
        taking = partial(ImportVectors, execution.folder, folders, self.config)
        encoding = partial(EncodePart, execution.folder, folders, Encoder(self.config, self.device, self.weights))
        given = [unit for side in SIDES if side in self.precomputed for unit in units[side]]
        texts = [unit for side in SIDES if side not in self.precomputed for unit in units[side]]
        stats = execution.map("take", taking, given) + execution.map(STEP, encoding, texts, self.pool)
        done = dict(zip([unit.name for unit in (*given, *texts)], stats, strict=True))
        dimensions = {
            one["dimension"]: side
            for side in SIDES
            for one in (done[unit.name] for unit in units[side])
            if one["rows_out"]
        }
        if len(dimensions) > 1:
            raise InputError(_lengths(dimensions))
        parts = {
            _KIND[side]: [
                {**done[unit.name]["file"], "rows": done[unit.name]["rows_out"], "digest": unit.name}
                for unit in units[side]
            ]
            for side in SIDES
        }
        sides = {
            _PREPARED[side].partition("/")[2]: _counts([done[unit.name] for unit in units[side]]) for side in SIDES
        }
        return Summary(
            rows_in=sum(one["rows_in"] for one in sides.values()),
            rows_out=sum(one["rows_out"] for one in sides.values()),
            compute_seconds=sum(one["compute_seconds"] for one in stats) / (self.pool.workers or 1),
            facts={
                "dimension": next(iter(dimensions)),
                "vector_dtype": self.config.vector_dtype,
                "encoder": self._used(),
                "rows": sides,
            },
            parts=parts,
        )

    def _used(self) -> dict[str, Any]:
        """Return what the report shows of the encoder: for given vectors how they are compared, and no more."""
        if self.weights is None:
            return self._compared()
        prompts = {side: self.config.prompt(side) for side in SIDES if side not in self.precomputed}
        return {**self._compared(), "prompts": prompts, "dtype": self.config.dtype}

    def _units(self, execution: Execution, side: Side) -> list[Unit]:
        """Name every partition by all that its vectors depend on."""
        settings = json.dumps(self._settings_of(side), sort_keys=True)
        units: dict[str, Unit] = {}
        for part in execution.inputs[_PREPARED[side]].parts(_KIND[side]):
            name = xxhash.xxh3_128_hexdigest(f"{side} {settings} {part['digest']}".encode())
            units[name] = Unit(name, {"texts": part, "side": side})
        return list(units.values())


def geometry_in(encoded: StageOutput) -> InnerProduct:
    """Return the geometry of the vectors that this stage wrote."""
    compared = encoded.manifest["encoder"]
    return geometry_of(compared["similarity"], compared.get("curvature", 1.0))


def _value_bytes(dtype: str) -> int:
    return np.dtype(dtype).itemsize


def _lengths(dimensions: Mapping[int, Side]) -> str:
    sides = [f"a {side} vector has {dimension} values" for dimension, side in dimensions.items()]
    return f"{', '.join(sides)}: queries and documents need vectors of one length. Give both from one model."


def _counts(stats: Sequence[Stats]) -> dict[str, int]:
    rows = sum(one["rows_out"] for one in stats)
    return {"rows_in": rows, "rows_out": rows, "rows_reused": sum(one["rows_out"] for one in stats if one["found"])}


@dataclass(frozen=True)
class Encoder:
    """What a worker loads: which model, on what, and the digest that the model's files must have there."""

    config: EncoderConfig
    device: Device
    weights: str | None


class EncodePart:
    """One partition of texts -> its vectors."""

    def __init__(self, folder: StageFolder, texts: Mapping[Side, StageFolder], encoder: Encoder) -> None:
        self.folder, self.texts = folder, texts
        self.model = load_model(encoder.config, encoder.device, encoder.weights)
        self.encode = {side: Encode(encoder.config, side, self.model) for side in SIDES}

    def __call__(self, unit: Unit) -> Stats:
        """Encode one partition."""
        side: Side = unit.args["side"]
        batch = self.texts[side].read_table(unit.args["texts"], [_KEY[side], "text_key", "text"])
        with RowsSoFar(self.folder, note_of(f"{UNITS}/{STEP}", unit.name)).through(self.model):
            vectors, seconds = timed(self.encode[side], batch.rename_columns(["key", "text_key", "text"]))
        return_memory()
        return {**_write(self.folder, unit, vectors), "compute_seconds": seconds}


class ImportVectors:
    """One partition whose vectors were given -> these vectors."""

    def __init__(self, folder: StageFolder, texts: Mapping[Side, StageFolder], config: EncoderConfig) -> None:
        self.folder, self.texts, self.config = folder, texts, config

    def __call__(self, unit: Unit) -> Stats:
        """Take the vectors of one partition."""
        side: Side = unit.args["side"]
        batch = self.texts[side].read_table(unit.args["texts"], [_KEY[side], "text_key", "vector"])
        given = in_float32(matrix_of(batch.column("vector")))
        dtype = self.config.vector_dtype
        given = normalise(given) if self.config.similarity == "cosine" else given
        matrix = self.config.lifted(given, side)
        if not np.isfinite(matrix).all():
            remedy = f"Set `{self.config.key('vector_dtype')}: float32`" if dtype == "float16" else "Scale them down"
            raise InputError(f"Given vectors of a {side} have values, or a length, too large for {dtype}. {remedy}.")
        columns = [batch.column(_KEY[side]), batch.column("text_key"), vectors_column(matrix)]
        vectors = pa.table(columns, schema=vectors_schema(matrix.shape[1], dtype))
        return {**_write(self.folder, unit, vectors), "compute_seconds": 0}


def _write(folder: StageFolder, unit: Unit, vectors: pa.Table) -> Stats:
    file = {**folder.write_table(f"vectors/{unit.name}.arrow", vectors), "vectors_at": vectors_at(vectors)}
    return {"file": file, "rows_out": vectors.num_rows, "dimension": vectors.schema.field("vector").type.list_size}
