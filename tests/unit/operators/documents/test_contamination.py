"""Texts in evaluation sets, or near one: the oracle compares every text with every text of every set."""

import tracemalloc
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.documents.contamination import (
    BANDS,
    CONTAMINATED,
    IN_SET,
    NEAR_SET,
    TEXTS,
    EvaluationTexts,
    bands_of,
    counts_by_set,
    width_of,
)
from operators.keys import keys_of, text_keys_of
from operators.schemas import QUERIES
from operators.signatures import as_column, estimates, signatures_in, signatures_of

LIMITS = (0.3, 0.35, 0.5, 0.7, 0.9)
VOCABULARY = np.array([f"{number:x}word{number % 7}" for number in range(3_000)], dtype=object)
Texts = Sequence[str]


def column(texts: Texts) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(list(texts), pa.string())])


def evaluation(sets: Mapping[str, Texts], limit: float) -> EvaluationTexts:
    """What is found of sets; the id of a text is its place in its set."""
    rows = [(name, str(at), text) for name, texts in sets.items() for at, text in enumerate(texts)]
    names, ids, texts = (list(one) for one in zip(*rows, strict=True)) if rows else ([], [], [])
    signatures = signatures_of(column(texts))
    table = pa.table([names, ids, texts, text_keys_of(column(texts)), as_column(signatures)], schema=TEXTS)
    return EvaluationTexts(table, list(bands_of(signatures, limit)), limit)


def queries(texts: Texts) -> pa.Table:
    ids = pa.array([f"q{at}" for at in range(len(texts))], pa.string())
    nothing = pa.nulls(len(texts), pa.string())
    return pa.table([ids, column(texts), nothing, keys_of(ids), text_keys_of(column(texts))], schema=QUERIES)


def every_pair(asked: Texts, held_out: Texts) -> npt.NDArray[np.float32]:
    """The estimate of every pair: float32 of shape (asked, held_out)."""
    ours, theirs = (signatures_of(column(texts)) for texts in (asked, held_out))
    return np.array([estimates(np.broadcast_to(one, theirs.shape), theirs) for one in ours])


def with_other_words(text: str, share: float, rng: np.random.Generator) -> str:
    words = np.array(text.split(" "), dtype=object)
    count = max(round(share * len(words)), 1)
    words[rng.choice(len(words), count, replace=False)] = rng.choice(VOCABULARY, count)
    return " ".join(words)


def written(count: int, words: int, rng: np.random.Generator) -> list[str]:
    return [" ".join(rng.choice(VOCABULARY, words)) for _ in range(count)]


@pytest.mark.parametrize("limit", LIMITS)
def test_bands_find_what_comparing_every_pair_finds(limit: float) -> None:
    """Nothing else, and of what is above the limit at most as little is missed as is said."""
    rng = np.random.default_rng(int(limit * 100))
    held_out = written(300, 12 if limit < 0.8 else 100, rng)
    asked = [with_other_words(held_out[at % 300], share, rng) for share in (0.01, 0.2, 0.4) for at in range(600)]
    kept, dropped, contaminated = evaluation({"test": held_out}, limit)(queries(asked), "query")
    resemblance = every_pair(asked, held_out).max(axis=1)
    near = resemblance > limit
    assert not (~kept & ~near).any()
    assert (kept & near).sum() <= 0.005 * near.sum() + 1
    assert near.sum() > 20, "some are above the limit"
    assert dropped.num_rows == contaminated.num_rows == (~kept).sum()
    np.testing.assert_allclose(contaminated.column("resemblance").to_numpy(), resemblance[~kept])
    assert NEAR_SET in dropped.column("reason").to_pylist()


@pytest.mark.parametrize("limit", LIMITS)
def test_a_band_is_as_wide_as_the_share_that_is_missed_allows(limit: float) -> None:
    """Two signatures agree in a place with the probability of their resemblance."""
    width = width_of(limit)
    assert (1 - limit**width) ** BANDS <= 0.005
    assert width == 8 or (1 - limit ** (width + 1)) ** BANDS > 0.005


