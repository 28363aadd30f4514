"""Merge makes one ranking of what the shards found."""

import numpy as np

from operators.schemas import NOT_POSITIVE, POSITIVE_DOCUMENT, POSITIVE_TEXT
from operators.vectors.merge import Merge
from tests.unit.operators.tables import candidates


def test_shards_merge_into_one_ranking_in_the_order_of_the_queries() -> None:
    first = candidates([{"query_key": 1, "doc_key": 10, "score": 0.9}, {"query_key": 2, "doc_key": 10, "score": 0.1}])
    second = candidates([{"query_key": 2, "doc_key": 20, "score": 0.5}, {"query_key": 1, "doc_key": 20, "score": 0.95}])
    merged = Merge(k=5)(np.array([2, 1]), [first, second]).to_pylist()
    assert [(row["query_key"], row["doc_key"], row["rank"]) for row in merged] == [
        (2, 20, 0),
        (2, 10, 1),
        (1, 20, 0),
        (1, 10, 1),
    ]


def test_of_equal_scores_the_smaller_key_comes_first_whichever_shard_it_is_in() -> None:
    low, high = ([{"query_key": 1, "doc_key": key, "score": 0.5}] for key in (3, 4))
    for found in ([low, high], [high, low]):
        merged = Merge(k=1)(np.array([1]), [candidates(rows) for rows in found])
        assert merged.column("doc_key").to_pylist() == [3]


def test_positives_do_not_count_towards_k_and_those_below_the_last_are_left_out() -> None:
    flags = [POSITIVE_DOCUMENT, NOT_POSITIVE, POSITIVE_DOCUMENT, POSITIVE_TEXT, POSITIVE_DOCUMENT, NOT_POSITIVE]
    rows = [
        {"query_key": 1, "doc_key": place, "score": 1 - place / 10, "positive_kind": flag}
        for place, flag in enumerate(flags)
    ]
    merged = Merge(k=2)(np.array([1]), [candidates(rows[::2]), candidates(rows[1::2])])
    assert merged.column("doc_key").to_pylist() == [0, 1, 2, 3]
    assert merged.column("rank").to_pylist() == [0, 1, 2, 3]


def test_a_query_that_no_shard_has_anything_for_has_no_candidates() -> None:
    some = candidates([{"query_key": 1, "doc_key": 10, "score": 0.9}])
    assert Merge(k=3)(np.array([7, 1]), [some]).column("query_key").to_pylist() == [1]
    assert Merge(k=3)(np.array([7]), []).num_rows == 0
    assert Merge(k=3)(np.array([7]), [candidates([])]).num_rows == 0
