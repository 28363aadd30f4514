"""What a decision on a suspect is worth, against selections in which it is no suspect, and the order of the pairs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.candidates.config import SelectConfig
from operators.candidates.false_negatives.model import PROBABILITY
from operators.candidates.filter import Filter, Mask
from operators.candidates.pairs import Pairs
from operators.candidates.select import Select
from operators.candidates.suspects import OF_NEGATIVES, Suspects, best_first
from operators.schemas import PAIR, POSITIVE_TEXT, to_numpy
from tests.unit.operators.tables import candidates, positives

QUERIES, FOUND, NEGATIVES = 15, 20, 3
KEYS = pa.schema(dict.fromkeys(PAIR, pa.int64()))
SOURCE = "best"


class Flagged(Filter):
    """Drops what a column marks, in rows whose positive scores low."""

    reason = "flagged"
    suspected = True
    needs = ("flag", "score", "positive_score")

    def drops(self, pairs: Pairs) -> Mask:
        return np.asarray((pairs["flag"] > 0) & (pairs["score"] > pairs["positive_score"] - 0.3))


def found(seed: int) -> tuple[pa.Table, pa.Table]:
    """Queries with one to three positives, and candidates of which a third is marked; no two scores are the same."""
    random = np.random.default_rng(seed)
    score = np.sort(random.permutation(QUERIES * FOUND).reshape(QUERIES, FOUND) / (QUERIES * FOUND), axis=1)[:, ::-1]
    table = candidates(
        [
            {
                "query_key": query,
                "doc_key": 100 * query + int(key),
                "score": float(score[query, rank]),
                "rank": rank if random.random() < 0.9 else -1,
                "positive_kind": POSITIVE_TEXT if random.random() < 0.03 else 0,
                "max_positive_similarity": float(random.random()),
            }
            for query in range(QUERIES)
            for rank, key in enumerate(random.permutation(FOUND))
        ]
    )
    of_source = np.where(to_numpy(table, "rank") < 0, 7, np.where(random.random(len(table)) < 0.3, 0, -1))
    for name, values in (
        ("flag", (random.random(len(table)) < 0.35).astype(np.float32)),
        (f"{SOURCE}_rank", of_source.astype(np.int32)),
        (PROBABILITY, random.random(len(table)).astype(np.float32)),
    ):
        table = table.append_column(name, pa.array(values))
    judged = [
        {"query_key": query, "doc_key": 100 * query + 50 + number, "score": float(random.random())}
        for query in range(QUERIES)
        for number in range(1 + query % 3)
    ]
    return table, positives(judged)


def selected(table: pa.Table, judged: pa.Table, **settings: Any) -> tuple[pa.Table, pa.Table]:  # noqa: ANN401
    raw = {"num_negatives": NEGATIVES, "filters": [{"filter": f"{__name__}:Flagged"}], **settings}
    selection = Select(SelectConfig.model_validate(raw), [SOURCE])(table, judged)
    return selection.suspected, selection.negatives


def suspects_of(table: pa.Table, judged: pa.Table, **settings: Any) -> pa.Table:  # noqa: ANN401
    suspected, negatives = selected(table, judged, **settings)
    return Suspects(NEGATIVES, [SOURCE], ["flag"])(suspected, negatives.select(OF_NEGATIVES), KEYS.empty_table(), table)


def without(table: pa.Table, column: str) -> pa.Table:
    """The selection does not know it, then."""
    return table.drop_columns(column)


@pytest.mark.parametrize("seed", range(2))
def test_a_decision_counts_where_the_candidate_would_be_a_negative_were_it_not_dropped(seed: int) -> None:
    table, judged = found(seed)
    pairs = suspects_of(table, judged).to_pylist()
    by_key = {row["doc_key"]: (place, row) for place, row in enumerate(table.to_pylist())}
    of_changing = []
    for one in pairs:
        place, row = by_key[one["doc_key"]]
        flags = to_numpy(table, "flag").copy()
        flags[place] = 0
        free = table.set_column(table.column_names.index("flag"), "flag", pa.array(flags))
        changes = one["doc_key"] in selected(free, judged)[1].column("doc_key").to_pylist()
        p = float(row[PROBABILITY])
        of_positive = row["positive_kind"] == POSITIVE_TEXT
        assert one["value"] == pytest.approx(4 * p * (1 - p) if changes and not of_positive else 0, abs=1e-6)
        assert one["reasons"] == ["positive_text" if of_positive else "flagged"]
        of_changing.append(changes)
    assert len(pairs) > 50
    assert 0.1 < np.mean(of_changing) < 0.9


def test_a_short_row_takes_any_candidate_and_a_negative_of_another_row_may_be_lost() -> None:
    table, judged = found(0)
    suspected, negatives = selected(table, judged)
    negatives = negatives.select(OF_NEGATIVES)

    def worthless(num_negatives: int, chosen: pa.Table) -> set[int]:
        pairs = Suspects(num_negatives)(suspected, chosen, KEYS.empty_table(), suspected).to_pylist()
        return {one["doc_key"] for one in pairs if not one["value"] and one["reasons"] == ["flagged"]}

    lost = worthless(NEGATIVES, negatives)
    assert len(lost) > 1
    assert not worthless(NEGATIVES + 1, negatives)
    one = next(row for row in suspected.select(OF_NEGATIVES).to_pylist() if row["doc_key"] in lost)
    of_another = pa.Table.from_pylist([{**one, "positive_key": -1}], negatives.schema)
    assert worthless(NEGATIVES, pa.concat_tables([negatives, of_another])) == lost - {one["doc_key"]}


def test_without_a_probability_the_first_of_all_queries_come_first() -> None:
    table, judged = found(0)
    by_key = {row["doc_key"]: row for row in table.to_pylist()}
    pairs = best_first(suspects_of(without(table, PROBABILITY), judged), len(by_key)).to_pylist()
    depth = []
    for one in pairs:
        ranks = [
            rank for rank in (by_key[one["doc_key"]]["rank"], by_key[one["doc_key"]][f"{SOURCE}_rank"]) if rank >= 0
        ]
        assert not one["value"] or one["value"] == pytest.approx(1 / (1 + min(ranks)))
        assert one["false_negative_probability"] is None
        depth += [min(ranks)] if one["value"] else []
    assert depth == sorted(depth)
    assert depth[-1] > depth[0]


def test_ranks_sources_and_signals_are_those_of_the_candidates() -> None:
    table, judged = found(1)
    by_key = {row["doc_key"]: row for row in table.to_pylist()}
    for one in suspects_of(table, judged).to_pylist():
        row = by_key[one["doc_key"]]
        ranks = {"search": row["rank"], SOURCE: row[f"{SOURCE}_rank"]}
        assert [one["rank"], one[f"{SOURCE}_rank"]] == [rank if rank >= 0 else None for rank in ranks.values()]
        assert one["sources"] == [source for source, rank in ranks.items() if rank >= 0]
        assert one["signal_flag"] == row["flag"]
        assert one["max_positive_similarity"] == row["max_positive_similarity"]
        assert one["score"] == row["score"]


def test_a_pair_has_the_reasons_of_all_its_rows_and_what_is_judged_is_left_out() -> None:
    table, judged = found(2)
    margin = {"absolute_margin": 0.1}
    suspected, negatives = selected(table, judged, **margin)
    reasons: dict[tuple[int, int], set[str]] = {}
    for row in suspected.to_pylist():
        reasons.setdefault((row["query_key"], row["doc_key"]), set()).add(row["reason"])
    known = dict(list(reasons.items())[::5])
    judgements = pa.Table.from_pylist([dict(zip(PAIR, pair, strict=True)) for pair in known], KEYS)
    pairs = Suspects(NEGATIVES)(suspected, negatives, judgements, suspected).to_pylist()
    found_reasons = {(one["query_key"], one["doc_key"]): one["reasons"] for one in pairs}
    assert found_reasons == {pair: sorted(of) for pair, of in reasons.items() if pair not in known}
    assert len(pairs) == len(found_reasons)
    assert {"absolute_margin", "flagged"} in reasons.values()


def test_where_nothing_is_suspected_the_columns_are_there() -> None:
    table, judged = found(0)
    some = suspects_of(table, judged)
    flags = pa.array(np.zeros(len(table), np.float32))
    none = table.set_column(table.column_names.index("flag"), "flag", flags)
    none = none.filter(pa.array(to_numpy(none, "positive_kind") == 0))
    pairs = suspects_of(none, judged)
    assert pairs.num_rows == 0
    assert pairs.schema == some.schema
    assert best_first(pairs, 5).schema == some.schema


@st.composite
def worth(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Pairs with few different values, so that many are equal."""
    keys = draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20)), unique=True, max_size=40))
    values = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    return [
        {"query_key": query, "doc_key": doc, "value": draw(values), "depth": draw(st.integers(0, 2))}
        for query, doc in keys
    ]


def in_order(row: Mapping[str, Any]) -> tuple[float, int, int, int]:
    return -row["value"], row["depth"], row["query_key"], row["doc_key"]


@settings(max_examples=200, deadline=None)
@given(rows=worth(), limit=st.integers(0, 45), seed=st.integers(0, 1000))
def test_the_first_of_any_parts_are_the_first_of_all(rows: list[dict[str, Any]], limit: int, seed: int) -> None:
    schema = pa.schema([*KEYS, ("value", pa.float32()), ("depth", pa.int64())])
    random = np.random.default_rng(seed)
    parts: list[list[dict[str, Any]]] = [[] for _ in range(int(random.integers(1, 6)))]
    for row in rows:
        parts[int(random.integers(len(parts)))].append(row)
    tables = [best_first(pa.Table.from_pylist(part, schema), limit) for part in parts]
    while len(tables) > 1:  # two at a time, in any order
        one, other = (tables.pop(int(random.integers(len(tables)))) for _ in range(2))
        tables.append(best_first(pa.concat_tables([one, other]), limit))
    assert tables[0].to_pylist() == sorted(rows, key=in_order)[:limit]
