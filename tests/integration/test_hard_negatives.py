"""`mine_hard_negatives` beside the function of that name in sentence-transformers: the same rows, columns and order."""

import contextlib
import io
import itertools
import logging
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives as peer_function

import hardneg
from operators.errors import InputError

FORMATS = ["triplet", "n-tuple", "labeled-pair", "labeled-list"]
TOPICS = """
    cell membrane protein receptor signal kinase pathway tumor river flood rain storm coast wind wave harbor market
    price trade bank loan interest credit tax violin opera singer melody rhythm drum concert stage
"""
WORDS = TOPICS.split()
# Of each filter, of the window and of all together; scores of the static model lie between 0 and 1.
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "window": {"range_min": 3, "range_max": 20, "num_negatives": 4},
    "relative margin": {"relative_margin": 0.1, "num_negatives": 2},
    "absolute margin": {"absolute_margin": 0.15},
    "limits": {"max_score": 0.7, "min_score": 0.3, "num_negatives": 5},
    "all": {"range_min": 1, "range_max": 12, "relative_margin": 0.05, "max_score": 0.8, "min_score": 0.1},
    "more than there are": {"num_negatives": 40, "range_max": 60},
}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """No two texts have the same words: a static model would give them the same vector."""
    rng = np.random.default_rng(0)
    made: dict[frozenset[str], str] = {}
    while len(made) < 160:
        words = rng.choice(WORDS, rng.integers(3, 7), replace=False)
        made[frozenset(words)] = " ".join(words)
    return list(made.values())


@pytest.fixture(scope="module")
def pairs(texts: list[str]) -> Dataset:
    """Forty anchors with one to four positives, not side by side, some pairs twice, and a column that is left alone."""
    rng = np.random.default_rng(1)
    rows = [
        {"question": anchor, "answer": texts[40 + int(at)], "source": "a"}
        for number, anchor in enumerate(texts[:40])
        for at in rng.choice(80, 1 + number % 4, replace=False)
    ]
    rng.shuffle(rows)
    return Dataset.from_list([*rows, *rows[:3]])


