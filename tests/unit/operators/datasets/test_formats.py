"""Every layout against an example written by hand, and the properties that hold for any negatives."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.datasets.export import FORMATS, layout_of
from operators.datasets.layout import NegativeRows
from operators.schemas import QUERIES, SELECTED, TEXTS

Pair = tuple[int, int, list[int]]  # a query, its positive, and the negatives of that row


def mined(rows: list[Pair], num_negatives: int) -> NegativeRows:
    """Query 1 is "q1", document 11 is "d11". Scores are made of the last digit of the key."""
    negatives = [
        {
            "query_key": query,
            "positive_key": positive,
            "positive_score": 1 - positive % 10 / 8,
            "doc_key": document,
            "score": -document % 10 / 8,
            "rank": place,
            "draw": "random" if place else "top",
            "log_probability": -1.5 if place else None,
            "reason": "negative",
        }
        for query, positive, documents in rows
        for place, document in enumerate(documents)
    ]
    # In another order than they are named, and more than are named, as texts arrive.
    queries = sorted({1, 2, 3, *(query for query, _, _ in rows)}, reverse=True)
    documents = sorted({99, *(key for _, positive, keys in rows for key in (positive, *keys))}, reverse=True)
    return NegativeRows(
        negatives=pa.Table.from_pylist(negatives, SELECTED),
        queries=pa.Table.from_pylist(
            [{"query_id": f"id-q{key}", "text": f"q{key}", "query_key": key, "text_key": key} for key in queries],
            QUERIES,
        ),
        texts=pa.Table.from_pylist(
            [
                {"doc_key": key, "doc_id": f"id-d{key}", "text": f"d{key}", "metadata": json.dumps({"key": key})}
                for key in documents
            ],
            TEXTS,
        ),
        num_negatives=num_negatives,
    )


# Query 1 has two positives, one of them also the positive of query 2, whose row is short.
ROWS: list[Pair] = [(1, 12, [21, 22]), (1, 11, [22, 23]), (2, 11, [23])]


def laid_out(layout: str, columns: list[str]) -> list[tuple[Any, ...]]:
    table = layout_of(layout)(mined(ROWS, num_negatives=2)).select(columns)
    return [tuple(row[column] for column in columns) for row in table.to_pylist()]


def test_triplet_has_a_row_for_each_negative() -> None:
    columns = ["query", "positive", "negative", "query_id", "positive_id", "negative_id"]
    assert laid_out("triplet", columns) == [
        ("q1", "d12", "d21", "id-q1", "id-d12", "id-d21"),
        ("q1", "d12", "d22", "id-q1", "id-d12", "id-d22"),
        ("q1", "d11", "d22", "id-q1", "id-d11", "id-d22"),
        ("q1", "d11", "d23", "id-q1", "id-d11", "id-d23"),
        ("q2", "d11", "d23", "id-q2", "id-d11", "id-d23"),
    ]
    scored = laid_out("triplet", ["positive_score", "negative_score", "positive_metadata", "negative_metadata"])
    assert scored[0] == (0.75, 1.125, '{"key": 12}', '{"key": 21}')
    assert scored[4] == (0.875, 0.875, '{"key": 11}', '{"key": 23}')


def test_n_tuple_leaves_out_rows_that_are_short() -> None:
    columns = ["query", "positive", "negative_1", "negative_2", "query_id", "positive_id", "negative_id_1"]
    assert laid_out("n-tuple", [*columns, "negative_id_2"]) == [
        ("q1", "d12", "d21", "d22", "id-q1", "id-d12", "id-d21", "id-d22"),
        ("q1", "d11", "d22", "d23", "id-q1", "id-d11", "id-d22", "id-d23"),
    ]
    assert laid_out("n-tuple", ["positive_score", "negative_score_1", "negative_score_2", "negative_metadata_2"]) == [
        (0.75, 1.125, 1.0, '{"key": 22}'),
        (0.875, 1.0, 0.875, '{"key": 23}'),
    ]


def test_every_format_says_which_draw_took_a_negative_and_with_which_log_probability() -> None:
    names = ["negative_id", "negative_draw", "negative_log_probability"]
    assert laid_out("triplet", names)[:2] == [("id-d21", "top", None), ("id-d22", "random", -1.5)]
    tuples = ["negative_draw_1", "negative_draw_2", "negative_log_probability_1", "negative_log_probability_2"]
    assert laid_out("n-tuple", tuples) == [("top", "random", None, -1.5)] * 2
    lists = laid_out("labeled-list", ["document_draws", "document_log_probabilities"])
    assert lists[0] == ([None, "top", "random"], [None, None, -1.5])
    assert lists[2] == ([None, "top"], [None, None])
    pairs = laid_out("labeled-pair", ["document_id", "document_draw", "document_log_probability"])
    assert pairs[:4] == [
        ("id-d12", None, None),
        ("id-d11", None, None),
        ("id-d21", "top", None),
        ("id-d22", "random", -1.5),
    ]


def test_labeled_pair_has_each_query_and_document_once() -> None:
    assert laid_out("labeled-pair", ["query", "document", "label", "query_id", "document_id", "document_score"]) == [
        ("q1", "d12", 1, "id-q1", "id-d12", 0.75),
        ("q1", "d11", 1, "id-q1", "id-d11", 0.875),
        ("q1", "d21", 0, "id-q1", "id-d21", 1.125),
        ("q1", "d22", 0, "id-q1", "id-d22", 1.0),
        ("q1", "d23", 0, "id-q1", "id-d23", 0.875),
        ("q2", "d11", 1, "id-q2", "id-d11", 0.875),
        ("q2", "d23", 0, "id-q2", "id-d23", 0.875),
    ]
    assert laid_out("labeled-pair", ["document_metadata"])[2] == ('{"key": 21}',)


def test_labeled_list_has_a_list_of_its_own_length_for_each_row() -> None:
    assert laid_out("labeled-list", ["query", "documents", "labels", "document_ids", "document_scores"]) == [
        ("q1", ["d12", "d21", "d22"], [1, 0, 0], ["id-d12", "id-d21", "id-d22"], [0.75, 1.125, 1.0]),
        ("q1", ["d11", "d22", "d23"], [1, 0, 0], ["id-d11", "id-d22", "id-d23"], [0.875, 1.0, 0.875]),
        ("q2", ["d11", "d23"], [1, 0], ["id-d11", "id-d23"], [0.875, 0.875]),
    ]
    assert laid_out("labeled-list", ["query_id", "document_metadata"])[2] == ("id-q2", ['{"key": 11}', '{"key": 23}'])


def test_flagembedding_has_lists_of_positives_and_negatives() -> None:
    assert laid_out("flagembedding", ["query", "pos", "neg", "pos_id", "neg_id", "pos_scores", "neg_scores"]) == [
        ("q1", ["d12"], ["d21", "d22"], ["id-d12"], ["id-d21", "id-d22"], [0.75], [1.125, 1.0]),
        ("q1", ["d11"], ["d22", "d23"], ["id-d11"], ["id-d22", "id-d23"], [0.875], [1.0, 0.875]),
        ("q2", ["d11"], ["d23"], ["id-d11"], ["id-d23"], [0.875], [0.875]),
    ]


def test_tevatron_has_passages_with_ids_and_texts_whose_title_is_not_repeated() -> None:
    def passage(key: int) -> dict[str, str]:
        return {"docid": f"id-d{key}", "title": "", "text": f"d{key}"}

    assert laid_out("tevatron", ["query_id", "query", "positive_passages", "negative_passages"]) == [
        ("id-q1", "q1", [passage(12)], [passage(21), passage(22)]),
        ("id-q1", "q1", [passage(11)], [passage(22), passage(23)]),
        ("id-q2", "q2", [passage(11)], [passage(23)]),
    ]


@pytest.mark.parametrize("layout", FORMATS)
def test_no_negatives_give_no_rows_of_the_same_columns(layout: str) -> None:
    empty, some = (layout_of(layout)(mined(rows, num_negatives=2)) for rows in ([], ROWS))
    assert empty.num_rows == 0
    assert empty.schema == some.schema


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("num_negatives", [1, 3])
def test_the_columns_to_train_on_come_first(layout: str, num_negatives: int) -> None:
    columns = layout_of(layout).training_columns(num_negatives)
    names = layout_of(layout)(mined([(1, 11, [21, 22, 23][:num_negatives])], num_negatives)).column_names
    if layout == "flagembedding":  # JSON: the trainer reads by key
        assert set(columns) <= set(names)
    else:
        assert names[: len(columns)] == columns


@pytest.mark.parametrize("layout", FORMATS)
def test_a_text_that_did_not_arrive_is_an_error_and_not_another_text(layout: str) -> None:
    whole = mined(ROWS, num_negatives=2)
    without = whole.texts.filter(pa.array([key != 22 for key in whole.texts.column("doc_key").to_pylist()]))
    with pytest.raises(LookupError, match="did not arrive"):
        layout_of(layout)(NegativeRows(whole.negatives, whole.queries, without, 2))


@st.composite
def rows_of_any_length(draw: st.DrawFn) -> list[Pair]:
    rows: list[Pair] = []
    for query in draw(st.permutations([1, 2, 3, 4])):
        positives = draw(st.lists(st.integers(10, 14), unique=True, max_size=3))
        rows += [
            (query, key, draw(st.lists(st.integers(20, 27), unique=True, min_size=1, max_size=4))) for key in positives
        ]
    return rows


@settings(derandomize=True, deadline=None, max_examples=80)
@given(rows=rows_of_any_length())
def test_every_layout_holds_the_rows_it_is_made_of(rows: list[Pair]) -> None:
    given_rows = mined(rows, num_negatives=4)

    pairs = layout_of("labeled-pair")(given_rows).select(["query", "document", "label"]).to_pylist()
    keys = [(pair["query"], pair["document"]) for pair in pairs]
    assert len(set(keys)) == len(keys)
    assert {(*key, pair["label"]) for key, pair in zip(keys, pairs, strict=True)} == {
        (f"q{query}", f"d{document}", int(document == positive))
        for query, positive, documents in rows
        for document in (positive, *documents)
    }

    lists = layout_of("labeled-list")(given_rows)
    assert lists.column("documents").to_pylist() == [[f"d{key}" for key in (one[1], *one[2])] for one in rows]
    assert lists.column("labels").to_pylist() == [[1] + [0] * len(documents) for _, _, documents in rows]
    assert lists.column("query").to_pylist() == [f"q{query}" for query, _, _ in rows]

    full = [one for one in rows if len(one[2]) == 4]
    tuples = layout_of("n-tuple")(given_rows)
    assert tuples.column("positive").to_pylist() == [f"d{positive}" for _, positive, _ in full]
    for i in range(4):
        assert tuples.column(f"negative_{i + 1}").to_pylist() == [f"d{documents[i]}" for _, _, documents in full]


def test_keys_of_any_size_are_distinct() -> None:
    """63-bit keys that a float cannot hold exactly."""
    low, high = 2**62 + 1, 2**62 + 2
    table = layout_of("triplet")(mined([(low, high, [low]), (high, low, [high])], 1))
    assert table.column("query").to_pylist() == [f"q{low}", f"q{high}"]
    assert table.column("negative").to_pylist() == [f"d{low}", f"d{high}"]
    assert np.asarray(layout_of("labeled-pair")(mined([(low, high, [low])], 1)).column("label")).tolist() == [1, 0]
