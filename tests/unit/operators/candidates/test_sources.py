"""Several sources of candidates: a pair is one candidate with all its ranks; draws keep to their sources."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.candidates.config import SelectConfig
from operators.candidates.false_negatives.model import PROBABILITY
from operators.candidates.proposer import Proposer, check_sources, proposals
from operators.candidates.proposers.explicit import Explicit
from operators.candidates.select import Select
from operators.candidates.sources import merged, names_of, ranked_proposals, union
from operators.schemas import CANDIDATES, JUDGEMENTS, PROPOSALS, QUERIES, to_numpy
from tests.unit.operators.tables import candidates, positives

Row = dict[str, Any]
QUERY_KEYS, DOC_KEYS = st.integers(1, 3), st.integers(10, 16)
PAIRS = st.lists(st.tuples(QUERY_KEYS, DOC_KEYS), max_size=25)
SOURCES = ("search", "lexical", "own")


class Given(Proposer):
    """Proposes what it was given."""

    pairs: tuple[tuple[int, int], ...] = ()

    def __call__(self, queries: pa.Table, judgements: pa.Table) -> pa.Table:
        query, doc = zip(*self.pairs, strict=True) if self.pairs else ((), ())
        return pa.table({"query_key": pa.array(query, pa.int64()), "doc_key": pa.array(doc, pa.int64())})


def queries_of(*keys: int) -> pa.Table:
    return pa.Table.from_pylist([{"query_key": key, "query_id": str(key), "text": "?"} for key in keys], QUERIES)


def proposed(pairs: list[tuple[int, int]], limit: int = 100) -> pa.Table:
    proposer = Given(proposer="given", pairs=tuple(pairs), limit=limit)
    return proposals(proposer, queries_of(1, 2, 3), JUDGEMENTS.empty_table())


@settings(derandomize=True, deadline=None)
@given(pairs=PAIRS, limit=st.integers(1, 5))
def test_each_proposal_counts_once_at_its_first_place(pairs: list[tuple[int, int]], limit: int) -> None:
    seen = Counter[int]()
    expected = []
    for query, doc in dict.fromkeys(pairs):
        if seen[query] < limit:
            expected.append({"query_key": query, "doc_key": doc, "rank": seen[query]})
        seen[query] += 1
    table = proposed(pairs, limit)
    assert table.schema == PROPOSALS
    assert table.to_pylist() == sorted(expected, key=lambda row: row["query_key"])


@settings(derandomize=True, deadline=None)
@given(by_source=st.fixed_dictionaries({"lexical": PAIRS, "own": PAIRS}))
def test_a_pair_of_several_sources_is_one_row(by_source: dict[str, list[tuple[int, int]]]) -> None:
    tables = {source: proposed(pairs) for source, pairs in by_source.items()}
    rows = union(tables).to_pylist()
    ranks = {
        source: {(row["query_key"], row["doc_key"]): row["rank"] for row in table.to_pylist()}
        for source, table in tables.items()
    }
    assert len(rows) == len({*ranks["lexical"], *ranks["own"]})
    for row in rows:
        pair = (row["query_key"], row["doc_key"])
        assert (row["lexical_rank"], row["own_rank"]) == (ranks["lexical"].get(pair, -1), ranks["own"].get(pair, -1))


def score_of(query: int, doc: int) -> float:
    return ((query * 31 + doc * 17) % 8) / 8


def found_by(ranks: Mapping[tuple[int, int], Mapping[str, int]]) -> pa.Table:
    rows = [
        {"query_key": q, "doc_key": d, "score": score_of(q, d), "rank": of.get("search", -1)}
        for (q, d), of in ranks.items()
    ]
    table = candidates(rows)
    for source in SOURCES[1:]:
        column = pa.array([of.get(source, -1) for of in ranks.values()], pa.int32())
        table = table.append_column(f"{source}_rank", column)
    return table


@settings(derandomize=True, deadline=None)
@given(
    searched=st.sets(st.tuples(QUERY_KEYS, DOC_KEYS), max_size=12),
    by_source=st.fixed_dictionaries({"lexical": PAIRS, "own": PAIRS}),
)
def test_what_the_search_and_proposers_name_is_merged_best_first(
    searched: set[tuple[int, int]], by_source: dict[str, list[tuple[int, int]]]
) -> None:
    order = sorted(searched, key=lambda pair: (pair[0], -score_of(*pair), pair[1]))
    place = Counter[int]()
    ranks: dict[tuple[int, int], dict[str, int]] = {}
    for pair in order:
        ranks[pair] = {"search": place[pair[0]]}
        place[pair[0]] += 1
    found = found_by(ranks).select(CANDIDATES.names)
    tables = {source: proposed(pairs) for source, pairs in by_source.items()}
    scored: dict[tuple[int, int], dict[str, int]] = {}
    for source, table in tables.items():
        for row in table.to_pylist():
            pair = (row["query_key"], row["doc_key"])
            scored.setdefault(pair, {})[source] = row["rank"]
            ranks.setdefault(pair, {})[source] = row["rank"]
    table = merged(found, found_by(scored), SOURCES[1:])
    assert [(row["query_key"], row["doc_key"]) for row in table.to_pylist()] == sorted(
        ranks, key=lambda pair: (pair[0], -score_of(*pair), pair[1])
    )
    for row in table.to_pylist():
        of = ranks[row["query_key"], row["doc_key"]]
        assert [row["rank"], row["lexical_rank"], row["own_rank"]] == [of.get(source, -1) for source in SOURCES]
    names = names_of(table, SOURCES, np.arange(table.num_rows)).to_pylist()
    assert names == [
        [source for source in SOURCES if source in ranks[row["query_key"], row["doc_key"]]] for row in table.to_pylist()
    ]


@st.composite
def named(draw: st.DrawFn) -> dict[tuple[int, int], dict[str, int]]:
    """One query's candidates, each named by some source."""
    docs = draw(st.sets(st.integers(10, 30), max_size=15))
    some = st.sets(st.sampled_from(SOURCES), min_size=1)
    return {(1, doc): dict.fromkeys(draw(some), 0) for doc in docs}


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    ranks=named(),
    sources=st.lists(st.none() | st.sampled_from(SOURCES), min_size=1, max_size=3),
    wanted=st.integers(1, 3),
    range_min=st.integers(0, 2),
)
def test_draws_take_what_their_source_named(
    ranks: dict[tuple[int, int], dict[str, int]], sources: list[str | None], wanted: int, range_min: int
) -> None:
    """The oracle: one draw after the other over plain lists; the window is that of the draw's source."""
    ordered = dict(sorted(ranks.items(), key=lambda one: (-score_of(*one[0]), one[0][1])))
    draws = [{"strategy": "top", "num_negatives": wanted, "source": source} for source in sources]
    window = {"draws": draws, "range_min": range_min, "range_max": range_min + 9}
    selection = Select(SelectConfig.model_validate(window), SOURCES[1:])(
        found_by(ordered), positives([{"query_key": 1, "doc_key": 1, "score": 0.9}])
    )
    taken: list[int] = []
    inside: set[int] = set()
    for source in sources:
        own = [doc for (_, doc), of in ordered.items() if source is None or source in of]
        own = own[range_min : range_min + 9]
        inside |= set(own)
        taken += [doc for doc in own if doc not in taken][:wanted]
    assert sorted(to_numpy(selection.negatives, "doc_key").tolist()) == sorted(taken)
    assert sum(selection.counts.values()) == len(ranks)
    unnamed = sum(not (set(of) & set(sources) or None in sources) for of in ranks.values())
    assert selection.counts["not_drawn"] == len(inside) - len(taken) + unnamed


