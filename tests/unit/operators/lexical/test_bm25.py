"""BM25 gives the scores of bm25s, whatever the number of shards; terms are those that a plain reading finds."""

import gzip
import json
import math
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.errors import InputError
from operators.lexical.bm25 import TERMS, Asked, Corpus, ScoreShard, frequencies, merged, shard_of
from operators.lexical.tokenize import Terms, Tokenize, TokenizerConfig
from operators.schemas import concat, to_numpy

Floats = npt.NDArray[np.float64]
K1, B = 1.5, 0.75


def scores_of(
    documents: list[str],
    asked: list[str],
    shards: int,
    limit: int,
    config: TokenizerConfig | None = None,
    buckets: int = 2,
) -> Floats:
    """The scores of all pairs by shards; 0 where a document is not among the best, or shares no term."""
    tokenize = Tokenize(config or TokenizerConfig())
    keys = np.arange(len(documents)) + 1000
    made, total = [], 0
    for part in np.array_split(keys, shards):
        terms = tokenize(pa.array([documents[key - 1000] for key in part], pa.string()))
        total += len(terms.key)
        made.append(shard_of(part, terms))
    corpus = Corpus(len(documents), total)
    every = concat([terms for _, terms, _ in made], TERMS)
    bucket = to_numpy(every, "term") % buckets
    tables = [frequencies(every.filter(pa.array(bucket == number))) for number in range(buckets)]
    query_keys = np.arange(len(asked)) + 5000
    weighted = Asked.of(tokenize(pa.array(asked, pa.string())), corpus, tables)
    found = merged([ScoreShard(one, corpus, K1, B)(query_keys, weighted, limit) for one in made], query_keys, limit)
    matrix = np.zeros((len(asked), len(documents)))
    matrix[to_numpy(found, "query_key") - 5000, to_numpy(found, "doc_key") - 1000] = to_numpy(found, "score")
    per_query = Counter(to_numpy(found, "query_key").tolist())
    assert all(count <= limit for count in per_query.values())
    return matrix


def by_bm25s(documents: list[str], asked: list[str]) -> Floats:
    """The scores of the peer, which sees the same words as long as texts have no marks: its words end at them."""
    words = re.compile(r"(?u)\b\w\w+\b")
    tokens = [words.findall(text.lower()) for text in documents]
    retriever = bm25s.BM25(k1=K1, b=B, method="lucene", dtype="float64")
    retriever.index(tokens, show_progress=False)
    known = {word for text in tokens for word in text}
    scores = []
    for text in asked:
        query = [word for word in words.findall(text.lower()) if word in known]
        scores.append(retriever.get_scores(query) if query else np.zeros(len(documents)))
    return np.stack(scores)


WORDS = [
    "stone",
    "river",
    "green",
    "fast",
    "éclair",
    "straße",
    "naïve",
    "data_set",
    "x1",
    "cat",
    "dog",
    "2024",
    "the",
    "of",
]


@pytest.mark.parametrize("shards", [1, 3, 17])
def test_scores_are_those_of_bm25s_whatever_the_shards(shards: int) -> None:
    rng = np.random.default_rng(0)
    documents = [" ".join(rng.choice(WORDS, rng.integers(1, 30))) for _ in range(80)]
    asked = [" ".join(rng.choice([*WORDS, "unknown"], rng.integers(1, 8))) for _ in range(30)]
    ours = scores_of(documents, asked, shards, limit=80)
    assert ours == pytest.approx(by_bm25s(documents, asked), rel=1e-5, abs=1e-6)
    assert np.array_equal(ours, scores_of(documents, asked, 1, limit=80)), "to the last bit"


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    documents=st.lists(st.lists(st.sampled_from("abcdef"), max_size=6), min_size=1, max_size=12),
    asked=st.lists(st.lists(st.sampled_from("abcdefg"), max_size=4), min_size=1, max_size=4),
    shards=st.integers(1, 4),
    limit=st.integers(1, 5),
)
def test_the_best_are_those_of_the_formula(
    documents: list[list[str]], asked: list[list[str]], shards: int, limit: int
) -> None:
    texts, queries = ([" ".join(words) for words in some] for some in (documents, asked))
    config = TokenizerConfig(min_length=1)
    ours = scores_of(texts, queries, shards, limit, config)
    mean = sum(map(len, documents)) / len(documents)
    frequency = Counter(word for words in documents for word in set(words))
    for query, words in enumerate(asked):
        expected = []
        for number, document in enumerate(documents):
            score = 0.0
            for word in words:
                if word in document:
                    times = document.count(word)
                    rare = math.log(1 + (len(documents) - frequency[word] + 0.5) / (frequency[word] + 0.5))
                    score += rare * times / (times + K1 * (1 - B + B * len(document) / mean))
            if score:
                expected.append((-round(score, 9), number, score))
        best = {number: score for _, number, score in sorted(expected)[:limit]}
        found = {number: ours[query, number] for number in np.flatnonzero(ours[query]).tolist()}
        assert sorted(found.values()) == pytest.approx(sorted(best.values()))
        if len({round(score, 9) for score in best.values()}) == len(best):
            unclear = len(expected) > limit and round(sorted(expected)[limit][2], 9) in {
                round(s, 9) for s in best.values()
            }
            assert unclear or found.keys() == best.keys()


