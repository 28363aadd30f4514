"""Encode the corpus and the queries: texts -> vectors, one partition at a time, on a pool of encoders."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pyarrow as pa

from operators.errors import InputError
from operators.schemas import matrix_of, vectors_column, vectors_schema
from operators.vectors.encode import Encode, EncoderConfig, Side, normalise
from pipelines.engines import Pool, Stats, Unit
from pipelines.execution import Execution
from pipelines.run_directory import StageFolder
from pipelines.stages import Summary

_KIND: Mapping[Side, str] = {"document": "documents", "query": "queries"}
_KEY: Mapping[Side, str] = {"document": "doc_key", "query": "query_key"}
_INPUT: Mapping[Side, str] = {"document": "prepare/corpus", "query": "prepare/queries"}


@dataclass(frozen=True)
class EncodeTexts:
    """Partitions of documents or queries -> partitions of vectors (schema vectors_schema), in the same order.

    Attributes:
        side: `document` or `query`.
        config: the encoder, with nothing left to `auto`.
        weights: the digest of the model's files; None where the vectors are given.
        pool: the encoders.
        device: where they encode.
    """

    side: Side
    config: EncoderConfig
    weights: str | None
    pool: Pool
    device: Literal["cpu", "cuda"]

    @property
    def name(self) -> str:
        """The stage's name."""
        return "encode/corpus" if self.side == "document" else "encode/queries"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The stage that prepared the texts."""
        return (_INPUT[self.side],)

    def settings(self) -> Mapping[str, Any]:
        """Return the weights (not the model's name) and what else the vectors depend on."""
        if self.weights is None:
            return {"vectors": "given", "similarity": self.config.similarity}
        other = "query_prompt" if self.side == "document" else "document_prompt"
        return {"weights": self.weights, **self.config.model_dump(exclude={"model", "revision", other})}

    def run(self, execution: Execution) -> Summary:
        """Encode every partition that is not encoded yet."""
        texts = execution.inputs[self.inputs[0]]
        units = [Unit(f"{i:05d}", part) for i, part in enumerate(texts.parts(_KIND[self.side]))]
        if self.weights is None:
            taking = partial(TakeVectors, execution.folder, texts.folder, self.side, self.config.similarity)
            stats = execution.map("take", taking, units)
        else:
            encoding = partial(EncodePart, execution.folder, texts.folder, self.side, self.config, self.device)
            stats = execution.map("encode", encoding, units, self.pool)
        dimensions = {one["dimension"] for one in stats if one["rows_out"]}
        if len(dimensions) > 1:
            raise InputError(f"The vectors of {texts.folder.uri} have different lengths: {sorted(dimensions)}.")
        rows = sum(one["rows_out"] for one in stats)
        return {
            "rows_in": rows,
            "rows_out": rows,
            "dropped": {},
            "dimension": dimensions.pop(),
            "parts": {"vectors": [{"path": one["path"], "rows": one["rows_out"]} for one in stats]},
        }


class EncodePart:
    """One partition of texts -> its vectors."""

    def __init__(
        self, folder: StageFolder, texts: StageFolder, side: Side, config: EncoderConfig, device: Literal["cpu", "cuda"]
    ) -> None:
        self.folder, self.texts, self.key = folder, texts, _KEY[side]
        self.encode = Encode(config, side, device)

    def __call__(self, unit: Unit) -> Stats:
        """Encode one partition."""
        batch = self.texts.read_table(unit.args["path"], [self.key, "text_key", "text"])
        return _write(self.folder, unit, self.encode(batch.rename_columns(["key", "text_key", "text"])))


class TakeVectors:
    """One partition whose vectors were given -> these vectors."""

    def __init__(
        self, folder: StageFolder, texts: StageFolder, side: Side, similarity: Literal["cosine", "dot"]
    ) -> None:
        self.folder, self.texts, self.key, self.similarity = folder, texts, _KEY[side], similarity

    def __call__(self, unit: Unit) -> Stats:
        """Take the vectors of one partition."""
        batch = self.texts.read_table(unit.args["path"], [self.key, "text_key", "vector"])
        matrix = matrix_of(batch.column("vector"))
        matrix = normalise(matrix) if self.similarity == "cosine" else matrix
        columns = [batch.column(self.key), batch.column("text_key"), vectors_column(matrix)]
        return _write(self.folder, unit, pa.table(columns, schema=vectors_schema(matrix.shape[1])))


def _write(folder: StageFolder, unit: Unit, vectors: pa.Table) -> Stats:
    path = f"vectors/part-{unit.name}.parquet"
    folder.write_table(path, vectors)
    return {"path": path, "rows_out": vectors.num_rows, "dimension": vectors.schema.field("vector").type.list_size}
