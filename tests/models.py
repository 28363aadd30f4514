"""Small models of every shape that sentence-transformers saves, made on the spot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

QUERY, DOCUMENT = "Find what answers this: ", "passage: "
Build = Callable[[Path], Any]


def _static(minilm: Path, seed: int, dimension: int = 48) -> Any:  # noqa: ANN401 - the library is untyped here
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    weights = np.random.default_rng(seed).standard_normal((tokenizer.get_vocab_size(), dimension))
    return StaticEmbedding(tokenizer, embedding_weights=weights.astype(np.float32))


def _bert(minilm: Path, folder: Path, seed: int = 0) -> Any:  # noqa: ANN401 - the library is untyped here
    """A transformer of one layer and 48 dimensions, with random weights and the tokenizer of all-MiniLM-L6-v2."""
    import torch
    from sentence_transformers.base.modules import Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(seed)
    settings = BertConfig(
        hidden_size=48, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64, max_position_embeddings=64
    )
    BertModel(settings).save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(minilm)).save_pretrained(folder)
    return Transformer(str(folder), max_seq_length=48)


def _transformer(minilm: Path, folder: Path, include_prompt: bool = True) -> list[Any]:
    from sentence_transformers.sentence_transformer.modules import Pooling

    return [_bert(minilm, folder.with_name(f"{folder.name}-bert")), Pooling(48, "mean", include_prompt=include_prompt)]


def _router(minilm: Path, folder: Path, queries: str) -> list[Any]:
    from sentence_transformers.base.modules import Router

    asked = [_static(minilm, 1)] if queries == "static" else _transformer(minilm, folder)
    documents = _transformer(minilm, folder) if queries == "static" else [_static(minilm, 2)]
    return [Router.for_query_document(query_modules=asked, document_modules=documents)]


def _dense(minilm: Path) -> list[Any]:
    import torch
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import Normalize

    torch.manual_seed(3)
    return [_static(minilm, 3), Dense(48, 40), Normalize()]


def save_model(shape: str, minilm: Path, folder: Path) -> Path:
    """Save a model of a shape: one of SHAPES."""
    from sentence_transformers import SentenceTransformer

    prompts = {"query": QUERY, "document": DOCUMENT}
    modules: dict[str, Callable[[], list[Any]]] = {
        "plain": lambda: _transformer(minilm, folder),
        "prompts": lambda: _transformer(minilm, folder),
        "prompt not pooled": lambda: _transformer(minilm, folder, include_prompt=False),
        "other names of prompts": lambda: _transformer(minilm, folder),
        "dot": lambda: _transformer(minilm, folder),
        "cut to fewer dimensions": lambda: _dense(minilm),
        "static": lambda: [_static(minilm, 0)],
        "static with prompts": lambda: [_static(minilm, 0)],
        "router, static queries": lambda: _router(minilm, folder, "static"),
        "router, static documents": lambda: _router(minilm, folder, "bert"),
    }
    settings: dict[str, dict[str, Any]] = {
        "prompts": {"prompts": prompts},
        "prompt not pooled": {"prompts": prompts},
        "other names of prompts": {
            "prompts": {"passage": DOCUMENT, "search": QUERY},
            "default_prompt_name": "search",
        },
        "dot": {"similarity_fn_name": "dot"},
        "cut to fewer dimensions": {"truncate_dim": 24, "similarity_fn_name": "dot"},
        "static with prompts": {"prompts": prompts},
        "router, static queries": {"prompts": prompts, "similarity_fn_name": "dot"},
    }
    model = SentenceTransformer(modules=modules[shape](), device="cpu", **settings.get(shape, {}))
    model.save(str(folder))
    return folder


SHAPES = (
    "plain",
    "prompts",
    "prompt not pooled",
    "other names of prompts",
    "dot",
    "cut to fewer dimensions",
    "static",
    "static with prompts",
    "router, static queries",
    "router, static documents",
)
