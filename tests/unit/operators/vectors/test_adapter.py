"""An adapter is encoded with its base: both are what vectors depend on, and both have to be whole."""

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file

from operators.errors import LONGEST_MESSAGE, InputError
from operators.schemas import matrix_of
from operators.vectors.encode import Encode, token_rows
from operators.vectors.encoder import EncoderConfig, resolve, with_saved_settings
from operators.vectors.model_files import weights_digest
from operators.vectors.model_load import input_module, load_model
from operators.vectors.model_trial import try_model
from tests.models import base_of, copy_adapter, save_model

Weights = dict[str, torch.Tensor]
TEXTS = ["what is a hard negative?", "yes", "the cell membrane " * 9, "Ünïcödé 細胞"]


@pytest.fixture(scope="module")
def adapter(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("adapter", minilm, tmp_path_factory.mktemp("adapter") / "model")


def tried(folder: Path, **settings: Any) -> dict[str, Any]:  # noqa: ANN401
    config = with_saved_settings(resolve(EncoderConfig(model=str(folder), **settings), "cpu"), folder)
    return try_model(config, ("query", "document"), load_model(config, "cpu"))


def encoded(folder: Path, **settings: Any) -> Any:  # noqa: ANN401
    config = EncoderConfig(model=str(folder), vector_dtype="float32", **settings)
    keys = pa.array(range(len(TEXTS)), pa.int64())
    table = Encode(config, "query", load_model(config, "cpu"))(pa.table({"key": keys, "text_key": keys, "text": TEXTS}))
    return matrix_of(table.column("vector"))


def change(file: Path, changing: Callable[[Weights], Any]) -> None:
    weights = load_file(file)
    changing(weights)
    save_file({name: one.contiguous() for name, one in weights.items()}, file, {"format": "pt"})


def weights_of(folder: Path) -> tuple[Path, Path]:
    return folder / "adapter_model.safetensors", base_of(folder) / "model.safetensors"


def test_the_adapter_is_applied_and_half_precision_comes_near(adapter: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    exact = SentenceTransformer(str(adapter), device="cpu").encode_query(TEXTS, normalize_embeddings=True)
    assert ((encoded(adapter, dtype="float32") * exact).sum(axis=1) > 0.9999).all()
    assert ((encoded(adapter, dtype="bfloat16") * exact).sum(axis=1) > 0.999).all()
    change(
        weights_of(copy_adapter(adapter, tmp_path / "model"))[0], lambda all_: [one.zero_() for one in all_.values()]
    )
    assert ((encoded(tmp_path / "model", dtype="float32") * exact).sum(axis=1) < 0.999).all()


def test_the_base_and_the_adapter_are_part_of_the_digest(adapter: Path, tmp_path: Path) -> None:
    model = copy_adapter(adapter, tmp_path / "model")
    digests = [weights_digest(model)]
    for file in weights_of(model):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        digests.append(weights_digest(model))
    assert len(set(digests)) == 3


def _remove(name: str, weights: Weights) -> None:
    del weights[name]


@pytest.mark.parametrize("of", ["adapter", "base"])
def test_every_weight_that_a_vector_depends_on_is_missed(of: str, adapter: Path, tmp_path: Path) -> None:
    names = load_file(weights_of(adapter)[of == "base"])
    for number, name in enumerate(names):
        model = copy_adapter(adapter, tmp_path / str(number))
        change(weights_of(model)[of == "base"], partial(_remove, name))
        if name.startswith("pooler"):
            assert tried(model)["dimension"] == 48
            continue
        with pytest.raises(InputError, match=r"weights that its files lack \(0\.model\.") as refused:
            tried(model)
        assert name.removeprefix("base_model.model.").rpartition(".")[0] in str(refused.value)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


def _not_finite(file: Path) -> None:
    change(file, lambda weights: next(iter(weights.values())).fill_(torch.nan))


def _of_another_shape(file: Path) -> None:
    change(file, lambda weights: weights.update({name: one[..., :3] for name, one in weights.items()}))


@pytest.mark.parametrize("damage", [Path.unlink, _cut, _not_finite, _of_another_shape])
@pytest.mark.parametrize("at", [0, 1])
def test_damaged_weights_are_refused_in_one_line(
    at: int, damage: Callable[[Path], None], adapter: Path, tmp_path: Path
) -> None:
    model = copy_adapter(adapter, tmp_path / "model")
    damage(weights_of(model)[at])
    with pytest.raises(InputError, match=r"^encoder\.model: ") as refused:
        tried(model)
    assert len(str(refused.value)) <= LONGEST_MESSAGE
    assert "\n" not in str(refused.value)


def test_an_adapter_of_the_word_vectors_has_their_number(minilm: Path, tmp_path: Path) -> None:
    from peft import LoraConfig
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(save_model("plain", minilm, tmp_path / "model")), device="cpu")
    rows = token_rows(input_module(model, "query"))
    model.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["word_embeddings"]))
    assert rows == token_rows(input_module(model, "query")) == 30_522


WITHOUT_PEFT = """
import sys
sys.modules["peft"] = None  # as if it were not installed
from operators.errors import InputError
from operators.vectors.encoder import EncoderConfig
from operators.vectors.model_load import load_model
try:
    load_model(EncoderConfig(model=sys.argv[1]), "cpu")
except InputError as refusal:
    print(refusal)
"""


def test_an_adapter_without_its_package_is_refused_with_the_remedy(adapter: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PEFT, str(adapter)], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"encoder\.model: .*`peft`.*Install the package.*\n", done.stdout)