def terms_in(text: str, **config: Any) -> Terms:  # noqa: ANN401
    return Tokenize(TokenizerConfig.model_validate(config))(pa.array([text]))


def count(text: str, **config: Any) -> int:  # noqa: ANN401
    return len(terms_in(text, **config).key)


def shared(left: str, right: str, **config: Any) -> int:  # noqa: ANN401
    return len(set(terms_in(left, **config).key.tolist()) & set(terms_in(right, **config).key.tolist()))


def test_words_are_runs_of_letters_and_numbers_of_any_script() -> None:
    assert count("Hello, world_2! a I") == 2
    assert shared("Straße", "STRASSE straße") == 1
    assert shared("привет, мир", "ПРИВЕТ") == 1
    assert count("αβγ-δεζ") == 2
    assert count("") == count(" \n ,;") == 0
    assert shared("cats", "cat") == 0
    assert count("the cat of it", stopwords="english") == 1
    assert count("the cat of it", stopwords=["CAT"]) == 3


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("दिल्ली की सरकार", "दिल्ली"),  # vowel signs are marks
        ("চট্টগ্রাম বন্দর", "চট্টগ্রাম"),
        ("เรื่อง นี้", "เรื่อง"),
        ("مُحَمَّد هنا", "مُحَمَّد"),
        ("q̂uick x̄y", "x̄y"),  # no letter has these accents
    ],
)
def test_marks_are_of_the_word_that_they_stand_in(text: str, word: str) -> None:
    assert count(word) == 1
    assert count(text) == len(text.split())
    assert shared(text, word) == 1


def test_a_mark_that_follows_no_letter_is_of_no_word() -> None:
    assert shared("❤\ufe0flove", "love") == 1
    assert shared("葛\U000e0100abc", "abc") == 1
    assert count("❤\ufe0f \u0301") == 0


@pytest.mark.parametrize("text", ["café", "한국어 문서", "がぎぐ", "Ångström", "İSTANBUL", "J\u030cxyz ǰxyz"])
@pytest.mark.parametrize("config", [{}, {"segmenter": "tests.unit.operators.lexical.test_bm25:by_bars"}])
def test_composed_and_decomposed_texts_have_the_same_terms(text: str, config: dict[str, Any]) -> None:
    composed, decomposed = (terms_in(unicodedata.normalize(form, text), **config) for form in ("NFC", "NFD"))
    assert sorted(composed.key) == sorted(decomposed.key)
    assert count("café", stopwords=[unicodedata.normalize("NFD", "CAFÉ")]) == 0
    assert shared("J\u030cxyz", "ǰxyz") == 1


def test_a_stemmer_makes_one_term_of_the_forms_of_a_word() -> None:
    assert shared("running runs", "run", stemmer="english") == 1
    assert shared("Häuser", "Haus", stemmer="german") == 1
    assert shared("Häuser", "Haus", stemmer="english") == 0


def expected_terms(text: str) -> int:
    """By a plain reading: words of two letters and more, pairs of characters without blanks, and single ones alone."""
    runs = re.findall(r"[\u4e00-\u9fff\u3041-\u3096\uac00-\ud7a3]+", text)
    rest = re.sub(r"[\u4e00-\u9fff\u3041-\u3096\uac00-\ud7a3]", " ", text)
    return sum(max(len(run) - 1, 1) for run in runs) + len(re.findall(r"\w\w+", rest))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text(alphabet="中文检索模型かな한국ab c,。", max_size=20))
def test_without_a_segmenter_two_characters_are_a_term(text: str) -> None:
    assert count(text) == expected_terms(text)


def test_chinese_documents_are_ranked_as_the_formula_over_pairs_ranks_them() -> None:
    """A generated oracle: texts without blanks, ranked by bm25s over the same pairs, given to it as words."""
    rng = np.random.default_rng(2)
    characters = [chr(0x4E00 + number) for number in range(15)]
    documents = ["".join(rng.choice(characters, rng.integers(5, 40))) for _ in range(60)]
    asked = ["".join(rng.choice(characters, rng.integers(2, 8))) for _ in range(20)]

    def spelt(text: str) -> str:
        return " ".join(text[i : i + 2] for i in range(len(text) - 1))

    ours = scores_of(documents, asked, 3, limit=60)
    assert ours == pytest.approx(by_bm25s(list(map(spelt, documents)), list(map(spelt, asked))), rel=1e-5, abs=1e-6)
    assert (ours > 0).sum() > 100