def test_judged_negatives_are_proposed_by_their_score() -> None:
    rows: list[Row] = [
        {"query_key": 1, "doc_key": 5, "relevance": 0.0, "label": "easy"},
        {"query_key": 1, "doc_key": 4, "relevance": -1.0, "label": "hard"},
        {"query_key": 1, "doc_key": 3, "relevance": 0.0, "label": "hard"},
        {"query_key": 1, "doc_key": 2, "relevance": 1.0, "label": "hard"},
        {"query_key": 2, "doc_key": 2, "relevance": 0.0, "label": None},
    ]
    judged = pa.Table.from_pylist(rows, JUDGEMENTS)
    every = proposals(Explicit(proposer="explicit"), queries_of(1, 2), judged)
    assert list(zip(*(every[name].to_pylist() for name in PROPOSALS.names), strict=True)) == [
        (1, 3, 0),
        (1, 5, 1),
        (1, 4, 2),
        (2, 2, 0),
    ]
    hard = proposals(Explicit(proposer="explicit", labels=("hard",)), queries_of(1, 2), judged)
    assert hard["doc_key"].to_pylist() == [3, 4]


def test_positives_that_a_source_leaves_out_count_in_its_ranks() -> None:
    query, doc = np.array([1, 1, 1, 1, 2, 2, 3]), np.array([10, 11, 12, 13, 11, 10, 10])
    positive = np.array([True, False, True, False, False, False, True])
    ranked = [(1, 11, 1), (1, 13, 3), (2, 11, 0), (2, 10, 1)]
    for limit, wanted in ((5, ranked), (1, [ranked[0], ranked[2]])):
        table = ranked_proposals(query, doc, positive, limit)
        assert table.schema.equals(PROPOSALS)
        assert [tuple(row.values()) for row in table.to_pylist()] == wanted


