"""The configuration of the encoder, and what its authors saved with the model: prompts and the similarity."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from operators.errors import InputError, shown
from operators.schemas import VectorDType, Vectors
from operators.settings import AtLeastOne, Place, Settings
from operators.vectors.geometry import InnerProduct, geometry_of
from operators.vectors.precision import multiplies_bfloat16

DType = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["cpu", "cuda"]
Side = Literal["query", "document"]

# Those that sentence-transformers knows, too; an unknown name is cosine to it.
SIMILARITIES = ("cosine", "dot", "euclidean")
# It knows one more, which no inner product stands for.
MANHATTAN = "manhattan"
SETTINGS = "config_sentence_transformers.json"


class EncoderConfig(Settings):
    """Which model turns texts into vectors, and how.

    Attributes:
        model: a sentence-transformers model: a folder or a hub id. Not needed where all vectors are given.
        revision: the hub revision, where `model` is a hub id.
        query_prompt: put before each query; "" for none, null for the one that was saved with the model.
        document_prompt: put before each document, in the same way.
        max_seq_length: cut texts to so many tokens; null keeps the model's own limit.
        dtype: precision of the matrix products, all else being float32; `auto` is bfloat16 on a GPU and on a CPU that
            has it in hardware (AVX-512 BF16, AMX), else float32.
        vector_dtype: precision in which vectors are kept, and so of the exact scores; with `similarity: poincare` it is
            float32, whose values near the border of the ball are too large and too close for float16.
        similarity: `cosine` normalises the vectors to length 1; `dot` takes them as they are; `euclidean` does so, too,
            and compares by distance; `poincare` compares by the distance in a hyperbolic ball. The score is a distance
            with a minus. `auto` is what was saved with the model, and cosine where nothing was, or where all vectors
            are given.
        curvature: of the hyperbolic space, with a minus: the ball has the radius 1 / sqrt(curvature). Of `poincare`
            alone.
        batch_tokens: how many tokens, padding included, go through the model at once; `auto` is 4096 on a CPU, where
            more leaves the cache, and 65536 on a GPU.
        trust_remote_code: run code that comes with the model. Off: nothing from a model is executed.
    """

    model: Place | None = None
    revision: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    max_seq_length: AtLeastOne | None = None
    dtype: DType = "auto"
    vector_dtype: VectorDType = "float16"
    similarity: Literal["auto", "cosine", "dot", "euclidean", "poincare"] = "auto"
    curvature: float = Field(default=1.0, gt=0)
    batch_tokens: Literal["auto"] | AtLeastOne = "auto"
    trust_remote_code: bool = False

    def key(self, name: str) -> str:
        """Return a key as messages name it, with its section."""
        return f"encoder.{name}"

    @model_validator(mode="before")
    @classmethod
    def _poincare_is_in_float32(cls, data: Any) -> Any:  # noqa: ANN401 - whatever was written
        if isinstance(data, Mapping) and data.get("similarity") == "poincare":
            return {"vector_dtype": "float32", **data}
        return data

    @model_validator(mode="after")
    def _fits_the_similarity(self) -> Self:
        if self.similarity == "poincare" and self.vector_dtype != "float32":
            raise ValueError("similarity: poincare needs vector_dtype: float32. Leave vector_dtype out.")
        if self.similarity != "poincare" and self.curvature != type(self).model_fields["curvature"].default:
            raise ValueError("curvature is that of similarity: poincare. Leave it out, or set similarity: poincare.")
        return self

    @property
    def geometry(self) -> InnerProduct:
        """How vectors are kept, and what their inner products stand for; with nothing left to `auto`."""
        return geometry_of(self.similarity, self.curvature)

    def lifted(self, vectors: npt.NDArray[np.float32], side: Side) -> Vectors:
        """Return vectors of a side, shape (rows, dimension), as they are kept; nothing may be left to `auto`.

        What is too large for `vector_dtype` becomes infinite.

        Raises:
            InputError: a vector is outside of the Poincare ball.
        """
        geometry = self.geometry
        lift = geometry.queries if side == "query" else geometry.documents
        try:
            return lift(vectors, self.vector_dtype)
        except InputError as error:
            raise InputError(
                f"{self.key('similarity')}: {self.similarity}: {error}. Give vectors of the ball, or lower "
                f"{self.key('curvature')} ({self.curvature:g}): the radius is 1 / sqrt(curvature)."
            ) from error

    def prompt(self, side: Side) -> str | None:
        """Return the prompt of a side; None where it is the model's own."""
        return self.query_prompt if side == "query" else self.document_prompt