def test_a_segmenter_finds_words() -> None:
    assert shared("我来到北京清华大学", "清华大学", segmenter="jieba") == 1
    own = "tests.unit.operators.lexical.test_bm25:by_bars"
    assert shared("北京|大学", "大学", segmenter=own) == 1
    assert count("北京|大学", segmenter=own) == 2


def test_every_letter_is_of_one_term_and_no_punctuation_is() -> None:
    """What is neither of a word nor written without blanks would be lost, and what is both counted twice."""
    assigned = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in {"Cn", "Cs", "Co"}]
    terms = Tokenize(TokenizerConfig(min_length=1))(pa.array(assigned))
    counts = np.bincount(terms.text, minlength=len(assigned))
    for character, found in zip(assigned, counts.tolist(), strict=True):
        category, name = unicodedata.category(character), unicodedata.name(character, "")
        if category in {"Lu", "Ll", "Lt", "Lo", "Nd"}:
            assert found == 1, name
        elif category[0] in "PZC" and character != "_":
            assert found == 0, name


def test_half_width_letters_are_terms_and_the_middle_dot_is_none() -> None:
    assert count("\uffa1\uffc2\uffa4") == 2
    assert shared("\uffa1\uffc2 x", "\uffa1\uffc2") == 1
    assert count("\uff71\uff8a\uff9f\uff70\uff84") == 4
    assert count("ニュー・ヨーク") == count("ニュー ヨーク") == 4
    assert shared("ニュー・ヨーク", "ニュー") == 2
    assert count("\u30a0ab\u30a0") == 1


def test_short_words_are_left_out_with_a_segmenter_too_but_for_those_without_blanks() -> None:
    own = "tests.unit.operators.lexical.test_bm25:by_bars"
    assert count("a|of|京|x京|word", segmenter=own) == 4
    assert count("a|of|京|x京|word", segmenter=own, min_length=4) == 3
    assert count("a|of|京|x京|word", segmenter=own, min_length=1) == 5


@pytest.mark.parametrize("name", ["nothing", "one_text", "numbers"])
def test_a_segmenter_that_gives_no_words_is_named(name: str) -> None:
    own = f"tests.unit.operators.lexical.test_bm25:{name}"
    with pytest.raises(
        InputError, match=rf"tokenizer\.segmenter: {own} gives .* for the text '北京'. Return its words"
    ):
        count("北京", segmenter=own)


def nothing(text: str) -> None:
    """A segmenter that forgets to return."""


def one_text(text: str) -> str:
    """A segmenter that returns a text."""
    return text


def numbers(text: str) -> list[int]:
    """A segmenter that returns something else than words."""
    return list(map(ord, text))


def by_bars(text: str) -> list[str]:
    """A segmenter of a user."""
    return text.split("|")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"segmenter": "jeiba"}, "no segmenter"),
        ({"segmenter": "no.such:thing"}, "cannot be imported"),
        ({"segmenter": "tests.unit.operators.lexical.test_bm25:K1"}, "cannot be called"),
        ({"stemmer": "englisch"}, "no stemmer"),
        ({"min_length": 0}, "greater than or equal"),
    ],
)
def test_wrong_tokenizers_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TokenizerConfig.model_validate(wrong)


def test_nothing_to_find_and_nothing_to_ask() -> None:
    assert not scores_of(["", "…"], ["stone"], 2, 3).any()
    assert not scores_of(["stone river"], ["", "unknown"], 1, 3).any()


DATA = Path(__file__).parents[4].parent / "shared/data/insuranceqa-en"


def rows_of(name: str) -> list[dict[str, str]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/insuranceqa-en")
def test_insurance_questions_are_answered_in_the_order_of_bm25s() -> None:
    documents = [f"{row.get('title') or ''} {row['text']}".strip() for row in rows_of("corpus")]
    asked = [row["text"] for row in rows_of("queries")][:200]
    whole = scores_of(documents, asked, 1, limit=100)
    peer = by_bm25s(documents, asked)
    for query in range(len(asked)):
        best = np.sort(peer[query])[::-1][:100]
        assert np.sort(whole[query])[::-1][:100] == pytest.approx(best, rel=1e-5)
    for shards in (3, 17):
        assert np.array_equal(scores_of(documents, asked, shards, limit=100), whole)
