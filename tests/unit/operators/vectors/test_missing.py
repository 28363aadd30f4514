"""Shards that are asked for their share of k, and again where that was too few, give what one search of all gives."""

from dataclasses import replace
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.schemas import CANDIDATES, POSITIVE_DOCUMENT, concat, to_numpy
from operators.vectors.index import IndexChoice, train
from operators.vectors.merge import Merge
from operators.vectors.missing import MISSING, asked_of, cut_lists, missing_rows, still_missing
from operators.vectors.nearest import OperatingPoint
from operators.vectors.search import Search
from operators.vectors.shard import Shard
from tests.unit.operators.tables import candidates, codes_of, shard_of
from tests.unit.operators.vectors.test_search import EXACTLY, Collection, collection, without_nan

Ints = npt.NDArray[np.int64]


class Asked:
    """Every shard asked for its share, a few merged at a time, and those that lack something asked again."""

    def __init__(
        self, given_collection: Collection, k: int, shards: list[Shard], point: OperatingPoint = EXACTLY
    ) -> None:
        queries, positives = given_collection.query_table(), given_collection.positive_table()
        merge, keys = Merge(k), given_collection.query_key
        rows = [len(shard.doc_key) for shard in shards]
        self.asked = [asked_of(k, count, sum(rows)) for count in rows]
        found = [
            Search(k, shard, point, asked=asked)(queries, positives)
            for shard, asked in zip(shards, self.asked, strict=True)
        ]
        merged, missing = CANDIDATES.empty_table(), MISSING.empty_table()
        for start in range(0, len(shards), 3):
            here = range(start, min(start + 3, len(shards)))
            merged = merge(keys, [merged, *(found[s] for s in here)])
            cut = [cut_lists(found[s], s, self.asked[s], rows[s]) for s in here]
            missing = still_missing(concat([missing, *cut], MISSING), merged, k)
        self.missing: list[dict[str, Any]] = missing.to_pylist()
        self.again = []
        for s in sorted({one["shard"] for one in self.missing}):
            of_shard = missing.filter(pa.array(to_numpy(missing, "shard") == s))
            wanted = to_numpy(of_shard, "query_key")
            some = queries.filter(pa.array(np.isin(to_numpy(queries, "key"), wanted)))
            judged = positives.filter(pa.array(np.isin(to_numpy(positives, "query_key"), wanted)))
            self.again.append(missing_rows(Search(k, shards[s], point)(some, judged), of_shard))
        self.found = found
        self.merged = merge(keys, [merged, *self.again])


def counted(tables: list[pa.Table], query_key: int) -> int:
    """How many rows that are no judged positives there are for a query."""
    table = concat(tables, CANDIDATES)
    mine = to_numpy(table, "query_key") == query_key
    return int((mine & (to_numpy(table, "positive_kind") != POSITIVE_DOCUMENT)).sum())


@st.composite
def collections(draw: st.DrawFn) -> Collection:
    """Documents in random order, in that of their similarity to a query or nearly so, or alike ones side by side."""
    documents = draw(st.sampled_from([1, 9, 200, 500]))
    judged = draw(st.lists(st.sampled_from([0, 1, 2, 40]), min_size=1, max_size=4))
    spread, dimension = draw(st.sampled_from([(400, 6), (1, 2), (0, 2)]))  # the last two are nearly all ties
    made = collection(documents, judged, draw(st.integers(0, 2**32 - 1)), spread, dimension)
    first = made.documents @ made.queries[0]
    orders = {"random": np.arange(documents), "nearest": np.argsort(-first), "farthest": np.argsort(first)}
    orders["alike"] = np.lexsort(made.documents.T)
    orders["nearly"] = np.argsort(-first + np.random.default_rng(0).normal(0, first.std() / 2 + 1e-9, documents))
    order = orders[draw(st.sampled_from(sorted(orders)))]
    return replace(
        made,
        documents=made.documents[order],
        doc_key=np.sort(made.doc_key) if draw(st.booleans()) else made.doc_key[order],
        text_key=made.text_key[order],
    )


