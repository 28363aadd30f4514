"""Clean: what is dropped, why, and what becomes of the rest."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.documents.clean import Clean, CleanConfig
from operators.keys import keys_of, text_keys_of
from operators.schemas import DOCUMENTS, DROPPED


def _batch(texts: list[str | None], titles: list[str | None] | None = None) -> pa.Table:
    columns = {
        "doc_id": pa.array([f"d{i}" for i in range(len(texts))], pa.string()),
        "text": pa.array(texts, pa.string()),
        "metadata": pa.nulls(len(texts), pa.string()),
    }
    return pa.table(columns if titles is None else {**columns, "title": pa.array(titles, pa.string())})


def _clean(batch: pa.Table, **config: Any) -> tuple[pa.Table, dict[str, str]]:  # noqa: ANN401 - keys of CleanConfig
    kept, dropped = Clean(CleanConfig(**config))(batch)
    assert kept.schema.names[: len(DOCUMENTS.names)] == DOCUMENTS.names
    assert dropped.schema == DROPPED
    assert dropped.column("key").to_pylist() == keys_of(dropped.column("id")).tolist()
    return kept, {row["id"]: row["reason"] for row in dropped.to_pylist()}


def test_texts_without_a_word_are_dropped_as_empty() -> None:
    spaces = " \t\n\N{NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}"
    kept, dropped = _clean(_batch(["one", "", None, spaces, "."]))
    assert kept.column("doc_id").to_pylist() == ["d0", "d4"]
    assert dropped == {"d1": "empty_text", "d2": "empty_text", "d3": "empty_text"}


def test_empty_texts_stay_where_that_is_wanted() -> None:
    kept, dropped = _clean(_batch(["one", "", None]), drop_empty=False)
    assert kept.column("text").to_pylist() == ["one", "", ""]
    assert dropped == {}


def test_short_documents_are_dropped_from_below_min_words() -> None:
    texts = ["one", "one two", "one two three", " one  two ", "one\N{NO-BREAK SPACE}two\N{IDEOGRAPHIC SPACE}three", ""]
    kept, dropped = _clean(_batch(list(texts)), min_words=3)
    assert kept.column("doc_id").to_pylist() == ["d2", "d4"]
    assert dropped == {"d0": "too_few_words", "d1": "too_few_words", "d3": "too_few_words", "d5": "empty_text"}


def test_no_words_are_too_few_where_empty_texts_are_not_dropped_as_such() -> None:
    _, dropped = _clean(_batch(["", "one"]), drop_empty=False, min_words=1)
    assert dropped == {"d0": "too_few_words"}


def test_the_title_counts_as_words_and_can_hold_the_marker() -> None:
    batch = _batch(["body", "body", None], ["a title", "[RETRACTED] a title", "only a title"])
    kept, dropped = _clean(batch, min_words=3, drop_containing=("[RETRACTED]",))
    assert kept.column("doc_id").to_pylist() == ["d0", "d2"]
    assert dropped == {"d1": "marker_word"}


def test_markers_are_plain_text_and_any_of_them_drops() -> None:
    texts = ["a [X] b", "a X b", "a.b", "axb", "a [x] b"]
    kept, dropped = _clean(_batch(list(texts)), drop_containing=("[X]", "a.b"))
    assert kept.column("doc_id").to_pylist() == ["d1", "d3", "d4"]
    assert set(dropped.values()) == {"marker_word"}


def test_title_and_text_are_joined_as_in_beir() -> None:
    titles = ["Title", "Title", "", None, " Title "]
    texts: list[str | None] = ["text", "", " text ", "text", "text"]
    kept, _ = _clean(_batch(texts, list(titles)))
    assert kept.column("text").to_pylist() == ["Title text", "Title", "text", "text", "Title  text"]


def test_a_batch_without_titles_gives_the_same_documents_as_one_with_empty_titles() -> None:
    texts: list[str | None] = ["  text ", "a\nb", ""]
    without, _ = _clean(_batch(texts))
    with_empty, _ = _clean(_batch(texts, [None, "", None]))
    assert without.equals(with_empty)


def test_keys_are_of_the_id_and_of_the_whole_text() -> None:
    kept, _ = _clean(_batch(["text", "title text"], ["title", None]))
    assert kept.column("doc_key").to_pylist() == keys_of(pa.array(["d0", "d1"])).tolist()
    assert kept.column("text_key").to_pylist() == text_keys_of(pa.array(["title text"] * 2)).tolist()


def test_vectors_stay_with_their_documents() -> None:
    vectors = pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32(), 2))
    kept, _ = _clean(_batch(["one", "", "three"]).append_column("vector", vectors))
    assert kept.column("vector").to_pylist() == [[1.0, 2.0], [5.0, 6.0]]
    assert kept.column("doc_id").to_pylist() == ["d0", "d2"]


def test_an_empty_batch_gives_empty_tables() -> None:
    kept, dropped = _clean(_batch([]), min_words=2, drop_containing=("x",))
    assert kept.num_rows == 0
    assert dropped == {}


@given(
    st.lists(st.none() | st.text(st.sampled_from("ab .\t\N{NO-BREAK SPACE}"), max_size=8), max_size=12),
    st.integers(0, 4),
    st.booleans(),
)
def test_every_document_is_kept_or_dropped_for_the_first_reason_that_holds(
    texts: list[str | None], min_words: int, drop_empty: bool
) -> None:
    def reason(text: str) -> str | None:
        words = text.split()
        if drop_empty and not words:
            return "empty_text"
        if len(words) < min_words:
            return "too_few_words"
        return "marker_word" if "bb" in text else None

    expected = {f"d{i}": reason(text or "") for i, text in enumerate(texts)}
    kept, dropped = _clean(_batch(texts), min_words=min_words, drop_empty=drop_empty, drop_containing=("bb",))
    assert dropped == {name: why for name, why in expected.items() if why}
    assert kept.column("doc_id").to_pylist() == [name for name, why in expected.items() if not why]


def test_cleaning_batch_by_batch_is_cleaning_the_whole() -> None:
    whole = _batch(["one two", "", "x", None, "three four five", "[X] six"])
    clean = Clean(CleanConfig(min_words=2, drop_containing=("[X]",)))
    pieces = [clean(whole.slice(start, 2)) for start in range(0, whole.num_rows, 2)]
    for piece, at_once in zip(zip(*pieces, strict=True), clean(whole), strict=True):
        assert pa.concat_tables(piece).equals(at_once)


@pytest.mark.parametrize("wrong", [{"min_words": -1}, {"exact_duplicates": "maybe"}, {"min_word": 1}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        CleanConfig(**wrong)
