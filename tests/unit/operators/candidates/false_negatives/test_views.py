"""Views of hidden positives, against an oracle that looks at one candidate at a time."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.candidates.false_negatives.list_similarity import LISTS
from operators.candidates.false_negatives.views import LISTED, Shown, hide, keep_one, leave_one_out
from operators.schemas import (
    NOT_POSITIVE,
    POSITIVE_DOCUMENT,
    POSITIVE_TEXT,
    POSITIVES,
    to_numpy,
)


@st.composite
def collections(draw: st.DrawFn) -> tuple[pa.Table, pa.Table, dict[tuple[int, int], float], np.ndarray]:
    """Candidates and positives of some queries, the similarity of every two documents, and a sample of positives."""
    candidates, positives, vectors = [], [], {}
    for query in sorted(draw(st.sets(st.integers(1, 40), min_size=1, max_size=4))):
        documents = draw(st.lists(st.integers(0, 9), min_size=1, max_size=10, unique=True))
        judged = draw(st.lists(st.sampled_from(range(12)), min_size=1, max_size=4, unique=True))
        texts = {document: document // 2 if draw(st.booleans()) else 100 + document for document in range(12)}
        for place, document in enumerate(documents):
            kind = NOT_POSITIVE
            if document in judged:
                kind = POSITIVE_DOCUMENT
            elif texts[document] in {texts[one] for one in judged}:
                kind = POSITIVE_TEXT
            candidates.append(
                [query, document, texts[document], 1 - place / 10, place, kind, 0.0, 0.0, document / 16, query / 16]
            )
        positives += [[query, document, texts[document], 1.0, None, 0.5] for document in judged]
        for one in range(12):
            for other in judged:
                vectors[one, other] = draw(st.integers(-8, 8)) / 8
    sampled = np.array([draw(st.booleans()) for _ in positives])
    return _table(candidates, LISTED), _table(positives, POSITIVES), vectors, sampled


def _table(rows: list[list[Any]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)], schema=schema)


@given(collections(), st.booleans())
def test_views_are_what_an_oracle_finds_with_fewer_judgements(
    drawn: tuple[pa.Table, pa.Table, dict[tuple[int, int], float], np.ndarray], one_left: bool
) -> None:
    candidates, positives, similarity, sampled = drawn
    rows, judged = candidates.to_pylist(), positives.to_pylist()
    pairs = [
        similarity[row["doc_key"], one["doc_key"]]
        for row in rows
        for one in judged
        if one["query_key"] == row["query_key"]
    ]
    shown = (keep_one if one_left else leave_one_out)(to_numpy(positives, "query_key"), sampled)
    views, known = hide(candidates, positives, np.array(pairs, dtype=np.float32), shown)
    expected, expected_known = [], []
    number = 0
    for place in np.flatnonzero(sampled):
        query = judged[place]["query_key"]
        everything = [at for at, one in enumerate(judged) if one["query_key"] == query]
        if len(everything) == 1:
            continue
        left = [place] if one_left else [at for at in everything if at != place]
        expected_known += [(number, judged[at]["doc_key"]) for at in left]
        for row in (row for row in rows if row["query_key"] == query):
            of_shown = [judged[at] for at in left]
            if row["doc_key"] in {one["doc_key"] for one in of_shown}:
                continue
            if row["text_key"] in {one["text_key"] for one in of_shown}:
                continue
            hidden = row["positive_kind"] != NOT_POSITIVE
            seen = [similarity[row["doc_key"], one["doc_key"]] for one in of_shown]
            of_hidden = len(left) / (len(everything) - len(left))
            weight = (of_hidden if hidden else 1) / len(everything)
            of_view = (max(seen), np.mean(seen), hidden, weight)
            expected.append((number, row["doc_key"], row["rank"], *(row[name] for name in LISTS), *of_view))
        number += 1
    of_names = ("max_positive_similarity", "mean_positive_similarity", "hidden", "weight")
    names = ("query_key", "doc_key", "rank", *LISTS, *of_names)
    found = list(zip(*(views.column(name).to_pylist() for name in names), strict=True))
    assert np.array(found, dtype=float) == pytest.approx(np.array(expected, dtype=float), abs=1e-6)
    assert list(zip(*(known.column(name).to_pylist() for name in ("query_key", "doc_key")), strict=True)) == (
        expected_known
    )
    assert set(views.column("positive_kind").to_pylist()) <= {NOT_POSITIVE}


def test_hidden_positives_count_as_many_as_are_shown_and_every_other_candidate_once() -> None:
    documents, judged = 6, 3
    candidates = _table(
        [
            [1, n, n, 1 - n / 10, n, POSITIVE_DOCUMENT if n < judged else NOT_POSITIVE, *[0.0] * 4]
            for n in range(documents)
        ],
        LISTED,
    )
    positives = _table([[1, n, n, 1.0, None, 0.5] for n in range(judged)], POSITIVES)
    similarity = np.zeros(documents * judged, dtype=np.float32)
    query, every = np.ones(judged, dtype=np.int64), np.ones(judged, dtype=np.bool_)
    for shown, known in ((leave_one_out(query, every), judged - 1), (keep_one(query, every), 1)):
        views, _ = hide(candidates, positives, similarity, shown)
        weights = np.bincount(to_numpy(views, "doc_key"), weights=to_numpy(views, "weight"))
        assert weights[:judged].sum() == pytest.approx(known)
        assert weights[judged:] == pytest.approx(np.ones(documents - judged))


def test_no_view_of_queries_with_one_positive() -> None:
    query = np.array([1, 2, 2, 3])
    shown = leave_one_out(query, np.ones(4, dtype=np.bool_))
    assert shown.positive.tolist() == [2, 1]
    empty = Shown(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    views, known = hide(LISTED.empty_table(), POSITIVES.empty_table(), np.zeros(0, np.float32), empty)
    assert (views.num_rows, known.num_rows) == (0, 0)
