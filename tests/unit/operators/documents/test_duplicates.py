"""Identify: what repeats, and what contradicts itself."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.documents.duplicates import IDENTITIES, DuplicateFinder, identities_of, places_of
from operators.errors import InputError
from operators.keys import keys_of, text_keys_of
from operators.schemas import DUPLICATES

Rows = list[tuple[str, str]]
Mode = Literal["keep_first", "keep"]


def _part(rows: Rows) -> pa.Table:
    ids = pa.array([name for name, _ in rows], pa.string())
    texts = pa.array([text for _, text in rows], pa.string())
    return pa.table({"doc_id": ids, "doc_key": keys_of(ids), "text_key": text_keys_of(texts)})


def _identities(parts: list[Rows]) -> pa.Table:
    return pa.concat_tables([identities_of(places_of(_part(rows), 0), part) for part, rows in enumerate(parts)])


def _shuffled(table: pa.Table, seed: int) -> pa.Table:
    return table.take(pa.array(np.random.default_rng(seed).permutation(table.num_rows)))


def _found(parts: list[Rows], mode: Mode = "keep_first", seed: int = 0) -> dict[tuple[int, int], str]:
    """Return (part, row) of each repetition -> the id of the document that is kept for it."""
    names = {int(key): name for rows in parts for name, key in zip((r[0] for r in rows), _keys(rows), strict=True)}
    duplicates = DuplicateFinder(mode)(_shuffled(_identities(parts), seed))
    assert duplicates.schema == DUPLICATES
    places = [(row["part"], row["row"]) for row in duplicates.to_pylist()]
    assert len(set(places)) == len(places)
    for row in duplicates.to_pylist():
        assert names[row["doc_key"]] == parts[row["part"]][row["row"]][0]
    kept = duplicates.column("kept_key").to_pylist()
    return {place: names[key] for place, key in zip(places, kept, strict=True)}


def _keys(rows: Rows) -> list[int]:
    return [int(key) for key in keys_of(pa.array([name for name, _ in rows], pa.string()))]


def test_the_first_by_part_and_row_is_kept_whatever_the_order_of_the_input() -> None:
    parts = [[("z", "other"), ("m", "same")], [("a", "same"), ("b", " same ")], [("z", "other")]]
    for seed in range(20):
        assert _found(parts, seed=seed) == {(1, 0): "m", (1, 1): "m", (2, 0): "z"}


def test_keep_leaves_equal_texts_alone_but_not_equal_ids() -> None:
    parts = [[("a", "same"), ("b", "same")], [("a", "same")]]
    assert _found(parts, "keep") == {(1, 0): "a"}
    duplicates = DuplicateFinder("keep")(_identities(parts))
    assert duplicates.column("reason").to_pylist() == ["repeated_id"]
    assert set(DuplicateFinder("keep_first")(_identities(parts)).column("reason").to_pylist()) == {"exact_duplicate"}


@pytest.mark.parametrize("mode", ["keep_first", "keep"])
def test_one_id_with_two_texts_is_refused_by_name(mode: Mode) -> None:
    parts = [[("fine", "x"), ("twice", "one text")], [("twice", "another text")]]
    for seed in range(5):
        with pytest.raises(InputError, match=r"1 doc_id .*'twice'") as caught:
            DuplicateFinder(mode)(_shuffled(_identities(parts), seed))
        assert "fine" not in str(caught.value)


def test_many_conflicting_ids_are_counted_and_a_few_named() -> None:
    rows = [(f"d{i}", text) for i in range(100) for text in ("one", "two", "three")]
    with pytest.raises(InputError, match=r"^100 doc_id .*, \.\.\.\. ") as caught:
        DuplicateFinder("keep_first")(_identities([rows]))
    assert 1 <= str(caught.value).count("'d") <= 10


def test_two_ids_with_one_key_are_refused_by_both_names() -> None:
    documents = pa.table(
        {"doc_id": ["first", "second"], "doc_key": pa.array([7, 7]), "text_key": pa.array([1, 2])},
    )
    with pytest.raises(InputError, match="'first' and 'second' have the same 63-bit key"):
        DuplicateFinder("keep")(identities_of(places_of(documents, 0), 0))


@pytest.mark.parametrize("mode", ["keep_first", "keep"])
def test_nothing_repeats_in_nothing_and_in_distinct_documents(mode: Mode) -> None:
    assert DuplicateFinder(mode)(IDENTITIES.empty_table()).equals(DUPLICATES.empty_table())
    assert _found([[("a", "1"), ("b", "2")], [("c", "3")]], mode) == {}


PARTS = st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=6), min_size=1, max_size=3)


@given(PARTS, st.integers(0, 100), st.integers(1, 4), st.sampled_from(["keep_first", "keep"]))
def test_buckets_of_keys_find_what_a_loop_over_the_whole_corpus_finds(
    rows_of_parts: list[list[tuple[int, int]]], seed: int, buckets: int, mode: Mode
) -> None:
    # The id holds the number of its text, so that no id has two texts.
    parts = [[(f"{name}-{text}", f"text {text}") for name, text in rows] for rows in rows_of_parts]
    expected, first = {}, dict[str, str]()
    for part, rows in enumerate(parts):
        for row, (name, text) in enumerate(rows):
            seen = text if mode == "keep_first" else name
            if seen in first:
                expected[part, row] = first[seen]
            first.setdefault(seen, name)

    identities = _shuffled(_identities(parts), seed)
    bucket = identities.column("key").to_numpy() % buckets
    identify = DuplicateFinder(mode)
    found = pa.concat_tables([identify(identities.filter(pa.array(bucket == one))) for one in range(buckets)])
    names = {int(keys_of(pa.array([name]))[0]): name for rows in parts for name, _ in rows}
    assert {(row["part"], row["row"]): names[row["kept_key"]] for row in found.to_pylist()} == expected
    assert found.num_rows == len(expected)
