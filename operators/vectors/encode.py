"""Encode texts with a sentence-transformers model, in batches of equal work."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.errors import InputError, TransientError, shown
from operators.schemas import vectors_column, vectors_schema
from operators.vectors.encoder import EncoderConfig, Side, resolve, with_saved_settings
from operators.vectors.model_failures import may_pass
from operators.vectors.model_files import model_folder
from operators.vectors.model_load import input_module

# Static embeddings add up words and pad nothing: a batch's size hardly matters to them.
TOKENS_WHERE_NONE_ARE_PADDED = 16
# Of a tokenizer that has to be asked text by text: a guess on the safe side.
CHARACTERS_OF_A_TOKEN = 2


class Encode:
    """Turn texts into vectors. A call may be repeated and gives the same vectors again.

    The vectors are those of `SentenceTransformer.encode_query` or `encode_document`: the model's own prompt (unless the
    configuration has one), its route for the side, its truncation. With `similarity: cosine` they have length 1.

    The texts of a batch are sorted by length and go through the model in batches of `batch_tokens`; the sort is
    undone. Which texts share a batch depends on the given batch alone, so a partition gets the same vectors on every
    engine. Tokenizing runs one batch ahead in a thread of its own. A text that is repeated in a batch is encoded once.
    """

    def __init__(self, config: EncoderConfig, side: Side, model: Any) -> None:  # noqa: ANN401 - the library is untyped here
        """Take a model that `load_model` gave for the same configuration."""
        config = resolve(config, model.device.type)
        if config.similarity == "auto" or config.query_prompt is None or config.document_prompt is None:
            config = with_saved_settings(config, model_folder(str(config.model), config.revision, config.key("model")))
        self.config, self.side, self.model = config, side, model
        self.prompt = str(config.prompt(side))
        self.named = f"{config.key('model')}: {config.model}"

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the vectors (schema vectors_schema) of a batch of `key`, `text_key` and `text`, in its order.

        Raises:
            InputError: the model gives a value that is not finite in `vector_dtype`, or a vector that is too long or
                outside of the Poincare ball, or has no vector for a token.
            TransientError: there is too little memory, or the device failed.
        """
        once = batch.column("text").combine_chunks().dictionary_encode()
        encoded = self.config.lifted(self.vectors(once.dictionary.to_pylist()), self.side)
        matrix = encoded[once.indices.to_numpy()]
        broken = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
        if len(broken):
            raise InputError(
                f"The model {self.config.model} gives a vector that is not finite for the text "
                f"{shown(batch.column('text')[int(broken[0])].as_py())}. Try `{self.config.key('dtype')}: float32`, "
                f"and `{self.config.key('vector_dtype')}: float32` if its vectors are very long."
            )
        columns = {"key": batch.column("key"), "text_key": batch.column("text_key"), "vector": vectors_column(matrix)}
        return pa.table(columns, schema=vectors_schema(matrix.shape[1], self.config.vector_dtype))

    def vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the vectors of texts, float32 of shape (texts, dimension), as the model gives them.

        Raises:
            InputError: the model has no vector for a token.
            TransientError: there is too little memory, or the device failed.
        """
        try:
            return self._vectors(texts) if texts else self._vectors([""])[:0]
        except Exception as error:
            if may_pass(error):
                raise TransientError(
                    f"{self.named} failed on a batch: {error}. The same command goes on from there; with too little "
                    f"memory, lower {self.config.key('batch_tokens')} ({self.config.batch_tokens})."
                ) from error
            raise

    def _vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        vectors: npt.NDArray[np.float32] | None = None
        with ThreadPoolExecutor(max_workers=1) as tokenizing:
            ahead = None
            for rows in [*self._batches(texts), None]:
                coming = None if rows is None else (rows, tokenizing.submit(self._tokens, [texts[i] for i in rows]))
                if ahead is not None:
                    given = self._forward(ahead[1].result())
                    if vectors is None:
                        vectors = np.empty((len(texts), *given.shape[1:]), dtype=np.float32)
                    vectors[ahead[0]] = given
                ahead = coming
        assert vectors is not None
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
        """Return how many tokens each text takes, int64 of shape (texts,); an estimate where counting is slow."""
        module = input_module(self.model, self.side)
        tokenizer: Any = getattr(module, "tokenizer", None)
        longest = getattr(module, "max_seq_length", None)
        if hasattr(tokenizer, "encode_batch"):  # of static embeddings
            return np.full(len(texts), TOKENS_WHERE_NONE_ARE_PADDED, dtype=np.int64)
        limit = {"max_length": longest} if isinstance(longest, int) and longest < 1 << 30 else {}
        if not getattr(tokenizer, "is_fast", False):
            lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) // CHARACTERS_OF_A_TOKEN
            return np.clip(lengths, 1, limit.get("max_length"))
        tokens = tokenizer(
            [self.prompt + text for text in texts],
            truncation=bool(limit),
            **limit,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        return np.maximum(np.fromiter(map(len, tokens), dtype=np.int64, count=len(tokens)), 1)

    def _tokens(self, texts: list[str]) -> dict[str, Any]:
        features = dict(self.model.preprocess(texts, prompt=self.prompt or None, task=self.side))
        rows, ids = token_rows(input_module(self.model, self.side)), features.get("input_ids")
        if rows is not None and ids is not None and ids.numel() and int(ids.max()) >= rows:
            raise InputError(
                f"{self.named} has vectors for {rows:,} tokens and meets token {int(ids.max())} among "
                f"{shown(texts[0])}: its tokenizer is another model's. Get the model's files again."
            )
        return features

    def _forward(self, features: dict[str, Any]) -> npt.NDArray[np.float32]:
        import torch
        from sentence_transformers.util import batch_to_device

        half = None if self.config.dtype == "float32" else getattr(torch, self.config.dtype)
        mixed = torch.autocast(self.model.device.type, half, enabled=half is not None)
        with torch.inference_mode(), mixed:
            output = self.model(batch_to_device(features, self.model.device), task=self.side)
            if "sentence_embedding" not in output:
                raise InputError(
                    f"{self.named} gives no vector of a whole text: its pooling is missing. Add one to its "
                    f"modules.json, or take another model."
                )
            vectors: torch.Tensor = output["sentence_embedding"]
            vectors = vectors[..., : self.model.truncate_dim].float()
            if self.config.similarity == "cosine":
                vectors = torch.nn.functional.normalize(vectors, dim=1)
            return np.asarray(vectors.cpu().numpy(), dtype=np.float32)


def token_rows(module: Any) -> int | None:  # noqa: ANN401 - the library is untyped here
    """Return how many tokens a model has vectors for, or None where that is unknown."""
    embedding = getattr(module, "embedding", None)
    if embedding is None:
        transformer = getattr(module, "model", None)
        find = getattr(transformer, "get_input_embeddings", None)
        try:
            embedding = None if find is None else find()
        except (NotImplementedError, AttributeError):  # of a model whose input is not tokens
            return None
    embedding = getattr(embedding, "base_layer", embedding)  # where an adapter is added to it
    rows = getattr(embedding, "num_embeddings", None)
    return rows if isinstance(rows, int) else None


def normalise(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale the rows of a float32 matrix, shape (n, dimension), to length 1; rows of zeros stay as they are.

    Lengths are float64: in float32 the squares of values above 1e19 or below 1e-23 over- or underflow.
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64))[:, np.newaxis]
    return np.asarray(matrix / np.where(lengths > 0, lengths, 1), dtype=np.float32)