class Wrong(Given):
    """Gives a table of its own."""

    table: Any = None

    def __call__(self, queries: pa.Table, judgements: pa.Table) -> pa.Table:
        return self.table


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"query_key": [9], "doc_key": [1]}), "a query that it was not asked for"),
        (pa.table({"query_key": [1], "doc_key": [None]}, PROPOSALS.remove(2)), "proposes a null"),
        (pa.table({"query_key": [1]}), "query_key and doc_key are wanted"),
        (pa.table({"query_key": ["q"], "doc_key": ["d"]}), "query_key and doc_key are wanted"),
    ],
)
def test_a_proposer_that_gives_something_else_is_named(table: pa.Table, said: str) -> None:
    with pytest.raises(ValueError, match=f"wrong: .*{said}"):
        proposals(Wrong(proposer="wrong", table=table), queries_of(1), JUDGEMENTS.empty_table())


def test_sources_have_names_of_their_own() -> None:
    assert Given(proposer="some.module:Given").source == "Given"
    check_sources([Explicit(proposer="explicit"), Explicit(proposer="explicit", source="judged")])
    for taken in (["explicit", "explicit"], ["search"]):
        with pytest.raises(ValueError, match="there are two sources"):
            check_sources([Explicit(proposer="explicit", source=one) for one in taken])


def test_a_draw_of_another_source_may_take_what_the_search_found() -> None:
    """The judged negatives may be the best of the search, so it has to find as many more."""
    draws: list[Row] = [{"strategy": "top", "num_negatives": 2, "source": "explicit"}, {"strategy": "top"}]
    assert SelectConfig.model_validate({"draws": draws, "range_max": 50}).needed == 6
    assert SelectConfig.model_validate({"draws": draws, "range_max": 6}).needed == 6
    assert SelectConfig.model_validate({"draws": draws[:1]}).needed == 0


@pytest.mark.parametrize(("limit", "short"), [(2, []), (3, []), (4, [1])])
def test_no_search_is_deeper_than_what_a_filter_lets_through(limit: int, short: list[int]) -> None:
    found = found_by({(1, doc): {"search": place} for place, doc in enumerate((10, 11, 12))})
    config = SelectConfig.model_validate({"filters": [{"filter": "max_rank", "limit": limit}], "range_max": 50})
    row = positives([{"query_key": 1, "doc_key": 1, "score": 0.9}])
    assert Select(config).short_queries(found.select(CANDIDATES.names), row, 3).tolist() == short


def test_judged_negatives_are_not_dropped_as_suspected() -> None:
    """Document 11 is judged not to be relevant; 12 has the text of the positive, whatever was judged."""
    found = [
        {"query_key": 1, "doc_key": 10 + n, "score": 0.9 - n / 10, "rank": n, "positive_kind": 2 * int(n == 2)}
        for n in range(4)
    ]
    table = candidates(found).append_column("explicit_rank", pa.array([-1, 0, 1, -1], pa.int32()))
    config = SelectConfig(absolute_margin=0.2, max_score=0.1, max_positive_similarity=-1.0)
    judged = positives([{"query_key": 1, "doc_key": 99, "score": 0.95}])
    select = Select(config, ["explicit"], judged=["explicit"])
    selection = select(table, judged)
    assert selection.negatives.column("doc_key").to_pylist() == [11]
    assert selection.counts["positive_text"] == 1
    assert Select(config, ["explicit"])(table, judged).negatives.num_rows == 0
    assert Explicit(proposer="explicit").judged
    likely = table.append_column(PROBABILITY, pa.array(np.full(4, 0.5, np.float32)))
    lenient = SelectConfig(max_false_negative_probability=0.1)
    chosen = Select(lenient, ["explicit"], judged=["explicit"])(likely, judged).negatives
    assert chosen.select(["doc_key", PROBABILITY]).to_pylist() == [{"doc_key": 11, PROBABILITY: 0.0}]


def test_judged_negatives_that_are_skipped_are_no_suspects() -> None:
    """Of 10 to 13, 11 is judged not to be relevant, and 12 has the text of the positive, too."""
    found = [
        {"query_key": 1, "doc_key": 10 + n, "score": 0.9 - n / 10, "rank": n, "positive_kind": 2 * int(n == 2)}
        for n in range(5)
    ]
    table = candidates(found).append_column("explicit_rank", pa.array([-1, 0, 1, -1, -1], pa.int32()))
    judged = positives([{"query_key": 1, "doc_key": 99, "score": 0.95}])
    selection = Select(SelectConfig(range_min=3), ["explicit"], judged=["explicit"])(table, judged)
    assert selection.counts["range_min"] == 3
    reasons = dict(zip(*(selection.suspected.column(name).to_pylist() for name in ("doc_key", "reason")), strict=True))
    assert reasons == {10: "range_min", 12: "positive_text", 13: "range_min"}
    selection = Select(SelectConfig(min_score=0.85), ["explicit"], judged=["explicit"])(table, judged)
    assert selection.counts["min_score"] == 3