@pytest.mark.parametrize(("words", "limit", "least"), [(12, 0.7, (0.5, 0.0, 0.0)), (150, 0.35, (1.0, 1.0, 0.98))])
def test_copies_are_caught_and_others_are_let_through(words: int, limit: float, least: tuple[float, ...]) -> None:
    """Copies with 5, 10 and 20 % of the words changed (at least one); no exact copy passes."""
    rng = np.random.default_rng(words)
    held_out = written(400, words, rng)
    found = evaluation({"test": held_out}, limit)
    upper = [f"  {text.upper()} " for text in held_out]
    assert not found(queries(held_out), "query")[0].any()
    assert not found(queries(upper), "query")[0].any()
    for share, wanted in zip((0.05, 0.1, 0.2), least, strict=True):
        kept, _, _ = found(queries([with_other_words(text, share, rng) for text in held_out]), "query")
        assert 1 - kept.mean() >= wanted
    assert found(queries(written(2_000, words, rng)), "query")[0].all()


TEXT = st.lists(st.sampled_from(["a", "cell", "growth of", "Ärzte", "клетка", "细胞", "not", ""]), max_size=6).map(
    " ".join
)


@settings(deadline=None, max_examples=60)
@given(
    asked=st.lists(TEXT, max_size=12),
    sets=st.dictionaries(st.sampled_from(["one", "two", "three"]), st.lists(TEXT.filter(str.strip), max_size=5)),
    cuts=st.lists(st.integers(0, 12), max_size=3),
    limit=st.sampled_from([0.3, 0.7, 1.0]),
)
def test_each_text_is_judged_by_itself_and_names_its_nearest_of_each_set(
    asked: list[str], sets: dict[str, list[str]], cuts: list[int], limit: float
) -> None:
    sets = {
        name: list({int(text_keys_of(column([one]))[0]): one for one in texts}.values()) for name, texts in sets.items()
    }
    found = evaluation(sets, limit)
    kept, dropped, contaminated = found(queries(asked), "query")
    edges = sorted({0, len(asked), *(min(cut, len(asked)) for cut in cuts)})
    pieces = [found(queries(asked).slice(a, b - a), "query") for a, b in pairwise(edges)]
    assert np.array_equal(np.concatenate([[], *(one[0] for one in pieces)]), kept)
    assert pa.concat_tables([CONTAMINATED.empty_table(), *(one[2] for one in pieces)]).equals(contaminated)

    rows = contaminated.to_pylist()
    assert len({(row["key"], row["evaluation_set"]) for row in rows}) == len(
        {row["id"] + row["evaluation_set"] for row in rows}
    )
    for at, text in enumerate(asked):
        mine = {row["evaluation_set"]: row for row in rows if row["id"] == f"q{at}"}
        assert bool(mine) != kept[at]
        for name, texts in sets.items():
            same = [one for one in texts if text_keys_of(column([one]))[0] == text_keys_of(column([text]))[0]]
            if same:
                assert (mine[name]["reason"], mine[name]["evaluation_text"]) == (IN_SET, same[0])
            elif name in mine:
                assert mine[name]["reason"] == NEAR_SET
                assert mine[name]["resemblance"] == every_pair([text], texts).max() > limit
    reasons = {row["id"]: row["reason"] for row in dropped.to_pylist()}
    assert reasons == {
        one: IN_SET if any(row["reason"] == IN_SET for row in rows if row["id"] == one) else NEAR_SET for one in reasons
    }
    assert sum(sum(counts.values()) for counts in counts_by_set(contaminated).values()) == len(rows)


def test_a_limit_of_one_drops_equal_texts_alone() -> None:
    asked = ["A question of cells", "a question of cells", "  A question\tof cells"]
    kept, _, contaminated = evaluation({"test": asked[:1]}, 1.0)(queries(asked), "query")
    assert kept.tolist() == [False, True, False]
    assert signatures_in(evaluation({}, 1.0).texts.column("signature")).shape == (0, 128)
    assert contaminated.column("resemblance").to_pylist() == [1, 1]


def test_memory_does_not_grow_with_the_pairs_of_alike_texts() -> None:
    """All texts are of one template, so each is near all others, in most bands."""
    template = "How long does it take to walk from the central station of the town to number {} of the old high street?"
    texts, asked = ([template.format(number) for number in some] for some in (range(400), range(400, 500)))
    found = evaluation({"one": texts, "other": texts}, 0.6)
    tracemalloc.start()
    near, _, estimate = found._near(column(asked))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(near) == 2 * len(asked)  # of each set the nearest
    assert (estimate > 0.6).all()
    assert peak < 40e6