@pytest.fixture(scope="module")
def model(static_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(static_model), device="cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One run for all: only what an argument changes is done again."""
    return str(tmp_path_factory.mktemp("home") / "run")


def same(here: Dataset, there: Dataset) -> None:
    assert here.column_names == there.column_names
    assert here.features == there.features
    assert len(here) == len(there)
    for ours, theirs in zip(here.to_list(), there.to_list(), strict=True):
        for name, value in ours.items():
            if name in {"score", "scores"}:
                assert value == pytest.approx(theirs[name], abs=2e-6)
            else:
                assert value == theirs[name]


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("layout", FORMATS)
def test_top_gives_the_same_rows(
    layout: str, name: str, pairs: Dataset, texts: list[str], model: SentenceTransformer, home: str
) -> None:
    for scores, corpus in itertools.product((False, True), (None, texts[80:])):
        given: dict[str, Any] = {"corpus": corpus, "output_format": layout, "output_scores": scores, "verbose": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            there = peer_function(pairs, model, **SETTINGS[name], **given)
        same(hardneg.mine_hard_negatives(pairs, model, **SETTINGS[name], **given, run=home), there)


@pytest.mark.parametrize("name", ["default", "window", "all"])
def test_random_draws_from_the_same_candidates(
    name: str, pairs: Dataset, model: SentenceTransformer, home: str
) -> None:
    """As many for each anchor, and only what the window of `top` holds."""
    settings = SETTINGS[name]
    drawn = hardneg.mine_hard_negatives(
        pairs, model, **settings, sampling_strategy="random", output_format="labeled-pair", run=home, verbose=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = peer_function(
            pairs, model, **settings, sampling_strategy="random", output_format="labeled-pair", verbose=False
        )
    assert drawn.column_names == there.column_names
    assert [row for row in drawn.to_list() if row["label"]] == [row for row in there.to_list() if row["label"]]
    count, most = settings.get("num_negatives", 3), 4 + 1
    range_max = settings.get("range_max") or count + most
    window = settings | {"range_max": range_max, "num_negatives": range_max - settings.get("range_min", 0)}
    eligible = hardneg.mine_hard_negatives(
        pairs, model, **window, output_format="labeled-pair", run=home, verbose=False
    )
    allowed: dict[str, set[str]] = {}
    for row in eligible.filter(lambda row: row["label"] == 0).to_list():
        allowed.setdefault(row["question"], set()).add(row["answer"])
    chosen: dict[str, list[str]] = {}
    for row in drawn.to_list():
        if not row["label"]:
            chosen.setdefault(row["question"], []).append(row["answer"])
    assert set(chosen) == set(allowed)
    for anchor, negatives in chosen.items():
        assert len(set(negatives)) == len(negatives) == min(count, len(allowed[anchor]))
        assert set(negatives) <= allowed[anchor]


def test_prompts_reach_the_model(pairs: Dataset, static_model: Path, home: str) -> None:
    prompted = SentenceTransformer(
        str(static_model), device="cpu", prompts={"query": "wind wave ", "passage": "bank loan ", "other": "opera "}
    )
    choices: list[dict[str, Any]] = [
        {},
        {"query_prompt": "violin "},
        {"query_prompt_name": "other", "corpus_prompt_name": "passage"},
        {"query_prompt_name": "other", "corpus_prompt": ""},
    ]
    for given in choices:
        there = peer_function(pairs, prompted, **given, output_scores=True, verbose=False)
        same(hardneg.mine_hard_negatives(pairs, prompted, **given, output_scores=True, verbose=False, run=home), there)
    with pytest.raises(InputError, match="no prompt 'none'"):
        hardneg.mine_hard_negatives(pairs, prompted, query_prompt_name="none", run=home)


def test_weights_are_those_in_memory(pairs: Dataset, static_model: Path, home: str) -> None:
    changed = SentenceTransformer(str(static_model), device="cpu")
    before = hardneg.mine_hard_negatives(pairs, changed, verbose=False, run=home)
    embedding = next(changed.parameters())
    embedding.data[:, : embedding.shape[1] // 2] *= -1
    embedding.data[:, 0] += 1
    there = peer_function(pairs, changed, verbose=False)
    after = hardneg.mine_hard_negatives(pairs, changed, verbose=False, run=home)
    same(after, there)
    assert after.to_list() != before.to_list()


def test_a_second_call_reuses_the_vectors(
    pairs: Dataset, model: SentenceTransformer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hardneg.mine_hard_negatives(pairs, model, cache_folder=str(tmp_path))
    assert "encode: starting" in capfd.readouterr().err
    hardneg.mine_hard_negatives(pairs, model, relative_margin=0.1, cache_folder=str(tmp_path))
    printed = capfd.readouterr()
    assert "encode: starting" not in printed.err
    (kept,) = tmp_path.iterdir()
    assert hardneg.verify(str(kept))["state"] == "incomplete", "the dataset is in memory alone"


def test_deeper_search_finds_what_a_margin_leaves_out(pairs: Dataset, model: SentenceTransformer, home: str) -> None:
    strict: dict[str, Any] = {"max_score": 0.3, "output_format": "n-tuple", "verbose": False, "run": home}
    few = hardneg.mine_hard_negatives(pairs, model, range_max=5, **strict)
    more = hardneg.mine_hard_negatives(pairs, model, range_max=5, search_deeper=True, **strict)
    assert len(few) < len(more)


def surroundings() -> tuple[Any, ...]:
    log = logging.getLogger()
    return dict(os.environ), log.manager.disable, log.level, list(log.handlers), threading.active_count()


def test_silence_is_complete_and_nothing_global_changes(
    pairs: Dataset, model: SentenceTransformer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = surroundings()
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        hardneg.mine_hard_negatives(pairs, model, verbose=False, run=str(tmp_path / "run"))
    assert surroundings() == before
    assert not output.getvalue()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cross_encoder": object()}, "cross_encoder"),
        ({"include_positives": True}, "include_positives"),
        ({"output_format": "pairs"}, "output_format"),
        ({"num_negatives": 0}, "num_negatives"),
        ({"range_min": -1}, "range_min"),
        ({"range_min": 5, "range_max": 6, "num_negatives": 2}, "range_max"),
        ({"faiss_batch_size": 0}, "faiss_batch_size"),
        ({"sampling_strategy": "tpo"}, "Did you mean 'top'"),
        ({"engine": "spark"}, "engine"),
        ({"relative_margin": -0.1}, "select.relative_margin: a number of at least 0 is wanted"),
        ({"max_score": float("nan")}, "select.max_score"),
    ],
)
def test_wrong_arguments_are_value_errors(
    given: dict[str, Any], said: str, pairs: Dataset, model: SentenceTransformer, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        hardneg.mine_hard_negatives(pairs, model, **given, run=str(tmp_path), verbose=False)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir()), "nothing was written"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "empty"),
        ([{"a": "x"}], "two columns"),
        ([{"a": "x", "b": 3}], "texts are wanted"),
        ([{"a": "x", "b": "y"}, {"a": None, "b": "z"}], "row 1 holds no text"),
    ],
)
def test_wrong_datasets_are_value_errors(
    rows: list[dict[str, Any]], said: str, model: SentenceTransformer, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        hardneg.mine_hard_negatives(Dataset.from_list(rows), model, run=str(tmp_path))


@pytest.mark.parametrize(
    ("columns", "given"),
    [
        (("negative", "answer"), {}),
        (("question", "negative"), {}),
        (("scores", "answer"), {"output_scores": True}),
        (("negative_2", "answer"), {"output_format": "n-tuple"}),
        (("label", "answer"), {"output_format": "labeled-pair"}),
        (("question", "score"), {"output_format": "labeled-pair", "output_scores": True}),
        (("question", "labels"), {"output_format": "labeled-list"}),
    ],
)
def test_columns_that_the_result_has_are_refused(
    columns: tuple[str, str], given: dict[str, Any], pairs: Dataset, model: SentenceTransformer, tmp_path: Path
) -> None:
    named = pairs.rename_columns(dict(zip(("question", "answer"), columns, strict=True)))
    with pytest.raises(InputError, match=r"has a column .* of its own"):
        hardneg.mine_hard_negatives(named, model, **given, run=str(tmp_path), verbose=False)
    assert not list(tmp_path.iterdir())


def test_a_dataset_of_another_kind_is_refused(pairs: Dataset, model: SentenceTransformer, tmp_path: Path) -> None:
    for other in (pairs.to_iterable_dataset(), DatasetDict({"train": pairs})):
        with pytest.raises(InputError, match=r"a datasets\.Dataset is wanted"):
            hardneg.mine_hard_negatives(other, model, run=str(tmp_path))
    with pytest.raises(InputError, match="is anchor and positive"):
        hardneg.mine_hard_negatives(pairs, model, anchor_column_name="answer", run=str(tmp_path))


def test_no_corpus_is_an_empty_one_and_a_text_is_none(
    pairs: Dataset, model: SentenceTransformer, home: str, tmp_path: Path
) -> None:
    none: list[str] = []
    without = hardneg.mine_hard_negatives(pairs, model, run=home, verbose=False)
    empty = hardneg.mine_hard_negatives(pairs, model, corpus=none, run=home, verbose=False)
    assert without.to_list() == empty.to_list()
    with pytest.raises(InputError, match="a list of texts"):
        hardneg.mine_hard_negatives(pairs, model, corpus="wind and rain", run=tmp_path)


def test_a_run_is_a_folder_here(pairs: Dataset, model: SentenceTransformer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("s3://bucket/run", str(tmp_path / "file"), ""):
        with pytest.raises(InputError, match="a folder on this machine"):
            hardneg.mine_hard_negatives(pairs, model, run=place)


def test_a_saved_model_that_compares_by_distance_is_refused(pairs: Dataset, static_model: Path, tmp_path: Path) -> None:
    distance = SentenceTransformer(str(static_model), device="cpu", similarity_fn_name="euclidean")
    distance.save(str(tmp_path / "model"))
    for model in (distance, str(tmp_path / "model")):
        with pytest.raises(InputError, match="euclidean"):
            hardneg.mine_hard_negatives(pairs, model, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_arguments_of_the_past_keep_their_meaning(pairs: Dataset, model: SentenceTransformer, home: str) -> None:
    given: dict[str, Any] = {"verbose": False}
    with pytest.warns(DeprecationWarning, match="is deprecated; use") as said:
        here = hardneg.mine_hard_negatives(pairs, model, as_triplets=False, margin=0.1, run=home, **given)
    assert [str(one.message).partition(" ")[0] for one in said] == ["as_triplets", "margin"]
    same(here, peer_function(pairs, model, output_format="n-tuple", absolute_margin=0.1, **given))
