"""Judge: which queries and judgements stay, and what becomes of those that lead elsewhere."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.documents.judgements import READ_JUDGEMENTS, Resolved, judged_queries, key_queries, resolve, with_keys
from operators.keys import keys_of, text_keys_of
from operators.schemas import JUDGEMENTS, QUERIES

Judgement = tuple[str, str, float]


def _queries(texts: dict[str, str | None]) -> pa.Table:
    return key_queries(
        pa.table(
            {
                "query_id": pa.array(list(texts), pa.string()),
                "text": pa.array(list(texts.values()), pa.string()),
                "metadata": pa.nulls(len(texts), pa.string()),
            }
        )
    )


def _judgements(rows: list[Judgement], labels: list[str] | None = None) -> pa.Table:
    table = pa.table(
        {
            "query_id": pa.array([row[0] for row in rows], pa.string()),
            "doc_id": pa.array([row[1] for row in rows], pa.string()),
            "score": pa.array([row[2] for row in rows], pa.float32()),
        }
    )
    return with_keys(table if labels is None else table.append_column("label", pa.array(labels, pa.string())))


def _documents(kept: dict[str, str]) -> pa.Table:
    """Return the judged documents: id -> id of the document that stands for it (whose text its id is)."""
    stands_for = pa.array(list(kept.values()), pa.string())
    return pa.table(
        {
            "doc_key": keys_of(pa.array(list(kept), pa.string())),
            "kept_key": keys_of(stands_for),
            "text_key": text_keys_of(stands_for),
        }
    )


def _names(keys: pa.ChunkedArray, names: str) -> list[str]:
    of_key = dict(zip(keys_of(pa.array(list(names))).tolist(), names, strict=True))
    return [of_key[key] for key in keys.to_pylist()]


def _said(resolved: Resolved) -> list[Judgement]:
    """Return the judgements by name; queries are named a to e, documents A to E."""
    table = resolved.judgements
    queries = _names(table.column("query_key"), "abcde")
    return list(
        zip(queries, _names(table.column("doc_key"), "ABCDE"), table.column("relevance").to_pylist(), strict=True)
    )


def _dropped(resolved: Resolved) -> dict[str, str]:
    rows = resolved.dropped.to_pylist()
    assert [row["key"] for row in rows] == keys_of(resolved.dropped.column("id")).tolist()
    return {row["id"]: row["reason"] for row in rows}


def _ids(resolved: Resolved) -> list[str]:
    ids: list[str] = resolved.queries.column("query_id").to_pylist()
    return ids


def _judged(queries: pa.Table, judgements: pa.Table, **choices: Any) -> Resolved:  # noqa: ANN401 - merge, drop_empty
    return judged_queries(queries, judgements, **{"merge": True, "drop_empty": True, **choices})


def test_judgements_without_scores_are_positive_and_have_no_label() -> None:
    keyed = with_keys(pa.table({"query_id": ["a"], "doc_id": ["A"]}))
    assert keyed.schema == READ_JUDGEMENTS
    assert keyed.select(["relevance", "label"]).to_pylist() == [{"relevance": 1.0, "label": None}]


def test_queries_get_the_keys_of_their_id_and_text_and_keep_their_vector() -> None:
    vectors = pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))
    batch = pa.table({"query_id": ["a"], "text": [" x  y"], "metadata": ["{}"], "vector": vectors})
    keyed = key_queries(batch)
    assert keyed.schema.names == [*QUERIES.names, "vector"]
    (row,) = keyed.to_pylist()
    assert row["query_key"] == keys_of(pa.array(["a"]))[0]
    assert row["text_key"] == text_keys_of(pa.array(["x y"]))[0]
    assert (row["text"], row["metadata"], row["vector"]) == (" x  y", "{}", [1.0, 2.0])


def test_queries_that_nobody_judged_are_left_out_and_counted() -> None:
    judged = _judged(_queries({"a": "one", "b": "two", "c": "two"}), _judgements([("b", "A", 1)]))
    assert _ids(judged) == ["b"]
    assert _dropped(judged) == {"a": "not_judged", "c": "not_judged"}


def test_queries_of_equal_text_become_the_first_and_their_judgements_follow() -> None:
    queries = _queries({"a": "one", "b": "two", "c": " one ", "d": "one"})
    judged = _judged(queries, _judgements([("d", "A", 1), ("b", "B", 1), ("c", "C", 0), ("a", "D", 2)]))
    assert _ids(judged) == ["a", "b"]
    assert _dropped(judged) == {"c": "exact_duplicate", "d": "exact_duplicate"}
    assert _said(judged) == [("a", "A", 1), ("b", "B", 1), ("a", "C", 0), ("a", "D", 2)]
    assert judged.judgements.schema.names == READ_JUDGEMENTS.names


def test_the_first_judged_query_is_kept_not_one_that_nobody_judged() -> None:
    judged = _judged(_queries({"a": "one", "b": "one", "c": "one"}), _judgements([("c", "A", 1), ("b", "B", 1)]))
    assert _ids(judged) == ["b"]
    assert _said(judged) == [("b", "A", 1), ("b", "B", 1)]


def test_queries_of_equal_text_stay_apart_where_that_is_wanted() -> None:
    judgements = _judgements([("a", "A", 1), ("b", "B", 1)])
    judged = _judged(_queries({"a": "one", "b": "one"}), judgements, merge=False)
    assert _ids(judged) == ["a", "b"]
    assert _dropped(judged) == {}
    assert judged.judgements.equals(judgements)


@pytest.mark.parametrize("text", ["", None, " \N{NO-BREAK SPACE}"])
def test_queries_without_text_go_with_their_judgements(text: str | None) -> None:
    queries, judgements = _queries({"a": text, "b": "two"}), _judgements([("a", "A", 1), ("b", "B", 1)])
    judged = _judged(queries, judgements)
    assert _ids(judged) == ["b"]
    assert _dropped(judged) == {"a": "empty_text"}
    assert _said(judged) == [("b", "B", 1)]
    assert _ids(_judged(queries, judgements, drop_empty=False)) == ["a", "b"]


def test_vectors_of_queries_stay_with_them() -> None:
    queries = _queries({"a": "one", "b": "two", "c": "one"})
    vectors = pa.array([[1.0], [2.0], [3.0]], pa.list_(pa.float32(), 1))
    judged = _judged(queries.append_column("vector", vectors), _judgements([("c", "A", 1), ("b", "A", 1)]))
    assert judged.queries.select(["query_id", "vector"]).to_pylist() == [
        {"query_id": "b", "vector": [2.0]},
        {"query_id": "c", "vector": [3.0]},
    ]


def test_judgements_follow_the_document_that_was_kept() -> None:
    queries = _queries({"a": "one"})
    led = resolve(queries, _judgements([("a", "B", 1), ("a", "C", 0)]), _documents({"B": "A", "C": "C"}))
    assert led.judgements.schema == JUDGEMENTS
    assert _said(led) == [("a", "A", 1), ("a", "C", 0)]
    assert led.judgements.column("text_key").to_pylist() == text_keys_of(pa.array(["A", "C"])).tolist()


def test_of_repeated_judgements_the_highest_counts_with_its_label() -> None:
    rows = [("a", "A", 0.0), ("a", "B", 2.0), ("a", "A", 3.0), ("a", "C", 1.0), ("a", "C", 1.0)]
    judgements = _judgements(rows, ["low", "only", "high", "first", "second"])
    led = resolve(_queries({"a": "one"}), judgements, _documents({"A": "A", "B": "B", "C": "C"}))
    assert sorted(_said(led)) == [("a", "A", 3), ("a", "B", 2), ("a", "C", 1)]
    assert sorted(led.judgements.column("label").to_pylist()) == ["first", "high", "only"]


def test_a_positive_outweighs_the_negative_judgement_of_its_duplicate() -> None:
    led = resolve(_queries({"a": "one"}), _judgements([("a", "B", 0), ("a", "A", 1)]), _documents({"A": "A", "B": "A"}))
    assert _said(led) == [("a", "A", 1)]


def test_queries_without_a_positive_are_dropped_and_counted() -> None:
    queries = _queries({"a": "one", "b": "two", "c": "three", "d": "four"})
    judgements = _judgements([("a", "A", 0), ("b", "B", 1), ("b", "A", 0), ("c", "E", 1), ("d", "A", -1)])
    led = resolve(queries, judgements, _documents({"A": "A", "B": "B"}))
    assert _ids(led) == ["b"]
    assert _dropped(led) == {"a": "no_positive", "c": "no_positive", "d": "no_positive"}
    assert _said(led) == [("b", "B", 1), ("b", "A", 0)]


def test_nothing_is_left_of_judgements_that_lead_nowhere() -> None:
    led = resolve(_queries({"a": "one"}), _judgements([("a", "A", 1)]), _documents({}))
    assert (led.queries.num_rows, led.judgements.num_rows) == (0, 0)
    assert _dropped(led) == {"a": "no_positive"}


ROWS = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("ABCDE"), st.integers(-1, 3)), max_size=25)


@given(
    ROWS,
    st.permutations("abcde"),
    st.lists(st.sampled_from(["one", "two", ""]), min_size=5, max_size=5),
    st.dictionaries(st.sampled_from("ABCDE"), st.sampled_from("ABCDE")),
    st.booleans(),
)
def test_both_steps_say_what_dictionaries_say(
    rows: list[tuple[str, str, int]], ids: list[str], texts: list[str], kept: dict[str, str], merge: bool
) -> None:
    queries = _queries(dict(zip(ids, texts, strict=True)))
    judged = _judged(queries, _judgements([(query, doc, float(score)) for query, doc, score in rows]), merge=merge)
    led = resolve(judged.queries, judged.judgements, _documents(kept))

    text_of = dict(zip(ids, texts, strict=True))
    wanted = [name for name in ids if text_of[name] and any(row[0] == name for row in rows)]
    first = {
        name: next(one for one in wanted if one == name or (merge and text_of[one] == text_of[name])) for name in wanted
    }
    best: dict[tuple[str, str], int] = {}
    for query, doc, score in rows:
        if query in first and doc in kept:
            pair = (first[query], kept[doc])
            best[pair] = max(score, best.get(pair, score))
    positive = {query for (query, _), score in best.items() if score > 0}
    order = [name for name in wanted if name in positive]
    assert _ids(led) == order
    said = _said(led)
    assert {(query, doc): score for query, doc, score in said} == {
        pair: score for pair, score in best.items() if pair[0] in positive
    }
    assert len(set(said)) == len(said)
    assert np.all(np.diff([order.index(query) for query, _, _ in said]) >= 0)
    left_out = {name for name in ids if name not in order}
    assert set(_dropped(judged)) | set(_dropped(led)) == left_out
    assert judged.dropped.num_rows + led.dropped.num_rows == len(left_out)
