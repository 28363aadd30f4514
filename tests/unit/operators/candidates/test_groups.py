"""Which candidates share a group with a positive of their query: what a look at each pair alone says."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.candidates.config import SelectConfig
from operators.candidates.groups import Groups, group_column
from operators.candidates.select import Select
from operators.errors import InputError
from tests.unit.operators import tables

Row = dict[str, Any]
FIELDS = {"url": "select.filters.0.field", "parent id": "select.filters.1.field"}
VALUES = st.sampled_from(["a", "b", 7, "7", 7.0, 7.5, None])
ROWS = st.fixed_dictionaries({}, optional={"url": VALUES, "parent id": VALUES, "other": st.just([1])})


def shared(documents: list[Row], candidates: list[tuple[int, int]], positives: list[tuple[int, int]]) -> pa.Table:
    """The signals of candidates and positives given as (query, place in the documents)."""
    metadata = pa.array([json.dumps(row) if row else None for row in documents], pa.string())
    table, half, compare = pa.table({"doc_key": np.arange(len(documents)), "metadata": metadata}), 2, Groups(FIELDS)
    arrived = pa.concat_tables([compare.features(table.slice(half)), compare.features(table.slice(0, half))])
    return compare(pairs_table(candidates), pairs_table(positives), arrived)


def pairs_table(pairs: list[tuple[int, int]]) -> pa.Table:
    keys = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return pa.table({"query_key": keys[:, 0], "doc_key": keys[:, 1]})


@settings(derandomize=True, deadline=None, max_examples=150)
@given(documents=st.lists(ROWS, min_size=1, max_size=8), data=st.data())
def test_a_candidate_shares_what_a_look_at_it_alone_says(documents: list[Row], data: st.DataObject) -> None:
    pair = st.tuples(st.integers(0, 3), st.integers(0, len(documents) - 1))
    candidates, positives = (data.draw(st.lists(pair, unique=True, max_size=12)) for _ in range(2))
    found = shared(documents, candidates, positives)
    names = {7.0: "7", 7.5: "7.5"}
    for field in FIELDS:
        values = [None if row.get(field) is None else names.get(row[field], row[field]) for row in documents]
        expected = [
            any(values[document] is not None and values[document] == values[at] for to, at in positives if to == query)
            for query, document in candidates
        ]
        assert found.column(group_column(field)).to_pylist() == expected
    assert found.select(["query_key", "doc_key"]).to_pylist() == [
        {"query_key": query, "doc_key": document} for query, document in candidates
    ]


def test_what_has_no_value_is_in_no_group_and_a_field_that_nothing_has_is_noticed() -> None:
    found = shared([{}, {"url": None}, {"url": "a"}, {"url": "a"}], [(0, 0), (0, 2)], [(0, 1), (0, 3)])
    assert found.column(group_column("url")).to_pylist() == [0, 1]
    compare = Groups(FIELDS)
    table = pa.table({"doc_key": [1, 2], "metadata": ['{"url": 1}', '{"url": null}']})
    assert compare.comparable(compare.features(table)) == {"url": 1, "parent id": 0}
    assert compare.warning("parent id") == "select.filters.1.field: no candidate has the metadata 'parent id'"


def test_lists_are_refused_with_the_key() -> None:
    with pytest.raises(InputError, match=r"^select\.filters\.0\.field: the metadata 'url' is .*Name a field"):
        shared([{"url": ["a"]}], [], [])


def test_select_drops_a_group_and_suspects_it() -> None:
    rows = [{"query_key": 1, "doc_key": key, "score": 0.9 - key / 10} for key in range(3)]
    candidates = tables.candidates(rows).append_column(group_column("url"), pa.array([0, 1, 0], pa.float32()))
    candidates = candidates.append_column(group_column("place"), pa.array([0, 1, 1], pa.float32()))
    positives = tables.positives([{"query_key": 1, "doc_key": 9, "score": 0.95}])
    filters = [{"filter": "same_group", "field": field} for field in ("url", "place", "url")]
    config = SelectConfig.model_validate({"filters": filters})
    assert config.groups == {"url": "select.filters.0.field", "place": "select.filters.1.field"}
    selection = Select(config)(candidates, positives)
    assert selection.negatives["doc_key"].to_pylist() == [0]
    assert selection.suspected["doc_key"].to_pylist() == [1, 2]
    assert selection.counts["same_group"] == 2


def first_letter(documents: pa.Table) -> list[str | None]:
    return [text[0] if text else None for text in documents["text"].to_pylist()]


def one_text_less(documents: pa.Table) -> list[str]:
    return [str(text) for text in documents["text"].to_pylist()][1:]


def no_texts(documents: pa.Table) -> list[int]:
    return [7] * documents.num_rows


def test_a_function_groups_documents() -> None:
    place = "select.filters.0.function"
    function = f"{__name__}:first_letter"
    config = SelectConfig.model_validate({"filters": [{"filter": "same_group", "function": function}]})
    assert config.groups == {function: place}
    assert config.group_functions == frozenset([function])
    compare = Groups(config.groups, config.group_functions)
    table = pa.table({"doc_key": range(4), "text": ["apple", "", "ant", "bee"], "metadata": [None] * 4})
    found = compare(pairs_table([(0, 1), (0, 2), (0, 3)]), pairs_table([(0, 0), (0, 1)]), compare.features(table))
    assert found.column(group_column(function)).to_pylist() == [0, 1, 0]
    assert compare.settings()["code"][function]
    for name, said in {
        "one_text_less": "returned 3 texts for 4 documents",
        "no_texts": "Correct this function",
    }.items():
        other = f"{__name__}:{name}"
        with pytest.raises(InputError, match=f"^{place}: {other}.*{said}"):
            Groups({other: place}, frozenset([other])).features(table)


@pytest.mark.parametrize(
    "keys", [{}, {"field": "url", "function": f"{__name__}:first_letter"}, {"function": "json:no"}]
)
def test_a_field_or_a_function_is_wanted(keys: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"field or function|defines no"):
        SelectConfig.model_validate({"filters": [{"filter": "same_group", **keys}]})
