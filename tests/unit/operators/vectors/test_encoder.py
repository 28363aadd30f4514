"""By default texts are encoded as `encode_query` and `encode_document` encode them, whatever shape the model has."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from operators.errors import InputError
from operators.schemas import matrix_of
from operators.vectors.encode import Encode
from operators.vectors.encoder import EncoderConfig, Side, with_saved_settings
from operators.vectors.model_load import load_model
from operators.vectors.model_trial import try_model
from tests.models import DOCUMENT, QUERY, SHAPES, save_model

WITH_PROMPTS = {"prompts", "prompt not pooled", "static with prompts", "adapter"}
SIDES: tuple[Side, ...] = ("query", "document")
TEXTS = [
    "what is a hard negative?",
    "yes",
    "the cell membrane " * 9,
    "mitochondria and the energy of the cell, at length and cut somewhere " * 12,
    "Ünïcödé 細胞 and punctuation: (a) b; c!",
    "two words",
]


@pytest.fixture(scope="module")
def folders(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("shapes")
    return {shape: save_model(shape, minilm, place / shape.replace(" ", "-")) for shape in SHAPES}


def encoded(folder: Path, side: Side, **settings: Any) -> npt.NDArray[np.float32]:  # noqa: ANN401
    config = EncoderConfig(model=str(folder), dtype="float32", vector_dtype="float32", **settings)
    encode = Encode(config, side, load_model(config, "cpu"))
    keys = pa.array(range(len(TEXTS)), pa.int64())
    table = encode(pa.table({"key": keys, "text_key": keys, "text": TEXTS}))
    return np.asarray(matrix_of(table.column("vector")), dtype=np.float32)


def theirs(folder: Path) -> Any:  # noqa: ANN401 - the library is untyped here
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def cosines(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    a, b = (np.asarray(side, dtype=np.float64) for side in (left, right))
    return np.asarray((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


@pytest.mark.parametrize("shape", SHAPES)
def test_vectors_are_those_of_encode_query_and_encode_document(shape: str, folders: dict[str, Path]) -> None:
    model = theirs(folders[shape])
    expected = {"query": model.encode_query(TEXTS), "document": model.encode_document(TEXTS)}
    similarity = model.similarity_fn_name
    for side in SIDES:
        found = encoded(folders[shape], side)
        assert found.shape == expected[side].shape
        assert cosines(found, expected[side]).min() > 0.9999
        if similarity == "dot":
            assert np.allclose(found, expected[side], rtol=1e-4, atol=1e-5)
        else:
            assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    differ = shape.startswith("router") or shape in WITH_PROMPTS
    assert (cosines(expected["query"], expected["document"]).min() < 0.999) == differ


def test_a_prompt_of_the_configuration_wins_and_the_empty_one_is_none(folders: dict[str, Path]) -> None:
    model = theirs(folders["prompt not pooled"])
    for prompt in ("Another prompt: ", ""):
        found = encoded(folders["prompt not pooled"], "query", query_prompt=prompt)
        assert cosines(found, model.encode_query(TEXTS, prompt=prompt)).min() > 0.9999
    assert cosines(found, model.encode_query(TEXTS)).min() < 0.999


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_read_from_the_files_is_what_the_library_uses(shape: str, folders: dict[str, Path]) -> None:
    config = with_saved_settings(EncoderConfig(model="any"), folders[shape])
    model = theirs(folders[shape])
    assert config.similarity == model.similarity_fn_name
    assert config.query_prompt == model.prompts["query"]
    assert config.document_prompt == model.prompts["document"]


def test_a_trial_tells_what_was_used(folders: dict[str, Path]) -> None:
    config = EncoderConfig(model=str(folders["router, static queries"]), dtype="float32")
    config = with_saved_settings(config, folders["router, static queries"])
    used = try_model(config, SIDES, load_model(config, "cpu"))
    assert used["prompts"] == {"query": QUERY, "document": DOCUMENT}
    assert used["routes"] == {"query": "query", "document": "document"}
    assert (used["similarity"], used["dimension"], used["dtype"]) == ("dot", 48, "float32")


def save_settings(folder: Path, content: str) -> Path:
    folder.mkdir()
    (folder / "modules.json").write_text("[]", encoding="utf-8")
    (folder / "config_sentence_transformers.json").write_text(content, encoding="utf-8")
    return folder


def test_euclidean_is_taken_and_manhattan_refused_with_the_remedy_unless_the_configuration_has_another(
    tmp_path: Path,
) -> None:
    folders = {
        name: save_settings(tmp_path / name, f'{{"similarity_fn_name": "{name}"}}')
        for name in ("euclidean", "manhattan")
    }
    assert with_saved_settings(EncoderConfig(model="any"), folders["euclidean"]).similarity == "euclidean"
    with pytest.raises(InputError, match=r"manhattan distance.*encoder\.similarity"):
        with_saved_settings(EncoderConfig(model="any"), folders["manhattan"])
    for folder in folders.values():
        assert with_saved_settings(EncoderConfig(model="any", similarity="dot"), folder).similarity == "dot"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "a mapping is wanted"),
        ("[" * 100_000, "cannot be read"),
        ('{"prompts": ["a"]}', "no mapping"),
        ('{"prompts": {"query": 7}}', "encoder.query_prompt"),
        ('{"prompts": {"document": "\\ud800"}}', "encoder.document_prompt"),
    ],
)
def test_settings_that_are_damaged_are_refused_in_one_line(content: str, said: str, tmp_path: Path) -> None:
    folder = save_settings(tmp_path / "model", content)
    with pytest.raises(InputError, match="config_sentence_transformers") as refused:
        with_saved_settings(EncoderConfig(model="any"), folder)
    assert said in str(refused.value)


def test_settings_that_the_library_does_not_read_are_not_used(tmp_path: Path) -> None:
    saved = '{"prompts": {"query": "q: "}, "similarity_fn_name": "dot"'
    reranker = save_settings(tmp_path / "reranker", f'{saved}, "model_type": "CrossEncoder"}}')
    bare = save_settings(tmp_path / "bare", f"{saved}}}")
    (bare / "modules.json").unlink()
    for folder in (reranker, bare, None):
        config = with_saved_settings(EncoderConfig(model="any"), folder)
        assert (config.query_prompt, config.document_prompt, config.similarity) == ("", "", "cosine")
