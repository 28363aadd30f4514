"""Small models of every shape that sentence-transformers saves, made on the spot."""

import json
import shutil
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

    return [_bert(minilm, base_of(folder)), Pooling(48, "mean", include_prompt=include_prompt)]


def _add_adapter(model: Any) -> None:  # noqa: ANN401 - the library is untyped here
    """Add a LoRA adapter with random weights; it is saved without its base, which stays in a folder of its own."""
    import torch
    from peft import LoraConfig

    torch.manual_seed(4)
    model.add_adapter(LoraConfig(r=4, lora_alpha=16, init_lora_weights=False, target_modules=["query", "value"]))


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


def base_of(folder: Path) -> Path:
    """Return the folder of the transformer that a saved model was made from, which an adapter is added to."""
    return folder.with_name(f"{folder.name}-bert")


def copy_adapter(folder: Path, place: Path) -> Path:
    """Copy a saved adapter with its base, and let the copy name the copied base."""
    shutil.copytree(base_of(folder), base_of(place))
    shutil.copytree(folder, place)
    return name_base(place, base_of(place))


def name_base(folder: Path, base: Path | str) -> Path:
    """Let a saved adapter name another base."""
    file = folder / "adapter_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**settings, "base_model_name_or_path": str(base)}), encoding="utf-8")
    return folder


def save_model(shape: str, minilm: Path, folder: Path) -> Path:
    """Save a model of a shape: one of SHAPES. The base of an adapter is saved beside it: see `base_of`."""
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
        "adapter": lambda: _transformer(minilm, folder),
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
        "adapter": {"prompts": prompts},
    }
    model = SentenceTransformer(modules=modules[shape](), device="cpu", **settings.get(shape, {}))
    if shape == "adapter":
        _add_adapter(model)
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
    "adapter",
)


def add_exports(folder: Path) -> list[Path]:
    """Add to every folder of a model that has safetensors what is often beside them; return the files that are new."""
    pickled = {
        "model.safetensors": ("pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"),
        "adapter_model.safetensors": ("adapter_model.bin",),
    }
    others = (
        "tf_model.h5",
        "flax_model.msgpack",
        "rust_model.ot",
        "onnx/model.onnx",
        "onnx/config.json",
        "openvino/openvino_model.bin",
        "openvino/openvino_model.xml",
    )
    weights = sorted(folder.rglob("*.safetensors"))
    added = [file.parent / name for file in weights for name in (*pickled[file.name], *others)]
    for file in added:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"of another framework")
    return added
