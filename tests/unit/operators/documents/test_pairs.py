"""Pairs: documents, queries and judgements made of (query, positive[, negative])."""

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.documents.pairs import documents_of, judgements_of, queries_of

# In chunks and with an offset, as tables are that were cut from others.
LISTS = st.lists(st.lists(st.sampled_from("abcd"), max_size=3), max_size=6)


def _pairs(**columns: list[Any]) -> pa.Table:
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    return table.append_column("metadata", pa.nulls(table.num_rows, pa.string()))


def _ids(pairs: pa.Table) -> dict[str, str]:
    """Return text -> doc_id."""
    documents = documents_of(pairs)
    return dict(zip(documents.column("text").to_pylist(), documents.column("doc_id").to_pylist(), strict=True))


def _judged(pairs: pa.Table) -> list[tuple[str, str, float]]:
    """Return the judgements as (query, text of the document, score)."""
    queries = queries_of(pairs)
    query = dict(zip(queries.column("query_id").to_pylist(), queries.column("text").to_pylist(), strict=True))
    text = {name: text for text, name in _ids(pairs).items()}
    return [(query[row["query_id"]], text[row["doc_id"]], row["score"]) for row in judgements_of(pairs).to_pylist()]


def test_positives_are_judged_1_and_negatives_0() -> None:
    pairs = _pairs(query=["q", "r"], positive=["a", "b"], negative=["x", None])
    assert documents_of(pairs).column("text").to_pylist() == ["a", "b", "x"]
    assert _judged(pairs) == [("q", "a", 1.0), ("r", "b", 1.0), ("q", "x", 0.0)]


def test_without_negatives_there_are_only_positives() -> None:
    pairs = _pairs(query=["q", "r"], positive=["a", "b"])
    assert _judged(pairs) == [("q", "a", 1.0), ("r", "b", 1.0)]


def test_lists_are_as_many_pairs() -> None:
    pairs = _pairs(query=["q", "r", "s"], positive=[["a", "b"], [], ["c", None]], negative=[None, ["x"], ["y", "z"]])
    assert documents_of(pairs).column("text").to_pylist() == ["a", "b", "c", "x", "y", "z"]
    assert _judged(pairs) == [
        ("q", "a", 1.0),
        ("q", "b", 1.0),
        ("s", "c", 1.0),
        ("r", "x", 0.0),
        ("s", "y", 0.0),
        ("s", "z", 0.0),
    ]


@given(LISTS, st.integers(0, 3))
def test_lists_say_the_same_as_their_rows_one_by_one(lists: list[list[str]], start: int) -> None:
    flat = [(f"q{i}", text) for i, texts in enumerate(lists) for text in texts if i >= start]
    listed = pa.table(
        {
            "query": pa.array([f"q{i}" for i in range(len(lists))], pa.string()),
            "positive": pa.array(lists, pa.list_(pa.string())),
            "metadata": pa.nulls(len(lists), pa.string()),
        }
    ).slice(start)
    spread = pa.table(
        {
            "query": pa.array([query for query, _ in flat], pa.string()),
            "positive": pa.array([text for _, text in flat], pa.string()),
            "metadata": pa.nulls(len(flat), pa.string()),
        }
    )
    assert judgements_of(listed).combine_chunks().equals(judgements_of(spread).combine_chunks())
    assert documents_of(listed).combine_chunks().equals(documents_of(spread).combine_chunks())


def test_ids_of_texts_do_not_depend_on_the_rows_around_them() -> None:
    ids = _ids(_pairs(query=["q", "r"], positive=["text a", "b"]))
    again = _ids(_pairs(query=["x", "y", "z"], positive=["c", " text\ta ", "b"]))
    assert ids["text a"] == again[" text\ta "]
    assert ids["b"] == again["b"]
    assert len({*ids.values(), *again.values()}) == 3
    # The xxh3 of nothing is published; so the names of texts are the same in every version.
    assert _ids(_pairs(query=["q"], positive=[""]))[""] == "2d06800538d394c2"


def test_a_text_has_one_id_as_positive_and_as_negative() -> None:
    pairs = _pairs(query=["q", "r"], positive=["a", "b"], negative=["b", "a"])
    documents = documents_of(pairs).to_pylist()
    assert len({row["doc_id"] for row in documents}) == 2


def test_given_ids_are_used() -> None:
    pairs = _pairs(
        query=["q", "q"], query_id=["q1", "q2"], positive=["a", "b"], positive_id=["p1", "p2"], negative=["x", "y"]
    )
    assert queries_of(pairs).column("query_id").to_pylist() == ["q1", "q2"]
    assert documents_of(pairs).column("doc_id").to_pylist()[:2] == ["p1", "p2"]
    assert [(row["query_id"], row["doc_id"]) for row in judgements_of(pairs).to_pylist()][:2] == [
        ("q1", "p1"),
        ("q2", "p2"),
    ]


def test_equal_queries_without_ids_are_one_query() -> None:
    queries = queries_of(_pairs(query=["one", " one ", "two"], positive=["a", "b", "c"]))
    first, second, third = queries.column("query_id").to_pylist()
    assert first == second != third


def test_the_other_columns_belong_to_the_query() -> None:
    pairs = _pairs(query=["q"], positive=["a"]).set_column(2, "metadata", pa.array(['{"source": "x"}']))
    assert queries_of(pairs).column("metadata").to_pylist() == ['{"source": "x"}']
    assert documents_of(pairs).column("metadata").to_pylist() == [None]


def test_no_pairs_give_no_rows() -> None:
    empty = _pairs(query=["q"], positive=["a"], negative=["b"]).slice(0, 0)
    assert [made(empty).num_rows for made in (documents_of, queries_of, judgements_of)] == [0, 0, 0]
