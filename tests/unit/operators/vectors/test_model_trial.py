"""A model that cannot encode is refused by a trial, in one line that names what is wrong with it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from operators.errors import InputError
from operators.vectors.encoder import EncoderConfig, Side, resolve, with_saved_settings
from operators.vectors.model_load import load_model
from operators.vectors.model_trial import try_model
from tests.models import SHAPES, save_model

SIDES: tuple[Side, ...] = ("query", "document")
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def bert(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("plain", minilm, tmp_path_factory.mktemp("bert") / "model")


@pytest.fixture(scope="module")
def static(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("static", minilm, tmp_path_factory.mktemp("static") / "model")


def tried(folder: Path, **settings: Any) -> dict[str, Any]:  # noqa: ANN401
    config = with_saved_settings(resolve(EncoderConfig(model=str(folder), **settings), "cpu"), folder)
    return try_model(config, SIDES, load_model(config, "cpu"))


def changed(folder: Path, place: Path, change: Callable[[Weights], Any]) -> Path:
    """Copy a model and change its weights."""
    shutil.copytree(folder, place)
    weights = load_file(place / "model.safetensors")
    change(weights)
    save_file({name: one.contiguous() for name, one in weights.items()}, place / "model.safetensors", {"format": "pt"})
    return place


def rewritten(folder: Path, place: Path, file: str, **changes: Any) -> Path:  # noqa: ANN401
    """Copy a model and change settings in one of its JSON files."""
    shutil.copytree(folder, place)
    settings = json.loads((place / file).read_text(encoding="utf-8"))
    (place / file).write_text(json.dumps({**settings, **changes}), encoding="utf-8")
    return place


@pytest.mark.parametrize("dtype", ["auto", "float32"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_works_is_not_refused(shape: str, dtype: str, minilm: Path, tmp_path: Path) -> None:
    used = tried(save_model(shape, minilm, tmp_path / "model"), dtype=dtype)
    assert used["dimension"] == (24 if shape == "cut to fewer dimensions" else 48)


def test_the_real_model_is_not_refused(minilm: Path) -> None:
    assert tried(minilm) == {
        "similarity": "cosine",
        "dtype": resolve(EncoderConfig(), "cpu").dtype,
        "vector_dtype": "float16",
        "dimension": 384,
        "max_seq_length": 256,
        "prompts": {"query": "", "document": ""},
        "routes": {"query": None, "document": None},
    }


def test_weights_that_the_files_lack_are_refused_where_vectors_depend_on_them(bert: Path, tmp_path: Path) -> None:
    needed = "encoder.layer.0.attention.self.query.weight"
    with pytest.raises(InputError, match=rf"weights that its files lack \(0\.model\.{needed}\)"):
        tried(changed(bert, tmp_path / "lacking", lambda weights: weights.pop(needed)))
    pooler = changed(bert, tmp_path / "pooler", lambda weights: weights.pop("pooler.dense.weight"))
    assert tried(pooler)["dimension"] == 48


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused_though_no_text_of_the_trial_meets_them(
    value: float, bert: Path, static: Path, tmp_path: Path
) -> None:
    def break_one(name: str) -> Callable[[Weights], Any]:
        return lambda weights: weights[name][20_000].fill_(value)

    for folder, name in ((bert, "embeddings.word_embeddings.weight"), (static, "embedding.weight")):
        broken = changed(folder, tmp_path / name, break_one(name))
        with pytest.raises(InputError, match=rf"not finite .*{name}"):
            tried(broken)


def test_fewer_vectors_than_words_are_refused(bert: Path, static: Path, tmp_path: Path) -> None:
    def cut(name: str) -> Callable[[Weights], Any]:
        return lambda weights: weights.update({name: weights[name][:30_000]})

    few = changed(static, tmp_path / "static", cut("embedding.weight"))
    also_few = rewritten(
        changed(bert, tmp_path / "cut", cut("embeddings.word_embeddings.weight")),
        tmp_path / "bert",
        "config.json",
        vocab_size=30_000,
    )
    for folder in (few, also_few):
        with pytest.raises(InputError, match=r"vectors for 30,000 tokens, and its tokenizer has a word of number 30,5"):
            tried(folder)


def test_a_limit_behind_the_last_position_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = rewritten(bert, tmp_path / "model", "sentence_bert_config.json", max_seq_length=512)
    with pytest.raises(InputError, match=r"cannot encode a query as long as it reads: .*encoder\.max_seq_length"):
        tried(folder)
    assert tried(folder, max_seq_length=64)["max_seq_length"] == 64


def test_a_model_without_pooling_is_refused(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path / "model")
    modules = json.loads((tmp_path / "model" / "modules.json").read_text(encoding="utf-8"))
    (tmp_path / "model" / "modules.json").write_text(json.dumps(modules[:1]), encoding="utf-8")
    with pytest.raises(InputError, match=r"its pooling is missing"):
        tried(tmp_path / "model")


def test_modules_of_other_dimensions_are_refused(minilm: Path, tmp_path: Path) -> None:
    folder = save_model("cut to fewer dimensions", minilm, tmp_path / "model")
    (dense,) = folder.glob("*_Dense")
    other = changed(
        folder,
        tmp_path / "other",
        lambda weights: weights.update({"embedding.weight": weights["embedding.weight"][:, :40]}),
    )
    with pytest.raises(InputError, match=r"cannot encode a query.*48"):
        tried(other)
    shutil.rmtree(folder / dense.name)
    with pytest.raises(InputError, match=r"cannot be loaded"):
        tried(folder)


def test_a_tokenizer_that_cannot_pad_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = rewritten(bert, tmp_path / "model", "tokenizer_config.json", pad_token=None)
    if (folder / "special_tokens_map.json").exists():
        (folder / "special_tokens_map.json").unlink()
    with pytest.raises(InputError, match=r"pad"):
        tried(folder)


def test_a_tokenizer_that_knows_no_word_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "model"))
    (folder / "tokenizer.json").unlink()  # transformers makes an empty one then
    with pytest.raises(InputError, match=r"tokenizer that knows no word"):
        tried(folder)


def test_a_model_that_runs_code_of_its_own_is_refused_with_the_key(bert: Path, tmp_path: Path) -> None:
    code = {"AutoConfig": "code.Config", "AutoModel": "code.Model"}
    folder = rewritten(bert, tmp_path / "model", "config.json", auto_map=code, model_type="of-its-own")
    (folder / "code.py").write_text("raise AssertionError('it ran')\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"encoder\.trust_remote_code"):
        tried(folder)


@pytest.mark.parametrize("content", [{}, {"notes.txt": "no model"}, {"model.safetensors": ""}, {"config.json": "{}"}])
def test_a_folder_that_is_no_model_is_refused(content: dict[str, str], tmp_path: Path) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"encoder\.model: .*cannot be loaded"):
        tried(tmp_path)


def test_vectors_too_long_for_their_precision_are_refused(static: Path, tmp_path: Path) -> None:
    long = changed(static, tmp_path / "model", lambda weights: weights["embedding.weight"].mul_(1e5))
    with pytest.raises(InputError, match=r"encoder\.vector_dtype: float32"):
        tried(long, similarity="dot")
    assert tried(long, similarity="dot", vector_dtype="float32")["similarity"] == "dot"
