"""Vectors equal those of sentence-transformers' own encode, whatever the batches."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from operators.errors import InputError
from operators.schemas import matrix_of
from operators.vectors.encode import Encode, normalise
from operators.vectors.encoder import EncoderConfig, Side, resolve
from operators.vectors.model_load import load_model

# Of mixed length, the longest and the shortest in the middle.
TEXTS = [
    "hard negatives are hard to find",
    "the cell membrane " * 9,
    "yes",
    "a much longer text about mitochondria and the energy of the cell " * 5,
    "",
    "Ünïcödé 細胞 and punctuation: (a) b; c!",
    "what is a false negative?",
    "two words",
]


def load(folder: Path) -> Any:  # noqa: ANN401 - the library is untyped here
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


@pytest.fixture(scope="module")
def models(minilm: Path, static_model: Path) -> dict[str, Any]:
    return {"minilm": load(minilm), "static": load(static_model)}


@pytest.fixture(scope="module")
def folders(minilm: Path, static_model: Path) -> dict[str, Path]:
    return {"minilm": minilm, "static": static_model}


def encoded(folder: Path, texts: list[str], side: Side = "document", **settings: Any) -> npt.NDArray[np.float32]:  # noqa: ANN401
    whole: dict[str, Any] = {"dtype": "float32", "vector_dtype": "float32"}
    config = EncoderConfig(model=str(folder), **{**whole, **settings})
    encode = Encode(config, side, load_model(config, "cpu"))
    keys = pa.array(range(len(texts)), pa.int64())
    table = encode(pa.table({"key": keys, "text_key": keys, "text": pa.array(texts, pa.string())}))
    assert table.column("key").equals(pa.chunked_array([keys]))
    assert table.column("text_key").equals(pa.chunked_array([keys]))
    return np.asarray(matrix_of(table.column("vector")), dtype=np.float32)


@pytest.mark.parametrize("name", ["minilm", "static"])
def test_vectors_are_those_of_sentence_transformers_in_the_order_of_the_texts(
    name: str, models: dict[str, Any], folders: dict[str, Path]
) -> None:
    texts = [*TEXTS, "a text of more than the 256 tokens that the model reads, " * 20]
    expected = models[name].encode(texts, normalize_embeddings=True)
    assert np.abs(encoded(folders[name], texts) - expected).max() < 1e-5


@pytest.mark.parametrize("name", ["minilm", "static"])
@pytest.mark.parametrize("batch_tokens", [1, 64])
def test_the_size_of_a_batch_changes_no_vector(
    name: str, batch_tokens: int, models: dict[str, Any], folders: dict[str, Path]
) -> None:
    expected = models[name].encode(TEXTS, normalize_embeddings=True, batch_size=1)
    assert np.abs(encoded(folders[name], TEXTS, batch_tokens=batch_tokens) - expected).max() < 1e-5


@pytest.mark.parametrize("name", ["minilm", "static"])
def test_each_side_has_its_own_prompt(name: str, models: dict[str, Any], folders: dict[str, Path]) -> None:
    texts = [*TEXTS[:1], *TEXTS[5:]]
    prompts: dict[str, Any] = {"query_prompt": "query: ", "document_prompt": "passage: "}
    sides: list[tuple[Side, str]] = [("query", "query: "), ("document", "passage: ")]
    for side, prompt in sides:
        expected = models[name].encode([prompt + text for text in texts], normalize_embeddings=True)
        found = encoded(folders[name], texts, side, **prompts)
        assert np.abs(found - expected).max() < 1e-5
        assert np.abs(found - models[name].encode(texts, normalize_embeddings=True)).max() > 1e-3


def test_texts_are_cut_to_max_seq_length(minilm: Path) -> None:
    texts = ["one two three four five six", "one two three four", "one two three"]
    cut = encoded(minilm, texts, max_seq_length=6)  # four words between [CLS] and [SEP]
    whole = encoded(minilm, texts)
    assert np.allclose(cut[0], cut[1], atol=1e-6)
    assert np.allclose(cut[2], whole[2], atol=1e-6)
    assert np.abs(cut[0] - whole[0]).max() > 1e-3


def test_a_limit_that_the_model_cannot_keep_is_refused(static_model: Path, minilm: Path) -> None:
    with pytest.raises(InputError, match=r"encoder\.max_seq_length: .* any length"):
        load_model(EncoderConfig(model=str(static_model), max_seq_length=8), "cpu")
    with pytest.raises(InputError, match=r"encoder\.max_seq_length: 513 is more than the 512"):
        load_model(EncoderConfig(model=str(minilm), max_seq_length=513), "cpu")
    assert encoded(minilm, ["word " * 900], max_seq_length=512).shape == (1, 384)


def save_unnormalised(folder: Path, static_model: Path, weights: npt.NDArray[np.float32] | None = None) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = load(static_model).tokenizer
    weights = load(static_model)[0].embedding.weight.detach().numpy() if weights is None else weights
    embedding = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[embedding], device="cpu").save(str(folder))
    return folder


def test_cosine_normalises_and_dot_does_not(static_model: Path, tmp_path: Path) -> None:
    folder = save_unnormalised(tmp_path / "model", static_model)
    model = load(folder)
    dot, cosine = (encoded(folder, TEXTS, similarity=similarity) for similarity in ("dot", "cosine"))
    assert np.abs(dot - model.encode(TEXTS, normalize_embeddings=False)).max() < 1e-5
    assert np.abs(cosine - model.encode(TEXTS, normalize_embeddings=True)).max() < 1e-5
    lengths = np.linalg.norm(dot, axis=1)
    assert np.abs(lengths[lengths > 0] - 1).min() > 0.01


def test_bfloat16_products_and_float16_vectors_stay_within_the_stated_tolerance(
    models: dict[str, Any], minilm: Path
) -> None:
    texts = [text for text in TEXTS if text] * 3 + ["a text of more than 256 tokens, cut there, " * 40]
    expected = models["minilm"].encode(texts, normalize_embeddings=True)
    settings: list[tuple[dict[str, Any], float]] = [({"dtype": "bfloat16"}, 0.9999), ({"vector_dtype": "float16"}, 1)]
    for changed, cosine in settings:
        found = encoded(minilm, texts, **changed)
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        assert ((found * expected).sum(axis=1) / lengths).min() > cosine - 1e-6
        assert not np.array_equal(found, expected)


def test_auto_takes_bfloat16_where_the_hardware_multiplies_it() -> None:
    assert resolve(EncoderConfig(), "cuda").dtype == "bfloat16"
    flags = Path("/proc/cpuinfo")
    has_it = flags.exists() and "avx512_bf16" in flags.read_text(encoding="ascii").split()
    if has_it:
        assert resolve(EncoderConfig(), "cpu").dtype == "bfloat16"
    assert resolve(EncoderConfig(dtype="float32"), "cuda").dtype == "float32"


def test_a_text_that_is_repeated_goes_through_the_model_once(
    static_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EncoderConfig(model=str(static_model))
    encode = Encode(config, "document", load_model(config, "cpu"))
    seen: list[str] = []
    tokens = encode._tokens

    def watched(texts: list[str]) -> dict[str, Any]:
        seen.extend(texts)
        return tokens(texts)

    monkeypatch.setattr(encode, "_tokens", watched)
    keys = pa.array(range(6), pa.int64())
    matrix = matrix_of(
        encode(pa.table({"key": keys, "text_key": keys, "text": ["a", "b", "a", "c", "b", "a"]})).column("vector")
    )
    assert sorted(seen) == ["a", "b", "c"]
    assert np.array_equal(matrix[[0, 1, 0, 3, 1, 0]], matrix)


def test_a_vector_too_long_for_float16_is_refused(static_model: Path, tmp_path: Path) -> None:
    weights = np.full((load(static_model).tokenizer.get_vocab_size(), 4), 1e5, dtype=np.float32)
    folder = save_unnormalised(tmp_path / "model", static_model, weights)
    with pytest.raises(InputError, match=r"vector_dtype: float32"):
        encoded(folder, ["any text"], similarity="dot", vector_dtype="float16")
    assert encoded(folder, ["any text"], similarity="dot").max() == pytest.approx(1e5)


def test_a_batch_without_texts_gives_no_vectors_of_the_right_length(folders: dict[str, Path]) -> None:
    assert encoded(folders["minilm"], []).shape == (0, 384)
    assert encoded(folders["static"], []).shape == (0, 64)


def test_a_vector_that_is_not_finite_is_refused_with_its_text(static_model: Path, tmp_path: Path) -> None:
    tokenizer = load(static_model).tokenizer
    weights = np.ones((tokenizer.get_vocab_size(), 4), dtype=np.float32)
    weights[tokenizer.token_to_id("broken")] = np.nan
    folder = save_unnormalised(tmp_path / "model", static_model, weights)
    with pytest.raises(InputError, match=r"not finite for the text 'a broken text'.*float32"):
        encoded(folder, ["fine", "a broken text", "fine too"])


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(InputError, match=r"encoder\.model: .*cannot be loaded"):
        load_model(EncoderConfig(model=str(tmp_path)), "cpu")


def test_a_second_call_gives_the_same_bits(minilm: Path) -> None:
    config = EncoderConfig(model=str(minilm))
    encode = Encode(config, "document", load_model(config, "cpu"))
    keys = pa.array(range(3), pa.int64())
    batch = pa.table({"key": keys, "text_key": keys, "text": pa.array(TEXTS[:3])})
    assert encode(batch).equals(encode(batch))


@pytest.mark.parametrize("scale", [1e-45, 1e-42, 1e-38, 1e-23, 1e-10, 1.0, 1e10, 1e20, 3e37])
@pytest.mark.parametrize("dimension", [1, 3, 778])
def test_vectors_of_any_finite_length_are_normalised_as_in_float64(scale: float, dimension: int) -> None:
    matrix = (np.random.default_rng(dimension).uniform(-10, 10, (50, dimension)) * scale).astype(np.float32)
    matrix[7] = 0
    exact = matrix.astype(np.float64)
    lengths = np.sqrt((exact**2).sum(axis=1, keepdims=True))
    expected = exact / np.where(lengths > 0, lengths, 1)
    found = normalise(matrix)
    assert found.dtype == np.float32
    assert not found[7].any()
    np.testing.assert_allclose(found, expected, rtol=2e-7, atol=1e-45)
