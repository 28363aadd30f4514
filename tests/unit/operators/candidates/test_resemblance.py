"""Resemblance: the Jaccard similarity of sets of shingles, computed here from the sets themselves."""

import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.candidates.config import SelectConfig
from operators.candidates.resemblance import RESEMBLANCE, Resemblance
from operators.candidates.select import Select
from operators.signatures import VALUES, WIDTH
from tests.unit.operators import tables

Floats = npt.NDArray[np.float32]
WORDS = ("a", "of", "cell", "growth", "Ärzte", "κύτταρο", "клетка", "细胞", "が", "protein", "🙂")
TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


def pairs_table(pairs: Sequence[tuple[int, int]]) -> pa.Table:
    keys = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return pa.table({"query_key": keys[:, 0], "doc_key": keys[:, 1]})


def compared(
    texts: Sequence[str], candidates: Sequence[tuple[int, int]], positives: Sequence[tuple[int, int]]
) -> Floats:
    """The signal of candidates and positives given as (query, place in the texts)."""
    compare = Resemblance()
    features = compare.features(pa.table({"doc_key": np.arange(len(texts)), "text": pa.array(texts, pa.string())}))
    signals = compare(pairs_table(candidates), pairs_table(positives), features)
    assert signals.column_names == ["query_key", "doc_key", RESEMBLANCE]
    return np.asarray(signals.column(RESEMBLANCE).to_numpy())


def one_pair(first: str, second: str) -> float:
    return float(compared([first, second], [(0, 0)], [(0, 1)])[0])


def jaccard(first: str, second: str) -> float:
    """The definition, by sets."""
    sets = []
    for text in (first, second):
        data = " ".join(text.casefold().split()).encode()
        sets.append({data[at : at + WIDTH] for at in range(max(len(data) - WIDTH + 1, 1))} if data else set())
    return len(sets[0] & sets[1]) / max(len(sets[0] | sets[1]), 1)


@pytest.mark.parametrize(("length", "count"), [(3, 1_000), (30, 1_000), (300, 50)])
def test_estimates_are_those_of_the_sets_and_as_exact_as_said(length: int, count: int) -> None:
    """Without bias, and with at most the standard error of so many values, for texts of any length."""
    rng = np.random.default_rng(length)
    words = np.array([f"{number:x}word{number % 7}" for number in range(5_000)])
    firsts, seconds = [], []
    for share in np.repeat([0.0, 0.3, 0.4, 0.5, 1.0], count):
        text = rng.choice(words, length)
        changed = np.where(rng.random(length) < share, rng.choice(words, length), text)
        firsts.append(" ".join(text))
        seconds.append(" ".join(changed))
    places = [(number, number) for number in range(len(firsts))]
    found = compared([*firsts, *seconds], places, [(number, number + len(firsts)) for number, _ in places])
    exact = np.array([jaccard(*texts) for texts in zip(firsts, seconds, strict=True)])
    largest = 1 / (2 * np.sqrt(VALUES))
    assert (found[exact == 1] == 1).all()
    assert np.abs(found - exact).max() < 6 * largest
    error = (found - exact)[(exact > 0.1) & (exact < 1)]
    assert 0 < error.std() < largest
    assert abs(error.mean()) < 3 * error.std() / np.sqrt(len(error))


@settings(derandomize=True, deadline=None, max_examples=100)
@given(texts=st.lists(TEXTS, min_size=1, max_size=8), data=st.data())
def test_each_candidate_has_the_highest_of_its_query_whatever_the_batch(texts: list[str], data: st.DataObject) -> None:
    """The oracle compares one candidate with one positive at a time."""
    pair = st.tuples(st.integers(0, 3), st.integers(0, len(texts) - 1))
    candidates, positives = (sorted(data.draw(st.lists(pair, unique=True, max_size=12))) for _ in range(2))
    found = compared(texts, candidates, positives[::-1])
    expected = [
        max((one_pair(texts[document], texts[judged]) for other, judged in positives if other == query), default=0.0)
        for query, document in candidates
    ]
    assert found.tolist() == expected


