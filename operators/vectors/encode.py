"""Encode texts with a sentence-transformers model, in batches of equal work."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from operators.errors import InputError
from operators.schemas import VectorDType, vectors_column, vectors_schema
from operators.vectors.precision import in_precision, multiplies_bfloat16

DType = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["cpu", "cuda"]
Side = Literal["query", "document"]

# Static embeddings add up words and pad nothing: a batch's size hardly matters to them.
TOKENS_WHERE_NONE_ARE_PADDED = 16


class EncoderConfig(BaseModel):
    """Which model turns texts into vectors, and how.

    Attributes:
        model: a sentence-transformers model: a folder or a hub id. Not needed where all vectors are given.
        revision: the hub revision, where `model` is a hub id.
        query_prompt: put before each query, as the model was trained; "" for none.
        document_prompt: put before each document.
        max_seq_length: cut texts to so many tokens; null keeps the model's own limit.
        dtype: precision of the matrix products, all else being float32; `auto` is bfloat16 on a GPU and on a CPU that
            has it in hardware (AVX-512 BF16, AMX), else float32.
        vector_dtype: precision in which vectors are kept, and so of the exact scores.
        similarity: `cosine` normalises the vectors to length 1; `dot` takes them as they are.
        batch_tokens: how many tokens, padding included, go through the model at once; `auto` is 4096 on a CPU, where
            more leaves the cache, and 65536 on a GPU.
        trust_remote_code: run code that comes with the model. Off: nothing from a model is executed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = None
    revision: str | None = None
    query_prompt: str = ""
    document_prompt: str = ""
    max_seq_length: int | None = Field(default=None, ge=1)
    dtype: DType = "auto"
    vector_dtype: VectorDType = "float16"
    similarity: Literal["cosine", "dot"] = "cosine"
    batch_tokens: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    trust_remote_code: bool = False


