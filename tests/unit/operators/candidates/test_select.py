"""Select against a slow oracle that looks at one row at a time."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.candidates.config import SelectConfig
from operators.candidates.select import Select
from operators.schemas import CANDIDATES, NOT_POSITIVE, POSITIVE_DOCUMENT, POSITIVE_TEXT, POSITIVES, SELECTED
from tests.unit.operators.tables import Row, candidates, positives

# Scores are eighths between -1 and 1: exact in float32, with ties among themselves and with thresholds.
EIGHTHS = st.integers(-8, 8).map(lambda eighths: eighths / 8)
# Dropped because it is probably relevant, and for no other reason.
SUSPECTED = {
    "positive_text",
    "max_positive_similarity",
    "absolute_margin",
    "relative_margin",
    "max_score",
    "range_min",
}
FRACTIONS = st.integers(0, 8).map(lambda eighths: eighths / 8)


@dataclass(frozen=True)
class Query:
    found: list[Row]
    positives: list[Row]


@st.composite
def queries(draw: st.DrawFn, key: int) -> Query:
    count = draw(st.integers(0, 12))
    scores = sorted(draw(st.lists(EIGHTHS, min_size=count, max_size=count)), reverse=True)
    found = [
        {
            "query_key": key,
            "doc_key": 100 * key + place,
            "score": score,
            "rank": place,
            "positive_kind": draw(st.sampled_from([NOT_POSITIVE] * 4 + [POSITIVE_DOCUMENT, POSITIVE_TEXT])),
            "max_positive_similarity": draw(EIGHTHS),
            "mean_positive_similarity": draw(EIGHTHS),
        }
        for place, score in enumerate(scores)
    ]
    own = [row for row in found if row["positive_kind"] == POSITIVE_DOCUMENT]
    own += [{"doc_key": 100 * key + 50 + i, "score": draw(EIGHTHS)} for i in range(draw(st.integers(0, 2)))]
    return Query(found, [{"query_key": key, "doc_key": row["doc_key"], "score": row["score"]} for row in own])


@st.composite
def batches(draw: st.DrawFn) -> list[Query]:
    return [draw(queries(key)) for key in range(1, draw(st.integers(1, 4)) + 1)]


@st.composite
def configs(draw: st.DrawFn) -> SelectConfig:
    range_min = draw(st.integers(0, 5))
    window = draw(st.integers(1, 12))
    return SelectConfig(
        num_negatives=draw(st.integers(1, window)),
        range_min=range_min,
        range_max=range_min + window,
        sampling_strategy=draw(st.sampled_from(["top", "random"])),
        seed=draw(st.integers(0, 1000)),
        max_positive_similarity=draw(st.none() | EIGHTHS),
        absolute_margin=draw(st.none() | FRACTIONS),
        relative_margin=draw(st.none() | FRACTIONS),
        margin_positive=draw(st.sampled_from(["row", "lowest", "mean"])),
        max_score=draw(st.none() | EIGHTHS),
        min_score=draw(st.none() | EIGHTHS),
    )


def tables(batch: list[Query]) -> tuple[pa.Table, pa.Table]:
    return (
        candidates([row for query in batch for row in query.found]),
        positives([row for query in batch for row in query.positives]),
    )


def first_reason(candidate: Row, positive_score: float, config: SelectConfig) -> str | None:
    """Why a candidate is not fit for a row, by the documented meaning of each parameter."""
    score = candidate["score"]
    margin = config.relative_margin
    reasons = {
        "positive": candidate["positive_kind"] == POSITIVE_DOCUMENT,
        "positive_text": candidate["positive_kind"] == POSITIVE_TEXT,
        "max_positive_similarity": config.max_positive_similarity is not None
        and candidate["max_positive_similarity"] > config.max_positive_similarity,
        "absolute_margin": config.absolute_margin is not None and score + config.absolute_margin > positive_score,
        "relative_margin": margin is not None and score > positive_score - abs(positive_score) * margin,
        "max_score": config.max_score is not None and score > config.max_score,
        "min_score": config.min_score is not None and score < config.min_score,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


@dataclass(frozen=True)
class Expected:
    """What becomes of the candidates of one row: those in the window still stand to be drawn from."""

    row: Row
    dropped: list[tuple[Row, str]]
    window: list[Row]


def oracle(batch: list[Query], config: SelectConfig) -> list[Expected]:
    rows = []
    for query in batch:
        lowest = min((positive["score"] for positive in query.positives), default=0.0)
        for positive in query.positives:
            mean = float(np.float32(np.mean([one["score"] for one in query.positives])))
            against = {"row": positive["score"], "lowest": lowest, "mean": mean}[config.margin_positive]
            dropped, fit = [], []
            for candidate in query.found:
                reason = first_reason(candidate, against, config)
                if reason is None:
                    fit.append(candidate)
                else:
                    dropped.append((candidate, reason))
            dropped += [(candidate, "range_min") for candidate in fit[: config.range_min]]
            dropped += [(candidate, "range_max") for candidate in fit[config.range_max :]]
            rows.append(Expected(positive, dropped, fit[config.range_min : config.range_max]))
    return rows


def output(row: Row, candidate: Row, reason: str, draw: str | None = None, log_probability: float | None = None) -> Row:
    return {
        "query_key": row["query_key"],
        "positive_key": row["doc_key"],
        "positive_score": row["score"],
        **{name: candidate[name] for name in SELECTED.names if name in candidate and name != "query_key"},
        "false_negative_probability": None,
        "sources": ["search"],
        "draw": draw,
        "log_probability": log_probability,
        "reason": reason,
    }


def drawn_for(negatives: list[Row], row: Row) -> list[Row]:
    return [
        negative
        for negative in negatives
        if (negative["query_key"], negative["positive_key"]) == (row["query_key"], row["doc_key"])
    ]


@settings(derandomize=True, deadline=None, max_examples=400)
@given(batch=batches(), config=configs())
def test_every_row_gets_what_a_look_at_one_row_at_a_time_gives(batch: list[Query], config: SelectConfig) -> None:
    selection = Select(config)(*tables(batch))
    expected = oracle(batch, config)
    assert selection.negatives.schema == selection.suspected.schema == SELECTED

    negatives = selection.negatives.to_pylist()
    found = [(row, drawn_for(negatives, row.row)) for row in expected]
    assert negatives == [negative for _, drawn in found for negative in drawn]  # in the order of the rows
    for row, drawn in found:
        at_random = row.window and config.sampling_strategy == "random"
        log_probability = float(np.float32(-np.log(len(row.window)))) if at_random else None
        fit = [output(row.row, one, "negative", config.sampling_strategy, log_probability) for one in row.window]
        assert len(drawn) == min(config.num_negatives, len(fit))
        if config.sampling_strategy == "top":
            assert drawn == fit[: config.num_negatives]
        assert drawn == [candidate for candidate in fit if candidate in drawn]  # best first, each once

    suspected = [
        output(row.row, candidate, reason)
        for row in expected
        for candidate, reason in sorted(row.dropped, key=lambda one: one[0]["rank"])
        if reason in SUSPECTED
    ]
    assert selection.suspected.to_pylist() == suspected

    counts = Counter(reason for row in expected for _, reason in row.dropped)
    counts["negative"] = len(negatives)
    counts["not_drawn"] = sum(len(row.window) for row in expected) - len(negatives)
    assert {reason: count for reason, count in selection.counts.items() if count} == dict(+counts)
    assert sum(selection.counts.values()) == sum(len(query.found) * len(query.positives) for query in batch)
    assert selection.empty_rows == sum(not drawn for _, drawn in found)
    assert selection.short_rows == sum(0 < len(drawn) < config.num_negatives for _, drawn in found)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(batch=batches(), config=configs(), data=st.data())
def test_neither_the_order_of_the_queries_nor_other_queries_change_what_a_row_gets(
    batch: list[Query], config: SelectConfig, data: st.DataObject
) -> None:
    whole = Select(config)(*tables(batch)).negatives.to_pylist()
    some = data.draw(st.permutations(batch))[: data.draw(st.integers(1, len(batch)))]
    negatives = Select(config)(*tables(some)).negatives.to_pylist()
    rows = [row for query in some for row in query.positives]
    assert negatives == [negative for row in rows for negative in drawn_for(whole, row)]


def test_a_random_sample_does_not_change_with_the_batch_it_is_drawn_in() -> None:
    batch = [
        Query(
            [{"query_key": key, "doc_key": 100 * key + place, "score": -float(place)} for place in range(30)],
            [{"query_key": key, "doc_key": 100 * key + 50 + place, "score": 1.0} for place in range(2)],
        )
        for key in range(40)
    ]
    select = Select(SelectConfig(sampling_strategy="random", seed=5))
    whole = select(*tables(batch)).negatives.to_pylist()
    for some in (batch[::-1], batch[7:9], batch[39:]):
        negatives = select(*tables(some)).negatives.to_pylist()
        assert negatives == [one for query in some for row in query.positives for one in drawn_for(whole, row)]


def test_candidates_and_positives_need_not_come_in_the_same_order_of_queries() -> None:
    found = {key: {"query_key": key, "doc_key": 10 * key, "score": 0.5} for key in (1, 2, 3)}
    judged = {key: {"query_key": key, "doc_key": 10 * key + 1, "score": 0.75} for key in (1, 2, 3)}
    negatives = Select(SelectConfig())(
        candidates([found[key] for key in (2, 3, 1)]), positives([judged[key] for key in (3, 1, 2)])
    ).negatives
    assert negatives.column("query_key").to_pylist() == [3, 1, 2]
    assert negatives.column("doc_key").to_pylist() == [30, 10, 20]


def test_candidates_of_a_query_without_positives_are_left_out_and_disturb_no_other() -> None:
    found = [{"query_key": key, "doc_key": 10 * key, "score": 0.5} for key in (5, 1, 6, 2, 7)]
    judged = [{"query_key": key, "doc_key": 10 * key + 1, "score": 0.75} for key in (1, 2)]
    selection = Select(SelectConfig())(candidates(found), positives(judged))
    assert selection.negatives.column("doc_key").to_pylist() == [10, 20]
    assert sum(selection.counts.values()) == 2


def test_nothing_found_and_nothing_judged_give_empty_tables() -> None:
    one: Row = {"query_key": 1, "doc_key": 2, "score": 0.5}
    for judged in ([], [one]):
        selection = Select(SelectConfig(margin_positive="lowest"))(candidates([]), positives(judged))
        assert selection.negatives.num_rows == selection.suspected.num_rows == sum(selection.counts.values()) == 0
        assert (selection.short_rows, selection.empty_rows) == (0, len(judged))
    selection = Select(SelectConfig())(CANDIDATES.empty_table(), POSITIVES.empty_table())
    assert selection.negatives.schema == SELECTED


@pytest.mark.parametrize(
    ("positive_score", "kept"),
    [(0.5, [0.4375, 0.25, -0.25]), (-0.5, [-0.75]), (0.0, [0.0, -0.125])],
)
def test_the_relative_margin_is_a_fraction_of_the_magnitude(positive_score: float, kept: list[float]) -> None:
    """An eighth of 0.5 is 0.0625: the bar is 0.4375 below a positive of 0.5, and -0.5625 for one of -0.5."""
    scores = {0.5: [0.5, 0.4375, 0.25, -0.25], -0.5: [0.5, -0.5, -0.53125, -0.75], 0.0: [0.125, 0.0, -0.125]}
    found = [{"query_key": 1, "doc_key": place, "score": score} for place, score in enumerate(scores[positive_score])]
    judged = [{"query_key": 1, "doc_key": 99, "score": positive_score}]
    selection = Select(SelectConfig(relative_margin=0.125))(candidates(found), positives(judged))
    assert selection.negatives.column("score").to_pylist() == kept


def test_margins_are_taken_against_the_positive_of_the_row_or_the_lowest_of_the_query() -> None:
    found = [{"query_key": 1, "doc_key": place, "score": score} for place, score in enumerate([0.75, 0.5, 0.25])]
    judged = [{"query_key": 1, "doc_key": 90, "score": 0.75}, {"query_key": 1, "doc_key": 91, "score": 0.25}]
    drawn = {
        which: Select(SelectConfig(absolute_margin=0.125, margin_positive=which))(
            candidates(found), positives(judged)
        ).negatives.select(["positive_key", "doc_key"])
        for which in ("row", "lowest", "mean")
    }
    assert drawn["row"].to_pylist() == [{"positive_key": 90, "doc_key": 1}, {"positive_key": 90, "doc_key": 2}]
    assert drawn["lowest"].num_rows == 0
    assert drawn["mean"].column("doc_key").to_pylist() == [2, 2]  # 0.5 is the mean


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"num_negatives": 5, "range_min": 2, "range_max": 6}, r"num_negatives \(5\).*range_min is 4\. Lower"),
        ({"num_negatives": 1, "range_min": 6, "range_max": 6}, r"above range_min: .* top has 6 and 6\. Raise"),
        ({"num_negatives": 1, "range_min": 9, "range_max": 6}, r"above range_min: .* top has 6 and 9\. Raise"),
    ],
)
def test_a_window_too_small_for_the_negatives_is_refused_with_a_remedy(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SelectConfig(**wrong)
    SelectConfig(num_negatives=4, range_min=2, range_max=6)


def test_random_rows_of_one_query_draw_independently() -> None:
    found = [{"query_key": 1, "doc_key": place, "score": -float(place)} for place in range(60)]
    judged = [{"query_key": 1, "doc_key": 100 + i, "score": 1.0} for i in range(50)]
    config = SelectConfig(num_negatives=3, sampling_strategy="random")
    drawn = np.asarray(Select(config)(candidates(found), positives(judged)).negatives.column("doc_key")).reshape(50, 3)
    assert len(np.unique(drawn, axis=0)) > 45


@settings(derandomize=True, deadline=None, max_examples=200)
@given(batch=batches(), config=configs(), k=st.integers(1, 12))
def test_short_are_the_queries_that_lack_candidates_though_the_search_found_all_it_was_asked_for(
    batch: list[Query], config: SelectConfig, k: int
) -> None:
    needed = config.range_min + config.num_negatives if config.sampling_strategy == "top" else config.range_max
    everything = config.model_copy(update={"range_min": 0, "range_max": 1000})
    passing = {expected.row["doc_key"]: len(expected.window) for expected in oracle(batch, everything)}
    found = {
        query.found[0]["query_key"]: sum(row["positive_kind"] != POSITIVE_DOCUMENT for row in query.found)
        for query in batch
        if query.found
    }
    rows = [row for query in batch for row in query.positives]
    expected = {
        row["query_key"] for row in rows if passing[row["doc_key"]] < needed and found.get(row["query_key"], 0) >= k
    }
    assert set(Select(config).short_queries(*tables(batch), k).tolist()) == expected


@settings(derandomize=True, deadline=None, max_examples=500)
@given(batch=batches(), config=configs(), k=st.integers(1, 12))
def test_what_is_not_short_is_drawn_as_a_search_of_everything_would(
    batch: list[Query], config: SelectConfig, k: int
) -> None:
    shallow = [Query(found_by(query.found, k), query.positives) for query in batch]
    short = set(Select(config).short_queries(*tables(shallow), k).tolist())
    columns = ["query_key", "positive_key", "doc_key"]
    drawn, wanted = (
        [
            row
            for row in Select(config)(*tables(of)).negatives.select(columns).to_pylist()
            if row["query_key"] not in short
        ]
        for of in (shallow, batch)
    )
    assert drawn == wanted


def found_by(found: list[Row], k: int) -> list[Row]:
    """What a search for `k` documents that are no positives finds."""
    others = np.cumsum([row["positive_kind"] != POSITIVE_DOCUMENT for row in found])
    return [row for row, before in zip(found, [0, *others[:-1]], strict=True) if before < k] if found else []