def test_a_candidate_has_more_positives_than_are_compared_at_a_time() -> None:
    positives = [(0, 0)] * 40_000 + [(0, 1)] + [(0, 0)] * 40_000
    found = compared(["no such text", "the text of a copy"], [(0, 1), (0, 0)], [*positives, (1, 0)])
    assert found.tolist() == [1, 1]
    assert compared(["no such text", "the text of a copy"], [(0, 1)], [(0, 0)] * 40_000)[0] < 0.5


def test_signatures_do_not_depend_on_the_batch() -> None:
    """Also where a text alone is more than is hashed at a time."""
    texts = ["short", "", "x" * 3, "word " * 300_000, *(f"text number {number} " * 3_000 for number in range(60))]
    together = Resemblance().features(pa.table({"doc_key": np.arange(len(texts)), "text": texts}))
    for number in (0, 1, 2, 3, 40, 63):
        alone = Resemblance().features(pa.table({"doc_key": [number], "text": [texts[number]]}))
        assert together.slice(number, 1).equals(alone.cast(together.schema))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Cell growth in  vitro", "cell GROWTH\n in vitro "),
        ("Ärzte fördern Übung", unicodedata.normalize("NFD", "ärzte fördern übung")),
        ("STRASSE am See", "straße am see"),
        ("한국어 문장입니다", unicodedata.normalize("NFD", "한국어 문장입니다")),
        ("ok", "OK"),
    ],
)
def test_copies_may_differ_in_case_white_space_and_unicode_form(first: str, second: str) -> None:
    assert one_pair(first, second) == 1


def test_texts_without_blanks_are_compared() -> None:
    text = "今天天气很好、我们一起去公园散步、然后在湖边的小店里喝茶、晚上再回家看书。"
    assert one_pair(text, text.replace("散步", "跑步")) > 0.5
    assert one_pair(text, "这台机器每天处理大量数据、工程师需要定期检查日志并更新软件版本。") < 0.1
    thai = "วันนี้อากาศดีมากเราไปเดินเล่นที่สวนสาธารณะด้วยกัน"
    assert one_pair(thai, thai.replace("ดีมาก", "แย่มาก")) > 0.4


def test_a_text_with_nothing_in_it_resembles_none() -> None:
    assert compared(["", " \n", "text", ""], [(0, 0), (0, 1), (0, 2)], [(0, 3), (0, 1)]).tolist() == [0, 0, 0]
    compare = Resemblance()
    features = compare.features(pa.table({"doc_key": [1, 2, 3], "text": ["", "a", "\u2003"]}))
    assert compare.comparable(features) == {"text": 1}
    assert compare.comparable(features.slice(0, 0)) == {"text": 0}


def test_a_document_that_did_not_arrive_is_noticed() -> None:
    for candidates, positives in (([(0, 7)], [(0, 0)]), ([(0, 0)], [(0, 7)])):
        with pytest.raises(LookupError, match="did not arrive"):
            compared(["text"], candidates, positives)


def test_select_drops_what_is_above_the_limit_and_suspects_it() -> None:
    found = [0.0, 0.5, 0.51, 1.0]
    rows = [{"query_key": 1, "doc_key": key, "score": 0.9 - key / 10} for key in range(4)]
    candidates = tables.candidates(rows).append_column(RESEMBLANCE, pa.array(found, pa.float32()))
    positives = tables.positives([{"query_key": 1, "doc_key": 9, "score": 0.95}])
    selection = Select(SelectConfig(max_positive_resemblance=0.5, num_negatives=4))(candidates, positives)
    assert selection.negatives["doc_key"].to_pylist() == [0, 1]
    assert selection.suspected["doc_key"].to_pylist() == [2, 3]
    assert set(selection.suspected["reason"].to_pylist()) == {RESEMBLANCE}
