"""Capped documents: the matching is stable, the best for the rows, and has one answer whatever the batches."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.candidates.config import SelectConfig
from operators.candidates.matching import CUTOFFS, PROPOSED_ROWS, joined, kept
from operators.candidates.select import Select
from operators.keys import pair_keys
from operators.schemas import concat
from tests.unit.operators.tables import candidates, positives

Row = dict[str, Any]
RowName = tuple[int, int]


def row_key(row: RowName) -> int:
    return int(pair_keys(np.array([row[0]]), np.array([row[1]]))[0])


def collection(queries: int, documents: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Queries with one or two positives that have nearly all documents as candidates; many scores are equal."""
    rng = np.random.default_rng(seed)
    found, judged = [], []
    for query in range(queries):
        some = rng.permutation(documents)[: rng.integers(1, documents + 1)]
        ranked = sorted(
            ((float(rng.integers(0, 6)) / 8, int(document)) for document in some), key=lambda o: (-o[0], o[1])
        )
        found += [
            {"query_key": query, "doc_key": document, "score": score, "rank": rank}
            for rank, (score, document) in enumerate(ranked)
        ]
        judged += [{"query_key": query, "doc_key": 1000 + i, "score": 1.0} for i in range(rng.integers(1, 3))]
    return found, judged


def match(select: Select, parts: list[tuple[pa.Table, pa.Table]], most: int) -> pa.Table:
    """The cutoffs, by rounds over parts as the pipeline has them."""
    before, now, held = None, CUTOFFS.empty_table(), PROPOSED_ROWS.empty_table()
    while True:
        proposals = [select.proposals(*part, before, now) for part in parts]
        proposed = concat([held, *proposals], PROPOSED_ROWS)
        held, cutoffs = kept(proposed, most)
        before, now = now, joined(now, cutoffs)
        if held.num_rows == proposed.num_rows:
            return now


def deferred_acceptance(lists: dict[RowName, list[Row]], quota: int, most: int) -> dict[RowName, set[int]]:
    """The textbook: one proposal at a time, the rows in any order."""
    place = dict.fromkeys(lists, 0)
    holds: dict[int, list[tuple[float, int, RowName]]] = defaultdict(list)
    has: dict[RowName, set[int]] = {row: set() for row in lists}
    free = list(lists)
    while free:
        row = free.pop()
        while len(has[row]) < quota and place[row] < len(lists[row]):
            candidate = lists[row][place[row]]
            place[row] += 1
            document = candidate["doc_key"]
            holds[document].append((-candidate["score"], row_key(row), row))
            has[row].add(document)
            if len(holds[document]) > most:
                holds[document].sort()
                loser = holds[document].pop()[2]
                has[loser].discard(document)
                if loser != row:
                    free.append(loser)
    return has


def lists_of(found: list[Row], judged: list[Row]) -> dict[RowName, list[Row]]:
    by_query = defaultdict(list)
    for candidate in found:
        by_query[candidate["query_key"]].append(candidate)
    return {(row["query_key"], row["doc_key"]): by_query[row["query_key"]] for row in judged}


def chosen(select: Select, parts: list[tuple[pa.Table, pa.Table]], cutoffs: pa.Table) -> dict[RowName, set[int]]:
    rows: dict[RowName, set[int]] = defaultdict(set)
    for part in parts:
        for one in select(*part, cutoffs).negatives.to_pylist():
            rows[one["query_key"], one["positive_key"]].add(one["doc_key"])
    return rows


def parts_of(found: list[Row], judged: list[Row], count: int) -> list[tuple[pa.Table, pa.Table]]:
    return [
        (
            candidates([one for one in found if one["query_key"] % count == part]),
            positives([one for one in judged if one["query_key"] % count == part]),
        )
        for part in range(count)
    ]


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    queries=st.integers(1, 9),
    documents=st.integers(1, 7),
    quota=st.integers(1, 3),
    most=st.integers(1, 4),
    seed=st.integers(0, 10_000),
    parts=st.integers(1, 4),
)
def test_the_matching_is_that_of_the_textbook_and_no_pair_blocks_it(
    queries: int, documents: int, quota: int, most: int, seed: int, parts: int
) -> None:
    found, judged = collection(queries, documents, seed)
    select = Select(SelectConfig(num_negatives=quota, max_rows_per_document=most))
    pieces = parts_of(found, judged, parts)
    rows = chosen(select, pieces, match(select, pieces, most))
    lists = lists_of(found, judged)
    expected = deferred_acceptance(lists, quota, most)
    assert {row: rows.get(row, set()) for row in lists} == expected

    uses = Counter(document for documents_ in rows.values() for document in documents_)
    assert all(count <= most for count in uses.values())
    holders: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for row, documents_ in rows.items():
        for one in lists[row]:
            if one["doc_key"] in documents_:
                holders[one["doc_key"]].append((-one["score"], row_key(row)))
    for row, ranked in lists.items():
        has = rows.get(row, set())
        worst = max((place for place, one in enumerate(ranked) if one["doc_key"] in has), default=-1)
        for place, one in enumerate(ranked):
            document = one["doc_key"]
            wants = document not in has and (len(has) < quota or place < worst)
            wanted = len(holders[document]) < most or (-one["score"], row_key(row)) < max(holders[document])
            assert not (wants and wanted), "both would rather have each other"


@pytest.mark.parametrize(
    "draws",
    [
        [{"strategy": "random", "num_negatives": 2, "seed": 3}],
        [{"strategy": "top", "num_negatives": 1}, {"strategy": "random", "num_negatives": 2}],
        [
            {"strategy": "stratified", "num_negatives": 2},
            {"strategy": "softmax", "temperature": 0.1, "num_negatives": 1},
        ],
    ],
    ids=["random", "two draws", "stratified"],
)
def test_any_draws_keep_the_cap_and_the_parts_change_nothing(draws: list[Row]) -> None:
    found, judged = collection(60, 25, 7)
    select = Select(SelectConfig.model_validate({"draws": draws, "max_rows_per_document": 6}))
    results = []
    for count in (1, 3, 17):
        pieces = parts_of(found, judged, count)
        results.append(chosen(select, pieces, match(select, pieces, 6)))
    assert results[0] == results[1] == results[2]
    uses = Counter(document for documents in results[0].values() for document in documents)
    assert max(uses.values()) == 6
    free = Select(SelectConfig.model_validate({"draws": draws}))
    before = chosen(free, parts_of(found, judged, 1), CUTOFFS.empty_table())
    assert max(Counter(document for documents in before.values() for document in documents).values()) > 6


def test_a_cap_that_nothing_reaches_changes_nothing_and_what_it_drops_is_counted() -> None:
    found, judged = collection(20, 10, 1)
    part = parts_of(found, judged, 1)
    free = Select(SelectConfig(num_negatives=2))(*part[0])
    loose, tight = (Select(SelectConfig(num_negatives=2, max_rows_per_document=most)) for most in (1000, 2))
    assert loose(*part[0], match(loose, part, 1000)).negatives.equals(free.negatives)
    selection = tight(*part[0], match(tight, part, 2))
    assert selection.counts["max_rows_per_document"] > 0
    assert sum(selection.counts.values()) == sum(free.counts.values())
    assert selection.short_rows + selection.empty_rows > free.short_rows + free.empty_rows, "it is not filled unchecked"


def test_a_capped_selection_needs_the_whole_window() -> None:
    assert SelectConfig().needed == 4
    assert SelectConfig(max_rows_per_document=5).needed == 100