class Encode:
    """Turn texts into vectors. A call may be repeated and gives the same vectors again.

    The texts of a batch are sorted by length and go through the model in batches of `batch_tokens`; the sort is
    undone. Which texts share a batch depends on the given batch alone, so a partition gets the same vectors on every
    engine. Tokenizing runs one batch ahead in a thread of its own. A text that is repeated in a batch is encoded once.
    """

    def __init__(self, config: EncoderConfig, side: Side, model: Any) -> None:  # noqa: ANN401 - the library is untyped here
        """Take a model that `load_model` gave for the same configuration."""
        self.config = resolve(config, model.device.type)
        self.prompt = config.query_prompt if side == "query" else config.document_prompt
        self.model = model

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the vectors (schema vectors_schema) of a batch of `key`, `text_key` and `text`, in its order.

        Raises:
            InputError: the model gives a value that is not finite in `vector_dtype`.
        """
        once = batch.column("text").combine_chunks().dictionary_encode()
        encoded = in_precision(self._vectors(once.dictionary.to_pylist()), self.config.vector_dtype)
        matrix = encoded[once.indices.to_numpy()]
        broken = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
        if len(broken):
            raise InputError(
                f"The model {self.config.model} gives a vector that is not finite for the text "
                f"{batch.column('text')[int(broken[0])].as_py()[:80]!r}. Try `encoder.dtype: float32`, and "
                f"`encoder.vector_dtype: float32` if its vectors are very long."
            )
        columns = {"key": batch.column("key"), "text_key": batch.column("text_key"), "vector": vectors_column(matrix)}
        return pa.table(columns, schema=vectors_schema(matrix.shape[1], self.config.vector_dtype))

    def _vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        dimension = self.model.get_embedding_dimension()
        vectors = np.empty((len(texts), dimension), dtype=np.float32)
        with ThreadPoolExecutor(max_workers=1) as tokenizing:
            ahead = None
            for rows in [*self._batches(texts), None]:
                coming = None if rows is None else (rows, tokenizing.submit(self._tokens, [texts[i] for i in rows]))
                if ahead is not None:
                    vectors[ahead[0]] = self._forward(ahead[1].result())
                ahead = coming
        return vectors

    def _batches(self, texts: Sequence[str]) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the rows of each batch, longest texts first, so that a batch that does not fit fails at the start."""
        lengths = self._lengths(texts)
        order = np.argsort(-lengths, kind="stable")
        start = 0
        while start < len(order):
            rows = max(1, int(self.config.batch_tokens) // int(lengths[order[start]]))
            yield order[start : start + rows]
            start += rows

    def _lengths(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return how many tokens each text takes, int64 of shape (texts,); a guess where the model pads none."""
        tokenizer = self.model.tokenizer
        if not getattr(tokenizer, "is_fast", False) or not texts:
            return np.full(len(texts), TOKENS_WHERE_NONE_ARE_PADDED, dtype=np.int64)
        tokens = tokenizer(
            [self.prompt + text for text in texts],
            truncation=True,
            max_length=self.model.max_seq_length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        return np.maximum(np.fromiter(map(len, tokens), dtype=np.int64, count=len(tokens)), 1)

    def _tokens(self, texts: list[str]) -> dict[str, Any]:
        return dict(self.model.preprocess(texts, prompt=self.prompt or None))

    def _forward(self, features: dict[str, Any]) -> npt.NDArray[np.float32]:
        import torch
        from sentence_transformers.util import batch_to_device

        half = None if self.config.dtype == "float32" else getattr(torch, self.config.dtype)
        mixed = torch.autocast(self.model.device.type, half, enabled=half is not None)
        with torch.inference_mode(), mixed:
            vectors: torch.Tensor = self.model(batch_to_device(features, self.model.device))["sentence_embedding"]
            vectors = vectors.float()
            if self.config.similarity == "cosine":
                vectors = torch.nn.functional.normalize(vectors, dim=1)
            return np.asarray(vectors.cpu().numpy(), dtype=np.float32)


def load_model(config: EncoderConfig, device: str | None = None) -> Any:  # noqa: ANN401 - the library is untyped here
    """Load the sentence-transformers model of the configuration onto a device, ready to encode.

    The weights of its linear layers are kept in `dtype`: that saves casting them for every batch.

    Raises:
        InputError: the model cannot be loaded, or cannot cut texts where `max_seq_length` is set.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    device = device or default_device()
    try:
        model = SentenceTransformer(
            config.model,
            revision=config.revision,
            device=device,
            trust_remote_code=config.trust_remote_code,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise InputError(f"encoder.model: {config.model} cannot be loaded: {error}") from error
    if config.max_seq_length is not None:
        _cut_at(config.max_seq_length, model, config.model)
    dtype = getattr(torch, resolve(config, model.device.type).dtype)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.to(dtype)
    return model.eval()


def _cut_at(tokens: int, model: Any, name: str | None) -> None:  # noqa: ANN401 - the library is untyped here
    transformer = model.transformers_model
    positions = None if transformer is None else getattr(transformer.config, "max_position_embeddings", None)
    if positions is not None and tokens > positions:
        raise InputError(f"encoder.max_seq_length: {tokens} is more than the {positions} tokens that {name} can read.")
    try:
        model.max_seq_length = tokens
    except AttributeError as error:  # static embeddings average all words
        raise InputError(f"encoder.max_seq_length: {name} reads texts of any length; leave it out.") from error


def default_device() -> str:
    """Return the device to encode on: a GPU where there is one, else the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve(config: EncoderConfig, device: Device) -> EncoderConfig:
    """Return the configuration with what `auto` stands for on that kind of device."""
    auto: dict[str, Any] = {}
    if config.dtype == "auto":
        auto["dtype"] = "bfloat16" if device == "cuda" or multiplies_bfloat16() else "float32"
    if config.batch_tokens == "auto":
        auto["batch_tokens"] = 65536 if device == "cuda" else 4096
    return config.model_copy(update=auto)


def normalise(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale the rows of a float32 matrix, shape (n, dimension), to length 1; rows of zeros stay as they are.

    Lengths are float64: in float32 the squares of values above 1e19 or below 1e-23 over- or underflow.
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64))[:, np.newaxis]
    return np.asarray(matrix / np.where(lengths > 0, lengths, 1), dtype=np.float32)