def resolve(config: EncoderConfig, device: Device) -> EncoderConfig:
    """Return the configuration with what `auto` stands for on that kind of device."""
    auto: dict[str, Any] = {}
    if config.dtype == "auto":
        auto["dtype"] = "bfloat16" if device == "cuda" or multiplies_bfloat16() else "float32"
    if config.batch_tokens == "auto":
        auto["batch_tokens"] = 65536 if device == "cuda" else 4096
    return config.model_copy(update=auto)


def with_saved_settings(config: EncoderConfig, folder: Path | None) -> EncoderConfig:
    """Return the configuration with what was saved with a model wherever it leaves the choice to the model.

    The prompts are those of `SentenceTransformer.encode_query` and `encode_document`. Reads JSON alone, no weights.

    Args:
        config: the configuration.
        folder: of the model; None where all vectors are given, which have no prompts and are compared by cosine.

    Raises:
        InputError: what was saved cannot be read, or names a similarity that no inner product computes.
    """
    if None not in {config.query_prompt, config.document_prompt} and config.similarity != "auto":
        return config
    saved = {} if folder is None else _saved(config, folder)
    prompts = saved.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise InputError(
            f"{config.key('model')}: {folder}/{SETTINGS}: `prompts` is no mapping but {shown(prompts)}. Mend it."
        )
    update: dict[str, Any] = {}
    if config.query_prompt is None:
        update["query_prompt"] = _prompt(config, prompts, "query", folder)
    if config.document_prompt is None:
        update["document_prompt"] = _prompt(config, prompts, "document", folder)
    if config.similarity == "auto":
        update["similarity"] = _similarity(config, saved.get("similarity_fn_name"))
    return config.model_copy(update=update)


def _saved(config: EncoderConfig, folder: Path) -> dict[str, Any]:
    """Return the settings that sentence-transformers reads from a model's folder; none where it reads none."""
    file, key = folder / SETTINGS, config.key("model")
    if not (folder / "modules.json").exists() or not file.exists():
        return {}
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{key}: {file} cannot be read: {error}. Get the model again, or mend it.") from error
    if not isinstance(saved, dict):
        raise InputError(f"{key}: {file}: a mapping is wanted, not {shown(saved)}. Get the model again.")
    # Of another kind of model (a reranker, a sparse one) only the transformer is taken.
    return saved if saved.get("model_type", "SentenceTransformer") == "SentenceTransformer" else {}


def _prompt(config: EncoderConfig, prompts: Mapping[str, Any], side: Side, folder: Path | None) -> str:
    """Return a saved prompt.

    The library also tries `passage` and `corpus`, and `default_prompt_name`, for models without a prompt of that
    name; it gives every model an empty `query` and `document`, so it never comes to those.
    """
    prompt = prompts.get(side)
    if prompt is None:
        return ""
    if not isinstance(prompt, str) or prompt.encode("utf-8", "replace").decode("utf-8") != prompt:
        raise InputError(
            f"{config.key('model')}: {folder}/{SETTINGS}: the prompt {side!r} is no text but {shown(prompt)}. "
            f"Set `{config.key(f'{side}_prompt')}`."
        )
    return prompt


def _similarity(config: EncoderConfig, name: object) -> str:
    if name == MANHATTAN:
        raise InputError(
            f"{config.key('model')}: {config.model} compares vectors by {name} distance, which this index does not "
            f"rank by. Set `{config.key('similarity')}` to cosine, dot or euclidean, or take a model that was trained "
            f"for one of them."
        )
    return str(name) if name in SIMILARITIES else "cosine"
