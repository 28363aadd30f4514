"""Draws with sources, rules, windows, fills and a cap, replayed one row at a time over plain lists.

What the draws took is known by the name that each negative carries, so the replay asks of every draw in turn: did it
take only what it might, and as many as it should?
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.candidates.config import SelectConfig
from operators.candidates.rule import rule_column
from operators.candidates.select import Select, Selection
from tests.unit.operators.candidates.test_matching import match, row_key
from tests.unit.operators.tables import candidates, positives

Row = dict[str, Any]
SOURCES = ("search", "lexical", "own")
RULES = ("a == 1", "b == query.b")
EIGHTHS = st.integers(-4, 8).map(lambda eighths: eighths / 8)


@dataclass(frozen=True)
class Case:
    """Candidates with what is known of them beside their columns, and rows."""

    found: list[Row]
    rows: list[Row]

    def tables(self) -> tuple[pa.Table, pa.Table]:
        plain = [{name: value for name, value in one.items() if name not in {"sources", "met"}} for one in self.found]
        table = candidates(
            [{**one, "rank": 0 if "search" in self.found[i]["sources"] else -1} for i, one in enumerate(plain)]
        )
        for source in SOURCES[1:]:
            ranks = [0 if source in one["sources"] else -1 for one in self.found]
            table = table.append_column(f"{source}_rank", pa.array(ranks, pa.int32()))
        for rule in RULES:
            met = [float(rule in one["met"]) for one in self.found]
            table = table.append_column(rule_column(rule), pa.array(met, pa.float32()))
        return table, positives(self.rows)

    def of(self, row: Row) -> list[Row]:
        return [one for one in self.found if one["query_key"] == row["query_key"]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    found, rows = [], []
    for query in range(1, draw(st.integers(1, 3)) + 1):
        documents = draw(st.lists(st.integers(10, 24), unique=True, max_size=12))
        some: list[Row] = [
            {
                "query_key": query,
                "doc_key": document,
                "score": draw(EIGHTHS),
                "positive_kind": draw(st.sampled_from([0] * 7 + [1, 2])),
                "sources": draw(st.sets(st.sampled_from(SOURCES), min_size=1)),
                "met": draw(st.sets(st.sampled_from(RULES))),
            }
            for document in documents
        ]
        found += sorted(some, key=lambda one: (-one["score"], one["doc_key"]))
        rows += [
            {"query_key": query, "doc_key": 90 + i, "score": draw(EIGHTHS)} for i in range(draw(st.integers(1, 2)))
        ]
    return Case(found, rows)


@st.composite
def configs(draw: st.DrawFn) -> SelectConfig:
    draws = []
    for number in range(draw(st.integers(1, 4))):
        first, size = draw(st.integers(0, 2)), draw(st.integers(1, 8))
        one: Row = {
            "strategy": draw(st.sampled_from(["top", "random", "stratified", "semi_hard"])),
            "num_negatives": draw(st.integers(1, min(size, 3))),
            "source": draw(st.sampled_from([None, *SOURCES])),
            "where": draw(st.sampled_from([None, *RULES])),
            "range_min": first,
            "range_max": first + size,
            "fill": number > 0 and draw(st.booleans()),
        }
        draws.append({**one, "margin": 0.5} if one["strategy"] == "semi_hard" else one)
    try:
        return SelectConfig.model_validate(
            {
                "draws": draws,
                "absolute_margin": draw(st.none() | st.just(0.125)),
                "max_score": draw(st.none() | EIGHTHS),
                "max_rows_per_document": draw(st.none() | st.integers(1, 2)),
            }
        )
    except ValidationError:  # two draws of one window want more than it holds
        assume(False)
        raise


def reason_of(one: Row, row: Row, config: SelectConfig) -> str | None:
    """The filter that a candidate fails first for a row."""
    failed = {
        "positive": one["positive_kind"] == 1,
        "positive_text": one["positive_kind"] == 2,
        "absolute_margin": config.absolute_margin is not None and one["score"] > row["score"] - config.absolute_margin,
        "max_score": config.max_score is not None and one["score"] > config.max_score,
    }
    return next((reason for reason, holds in failed.items() if holds), None)


def is_away(one: Row, row: Row, cutoffs: dict[int, tuple[float, int]]) -> bool:
    """Whether a full document keeps other rows."""
    mine = (-one["score"], row_key((row["query_key"], row["doc_key"])))
    return one["doc_key"] in cutoffs and mine > cutoffs[one["doc_key"]]


def counts_in(one: Row, draw: Any) -> str | None:  # noqa: ANN401
    """Why a draw does not count a candidate."""
    if draw.source is not None and draw.source not in one["sources"]:
        return "not_drawn"
    return "where" if draw.where is not None and draw.where not in one["met"] else None


def replayed(
    case: Case, row: Row, select: Select, taken: list[Row], cutoffs: dict[int, tuple[float, int]]
) -> tuple[Counter[str], list[tuple[int, int, int]]]:
    """Check what one row took; return what became of its candidates, and the share of each draw."""
    config, totals = select.config, Counter[str]()
    by_key = {one["doc_key"]: one for one in case.of(row)}
    chosen = {one["doc_key"]: one["draw"] for one in taken}
    assert len(chosen) == len(taken), "a candidate is taken once"
    reasons = {one["doc_key"]: reason_of(one, row, config) for one in case.of(row)}
    assert not [key for key in chosen if reasons[key]], "nothing that failed a filter"
    fit = [one for one in case.of(row) if reasons[one["doc_key"]] is None]
    gone, missing, places = set[int](), 0, defaultdict[int, list[str]](list)
    shares = []
    for draw, label in zip(select.draws, select.labels, strict=True):
        counted = [one["doc_key"] for one in fit if counts_in(one, draw) is None]
        window = counted[draw.range_min : draw.range_max]
        available = [key for key in window if key not in gone and not is_away(by_key[key], row, cutoffs)]
        if draw.strategy == "semi_hard":
            below = {key: row["score"] - by_key[key]["score"] for key in available}
            available = [key for key in available if 0 < below[key] < 0.5]
        wanted = min(missing, draw.num_negatives) if draw.fill else draw.num_negatives
        own = [key for key in by_key if chosen.get(key) == label]
        assert set(own) <= set(available), "a draw takes from its window"
        assert len(own) == min(wanted, len(available)), "as many as it wants, or all there are"
        if draw.strategy in {"top", "semi_hard"}:
            assert own == available[:wanted]
        shares.append((wanted, len(own), int(len(own) < wanted)))
        gone |= set(own)
        missing += -len(own) if draw.fill else wanted - len(own)
        for one in fit:
            key = one["doc_key"]
            place = "inside" if key in window else "range_min" if key in counted[: draw.range_min] else "range_max"
            places[key].append(place if key in counted else str(counts_in(one, draw)))
    assert gone == set(chosen), "every negative has the name of a draw that took it"
    for one in fit:
        key = one["doc_key"]
        said = [place for place in places[key] if place in {"range_min", "range_max"}]
        if key in chosen:
            totals["negative"] += 1
        elif "inside" in places[key]:
            totals["max_rows_per_document" if is_away(one, row, cutoffs) else "not_drawn"] += 1
        else:
            totals[said[0] if said else "where" if "where" in places[key] else "not_drawn"] += 1
    return totals + Counter(reason for reason in reasons.values() if reason is not None), shares


def rows_of(selection: Selection) -> dict[tuple[int, int], list[Row]]:
    rows = defaultdict(list)
    for one in selection.negatives.to_pylist():
        rows[one["query_key"], one["positive_key"]].append(one)
    return rows


@settings(derandomize=True, deadline=None, max_examples=250)
@given(case=cases(), config=configs())
def test_every_draw_takes_from_its_own_tier_what_is_missing_and_is_named(case: Case, config: SelectConfig) -> None:
    select, tables, most = Select(config, SOURCES[1:]), case.tables(), config.max_rows_per_document
    cutoffs = None if most is None else match(select, [tables], most)
    worst = {} if cutoffs is None else {one["doc_key"]: (-one["score"], one["row_key"]) for one in cutoffs.to_pylist()}
    selection = select(*tables, cutoffs)
    taken = rows_of(selection)
    rows = [replayed(case, row, select, taken.get((row["query_key"], row["doc_key"]), []), worst) for row in case.rows]
    totals = sum((of_row for of_row, _ in rows), Counter[str]())
    shares = [tuple(map(sum, zip(*of_draw, strict=True))) for of_draw in zip(*(one for _, one in rows), strict=True)]
    assert [(one.wanted, one.taken, one.short_rows) for one in selection.draws] == shares
    assert {reason: count for reason, count in selection.counts.items() if count} == dict(totals)

    wanted = sum(draw.num_negatives for draw in config.draws if not draw.fill)
    lengths = [len(taken.get((row["query_key"], row["doc_key"]), [])) for row in case.rows]
    assert max(lengths) <= wanted
    assert selection.empty_rows == lengths.count(0)
    assert selection.short_rows == sum(0 < length < wanted for length in lengths)
    uses = Counter(one["doc_key"] for of_row in taken.values() for one in of_row)
    assert most is None or all(count <= most for count in uses.values())


@settings(derandomize=True, deadline=None, max_examples=60)
@given(case=cases(), config=configs())
def test_with_short_rows_dropped_the_others_are_what_they_were(case: Case, config: SelectConfig) -> None:
    tables, most = case.tables(), config.max_rows_per_document
    keep, drop = (Select(config.model_copy(update={"short_rows": kept}), SOURCES[1:]) for kept in ("keep", "drop"))
    # The matching is that of all rows.
    matched = [None if most is None else match(select, [tables], most) for select in (keep, drop)]
    assert matched[0] == matched[1]
    before, after = keep(*tables, matched[0]), drop(*tables, matched[1])
    wanted = config.negatives_per_row
    assert rows_of(after) == {row: some for row, some in rows_of(before).items() if len(some) == wanted}
    gone = sum(len(some) for some in rows_of(before).values() if len(some) < wanted)
    assert (after.short_rows, after.empty_rows) == (0, before.empty_rows + before.short_rows)
    assert (after.given_back, before.given_back) == (before.short_rows, 0)
    counts = {**before.counts, "negative": before.counts["negative"] - gone, "short_row": gone}
    assert after.counts == counts
    assert after.suspected.equals(before.suspected)
    assert after.draws == before.draws