def cut_at(given_collection: Collection, ends: list[int]) -> list[Shard]:
    """Shards of any sizes, some of them without documents; `ends` are in thousandths of the documents."""
    made = given_collection
    pieces = np.split(np.arange(len(made.documents)), np.array(sorted(ends), dtype=int) * len(made.documents) // 1000)
    return [shard_of(made.documents[rows], made.doc_key[rows], made.text_key[rows]) for rows in pieces]


@settings(derandomize=True, deadline=None, max_examples=70)
@given(
    made=collections(), k=st.integers(1, 60), ends=st.lists(st.integers(0, 1000), max_size=30), seed=st.integers(0, 99)
)
def test_any_split_into_shards_gives_what_one_shard_gives(made: Collection, k: int, ends: list[int], seed: int) -> None:
    shards = cut_at(made, ends)
    shards = [shards[place] for place in np.random.default_rng(seed).permutation(len(shards))]
    asked = Asked(made, k, shards)
    assert without_nan(asked.merged.to_pylist()) == without_nan(made.found(k, made.shards(1)))
    for query in made.query_key.tolist():
        lists = [asked.asked[one["shard"]] for one in asked.missing if one["query_key"] == query]
        assert sum(lists) < k
        assert counted(asked.found, query) <= sum(asked.asked) <= 4 * k + 5 * len(shards)
        assert counted(asked.again, query) <= sum(k - one for one in lists)


def test_shards_with_all_the_neighbours_are_asked_again_and_no_others() -> None:
    """In the order of their similarity: 17 of each shard are merged, so the 50th is the 16th of the third shard."""
    made = collection(800, [0], seed=2)
    order = np.argsort(-(made.documents @ made.queries[0]))
    made = replace(made, documents=made.documents[order])
    asked = Asked(made, 50, made.shards(16))
    assert asked.asked == [17] * 16
    assert [one["shard"] for one in asked.missing] == [0, 1]
    assert [table.num_rows for table in asked.again] == [33, 33]
    assert without_nan(asked.merged.to_pylist()) == made.brute_force(50)


def test_what_ranks_behind_the_last_of_the_ranking_is_not_missing() -> None:
    """Three shards with every third of the best: the 50th is the second's last, and the first has nothing before it."""
    made = collection(800, [0], seed=2)
    order = np.argsort(-(made.documents @ made.queries[0]))
    order = np.concatenate([*(order[first:150:3] for first in range(3)), order[150:]])
    made = replace(made, documents=made.documents[order])
    asked = Asked(made, 50, made.shards(16))
    assert [one["shard"] for one in asked.missing] == [0]
    assert [table.num_rows for table in asked.again] == [0]
    assert without_nan(asked.merged.to_pylist()) == made.brute_force(50)


@pytest.mark.parametrize("shards", [12, 40, 65, 134, 1034])
@pytest.mark.parametrize("k", [20, 100, 1000])
def test_of_documents_in_random_order_a_shard_has_hardly_ever_more_than_it_is_asked_for(k: int, shards: int) -> None:
    """The number of the k best in one of S equal shards is binomial."""
    asked = asked_of(k, 1000, 1000 * shards)
    more = sum(comb(k, n) * (shards - 1) ** (k - n) for n in range(asked + 1, k + 1)) / shards**k
    assert more < 1.5e-6


def test_a_shard_is_asked_for_all_where_it_is_the_only_one_and_never_for_more() -> None:
    assert asked_of(100, 7, 7) == 100
    assert asked_of(3, 1, 1000) == 3
    assert asked_of(5, 0, 0) == 4
    assert sum(asked_of(100, 10, 650) for _ in range(65)) == 65 * 11


def test_a_list_that_ends_at_the_last_row_of_the_ranking_lacks_nothing() -> None:
    """Equal scores: the key decides whether the list ends before the k-th row, is it, or ends behind it."""
    for key, lacks in ((3, True), (4, False), (5, False)):
        rows = [{"query_key": 1, "doc_key": key, "score": 0.5}]
        others = [{"query_key": 1, "doc_key": other, "score": 0.5} for other in (2, 4) if other != key]
        merged = Merge(2)(np.array([1]), [candidates(rows), candidates(others)])
        if key == 3:
            merged = Merge(3)(np.array([1]), [candidates(rows), candidates(others)])
        cut = cut_lists(candidates(rows), shard=0, asked=1, rows=9)
        assert bool(still_missing(cut, merged, merged.num_rows).num_rows) is lacks


def test_a_list_that_holds_its_whole_shard_was_not_cut() -> None:
    rows = candidates([{"query_key": 1, "doc_key": 3, "score": 0.5}, {"query_key": 1, "doc_key": 4, "score": 0.4}])
    assert cut_lists(rows, shard=0, asked=2, rows=2).num_rows == 0
    assert cut_lists(rows, shard=0, asked=2, rows=3).num_rows == 1
    assert cut_lists(rows, shard=0, asked=3, rows=9).num_rows == 0
    assert cut_lists(candidates([]), shard=0, asked=3, rows=9).num_rows == 0


@pytest.mark.parametrize("factory", ["IVF4,PQ4x4", "IVF4,PQ4x4fs", "IVF4,SQ4", "PQ4x4", "HNSW8"])
@pytest.mark.parametrize("point", [OperatingPoint(1, 1), OperatingPoint(2, 3)])
def test_codes_give_the_first_rows_of_what_they_give_for_k(factory: str, point: OperatingPoint) -> None:
    """However few are asked for: the codes, which are far off, propose as many as for all of k."""
    made = collection(1600, [0, 2, 30, 1], seed=5, dimension=16, spread=200)
    order = np.argsort(-(made.documents @ made.queries[0]))
    made = replace(made, documents=made.documents[order])
    trained = train(IndexChoice(factory=factory, train_rows=0, why=""), made.documents)
    shards = [replace(shard, codes=codes_of(trained, [shard.vectors])) for shard in made.shards(8)]
    every = made.found(60, shards, point)
    asked = Asked(made, 60, shards, point)
    assert max(asked.asked) < 60
    assert sum(table.num_rows for table in asked.again)
    assert without_nan(asked.merged.to_pylist()) == without_nan(every)
    for shard, few in zip(shards, asked.found, strict=True):
        whole = Search(60, shard, point)(made.query_table(), made.positive_table())
        for key in made.query_key:
            mine, all_of = (
                table.filter(pa.array(to_numpy(table, "query_key") == key)).column("doc_key").to_pylist()
                for table in (few, whole)
            )
            assert mine == all_of[: len(mine)]
