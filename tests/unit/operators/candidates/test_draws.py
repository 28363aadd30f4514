"""Draws are valid, uniform where they say so, and decided by what they are for; your own join by their name."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.candidates.config import SelectConfig
from operators.candidates.draw import Draw, Mask, Priority
from operators.candidates.drawing import highest
from operators.candidates.filter import Filter
from operators.candidates.pairs import Pairs, pairs_of
from operators.candidates.select import Select
from tests.unit.operators.tables import candidates, positives, priority_of

Ints = npt.NDArray[np.int64]


class LowestScored(Draw):
    """A draw of a user: the lowest scores first, above a floor."""

    needs = ("score",)
    floor: float = -1.0

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        score = pairs["score"].astype(np.float64)
        return np.where(score >= self.floor, -score, -np.inf)


class TooLong(Filter):
    """A filter of a user, on a signal that a stage of theirs computes."""

    reason = "too_long"
    needs = ("length",)
    longest: int

    def drops(self, pairs: Pairs) -> Mask:
        return np.asarray(pairs["length"] > self.longest)


HERE = "tests.unit.operators.candidates.test_draws"


def keys_of(lengths: list[int], seed: int = 0) -> tuple[Ints, Ints, Ints, Ints]:
    """Rows of these lengths, with the keys of query, positive and document for each candidate."""
    rng = np.random.default_rng(seed)
    row = np.repeat(np.arange(len(lengths)), lengths)
    keys = rng.integers(0, 2**63 - 1, (2, len(lengths)))
    return row, keys[0][row], keys[1][row], rng.integers(0, 2**63 - 1, len(row))


def drawn(strategy: str, keys: tuple[Ints, Ints, Ints, Ints], seed: int, count: int) -> npt.NDArray[np.bool_]:
    """Draw from pairs with these keys, all with the same score."""
    row, query, positive, document = keys
    (draw,) = SelectConfig.model_validate(
        {"sampling_strategy": strategy, "num_negatives": count, "seed": seed}
    ).active_draws()
    table = pa.table({"query_key": query, "doc_key": document})
    pairs = Pairs(row, np.arange(len(row)), table, pa.table({"doc_key": positive}), np.zeros(0, np.float32))
    pairs._signals["positive_key"] = positive  # of each pair
    return highest(row, priority_of(draw, pairs), count)


def test_every_candidate_is_drawn_equally_often() -> None:
    """Chi-square over the 20 places of a window, for 20,000 rows of 5 draws: 99.9 % of fair draws are below 43.8."""
    rows, window, count = 20_000, 20, 5
    times = drawn("random", keys_of([window] * rows), 1, count).reshape(rows, window).sum(axis=0)
    expected = rows * count / window
    # Draws without repetition: their variance is smaller than that of independent ones by this factor.
    spread = (1 - count / window) * window / (window - 1)
    assert times.sum() == rows * count
    assert ((times - expected) ** 2 / expected).sum() / spread < 43.8


def test_every_pair_of_candidates_is_drawn_equally_often() -> None:
    """The 10 pairs of 5 candidates, chi-square with 9 degrees of freedom: 99.9 % are below 27.9."""
    masks = drawn("random", keys_of([5] * 20_000), 2, 2).reshape(-1, 5)
    _, times = np.unique(masks, axis=0, return_counts=True)
    assert len(times) == 10
    assert ((times - 2000) ** 2 / 2000).sum() < 27.9


def test_documents_with_keys_in_sequence_are_drawn_as_evenly() -> None:
    """Keys that differ in their last bits only: 99.9 % of fair draws of one in 16 are below 37.7."""
    query, document = (side.ravel() for side in np.meshgrid(np.arange(16_000), np.arange(16), indexing="ij"))
    times = np.bincount(document[drawn("random", (query, query, query, document), 0, 1)], minlength=16)
    assert ((times - 1000) ** 2 / 1000).sum() < 37.7


@pytest.mark.parametrize("strategy", ["top", "random"])
def test_a_row_gets_as_many_as_asked_or_all_it_has(strategy: str) -> None:
    keys = keys_of([0, 1, 3, 4, 5, 40])
    assert np.bincount(keys[0][drawn(strategy, keys, 7, 4)], minlength=6).tolist() == [0, 1, 3, 4, 4, 4]


def test_top_takes_the_first_of_each_row() -> None:
    assert drawn("top", keys_of([2, 5]), 0, 3).tolist() == [True, True, True, True, True, False, False]


def test_another_seed_query_or_positive_gives_another_sample() -> None:
    row, query, positive, document = keys_of([200])
    masks = [
        drawn("random", (row, query, positive, document), 0, 20),
        drawn("random", (row, query, positive, document), 1, 20),
        drawn("random", (row, query + 1, positive, document), 0, 20),
        drawn("random", (row, query, positive + 1, document), 0, 20),
        drawn("random", (row, positive, query, document), 0, 20),
    ]
    assert len({tuple(np.flatnonzero(mask)) for mask in masks}) == len(masks)


def test_a_sample_moves_with_its_documents() -> None:
    row, query, positive, document = keys_of([50])
    mask = drawn("random", (row, query, positive, document), 3, 10)
    order = np.random.default_rng(0).permutation(50)
    moved = drawn("random", (row, query, positive, document[order]), 3, 10)
    assert set(document[mask]) == set(document[order][moved])


@settings(derandomize=True, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 6), max_size=5),
    count=st.integers(1, 4),
    data=st.data(),
)
def test_the_highest_of_each_row_are_those_of_a_sorted_list(
    lengths: list[int], count: int, data: st.DataObject
) -> None:
    row = np.repeat(np.arange(len(lengths)), lengths)
    values = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0])
    priority = np.array(data.draw(st.lists(values, min_size=len(row), max_size=len(row))), dtype=np.float64)
    expected = np.zeros(len(row), dtype=np.bool_)
    for number in range(len(lengths)):
        of_row = [at for at in range(len(row)) if row[at] == number and priority[at] > -np.inf]
        expected[sorted(of_row, key=lambda at: -priority[at])[:count]] = True
    assert highest(row, priority, count).tolist() == expected.tolist()


FOUND = [{"query_key": 1, "doc_key": 10 + place, "score": 0.9 - place / 10, "rank": place} for place in range(8)]
ROWS = [{"query_key": 1, "doc_key": 99, "score": 1.0}]


def selected(**settings: Any) -> dict[int, str]:  # noqa: ANN401
    """Which documents are chosen, and by which draw."""
    selection = Select(SelectConfig.model_validate(settings))(candidates(FOUND), positives(ROWS))
    return {row["doc_key"]: row["draw"] for row in selection.negatives.to_pylist()}


def test_draws_come_one_after_the_other_and_take_nothing_twice() -> None:
    both = [{"strategy": "top", "num_negatives": 2}, {"strategy": "random", "num_negatives": 3, "seed": 4}]
    chosen = selected(draws=both)
    assert [doc for doc, draw in chosen.items() if draw == "top"] == [10, 11]
    assert [draw for draw in chosen.values()].count("random") == 3
    assert selected(draws=[both[1]]) == selected(num_negatives=3, sampling_strategy="random", seed=4)
    assert (
        len(selected(draws=[{"strategy": "random", "num_negatives": 8}, {"strategy": "top", "num_negatives": 4}])) == 8
    )


def test_the_window_is_that_of_all_draws() -> None:
    draws = [{"strategy": "random", "num_negatives": 2}, {"strategy": "top", "num_negatives": 2}]
    assert set(selected(draws=draws, range_min=3, range_max=7)) == {13, 14, 15, 16}
    config = SelectConfig.model_validate({"draws": draws, "range_max": 50})
    assert (config.negatives_per_row, config.needed) == (4, 50)
    assert SelectConfig.model_validate({"draws": draws[1:], "range_min": 3}).needed == 5


def test_a_draw_has_a_window_of_its_own_where_it_names_one() -> None:
    """Tiers of difficulty: one of the best two, one of the next three, one of the rest."""
    tiers = [
        {"strategy": "random", "num_negatives": 1, "range_max": 2},
        {"strategy": "random", "num_negatives": 1, "range_min": 2, "range_max": 5},
        {"strategy": "random", "num_negatives": 1, "range_min": 5},
    ]
    chosen = selected(draws=tiers)
    assert [draw for draw in chosen.values()] == ["random (1)", "random (2)", "random (3)"]
    first, second, third = chosen
    assert first in {10, 11}
    assert second in {12, 13, 14}
    assert third in {15, 16, 17}
    config = SelectConfig.model_validate({"draws": tiers, "range_max": 50})
    assert (config.deepest, config.needed) == (50, 50)
    top = [{"strategy": "top", "num_negatives": 1, "range_max": 2}, {"strategy": "top", "num_negatives": 2}]
    assert SelectConfig.model_validate({"draws": top}).needed == 3


def test_a_rule_does_not_decide_how_deep_the_search_goes() -> None:
    draws: list[dict[str, Any]] = [
        {"strategy": "top", "num_negatives": 2, "range_min": 3},
        {"strategy": "random", "num_negatives": 1, "range_max": 20},
    ]
    for some in (draws, draws[:1]):
        plain = SelectConfig.model_validate({"draws": some})
        ruled = SelectConfig.model_validate({"draws": [{**one, "where": "year < 5"} for one in some]})
        assert (ruled.needed, ruled.deepest) == (plain.needed, plain.deepest)
        assert (ruled.rules, plain.rules) == ({"year < 5": "select.draws.0.where"}, {})


def test_what_a_draw_leaves_short_is_filled_and_the_tier_is_named() -> None:
    """Two score within 0.25 below the positive of 1.0; the last two of four come from what is left."""
    draws = [
        {"strategy": "semi_hard", "margin": 0.25, "num_negatives": 4},
        {"strategy": "top", "num_negatives": 3, "range_min": 4, "fill": True},
    ]
    assert selected(draws=draws) == {10: "semi_hard", 11: "semi_hard", 14: "top", 15: "top"}
    assert selected(draws=[{**draws[0], "num_negatives": 2}, draws[1]]) == {10: "semi_hard", 11: "semi_hard"}
    assert SelectConfig.model_validate({"draws": draws}).negatives_per_row == 4
    assert len(selected(draws=[{**draws[0], "margin": 0.01}, {**draws[1], "num_negatives": 1}])) == 1
    many = [draws[0], {**draws[1], "num_negatives": 1}, {"strategy": "random", "num_negatives": 9, "fill": True}]
    assert list(selected(draws=many).values()).count("random") == 1


def test_a_draw_of_the_user_chooses_and_is_named() -> None:
    own = {"strategy": f"{HERE}:LowestScored", "num_negatives": 2, "floor": 0.35}
    assert selected(draws=[own]) == {14: own["strategy"], 15: own["strategy"]}
    config = SelectConfig.model_validate({"draws": [own]})
    assert SelectConfig.model_validate(config.model_dump()) == config, "it is saved with the run"
    assert set(config.code()) == {own["strategy"]}
    assert not SelectConfig().code()


def test_a_filter_of_the_user_drops_under_its_reason_and_names_its_signal() -> None:
    config = SelectConfig.model_validate({"filters": [{"filter": f"{HERE}:TooLong", "longest": 4}]})
    table = candidates(FOUND).append_column("length", pa.array(range(len(FOUND))))
    selection = Select(config)(table, positives(ROWS))
    assert selection.counts["too_long"] == 3
    assert {"length", "score"} > config.signals - {"positive_kind"}
    assert sum(selection.counts.values()) == len(FOUND)


def test_two_filters_of_one_reason_are_counted_together() -> None:
    config = SelectConfig.model_validate({"max_score": 0.85, "filters": [{"filter": "max_score", "limit": 0.75}]})
    selection = Select(config)(candidates(FOUND), positives(ROWS))
    assert selection.counts["max_score"] == 2
    assert sum(selection.counts.values()) == len(FOUND)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sampling_strategy": "tpo"}, "Did you mean 'top'"),
        ({"draws": [{"strategy": "no.such:Draw"}]}, "cannot be imported"),
        (
            {"draws": [{"strategy": f"{HERE}:TooLong"}]},
            "a class that derives from operators.candidates.draw.Draw is wanted, and it is",
        ),
        ({"draws": [{"strategy": "top", "temperature": 1}]}, "temperature"),
        ({"draws": [{"num_negatives": 1}]}, "names a draw"),
        ({"draws": [{"strategy": "top"}], "num_negatives": 2}, "short form"),
        ({"draws": [{"strategy": "top", "num_negatives": 60}] * 2}, "larger than the candidate window"),
        ({"draws": [{"strategy": "top", "fill": True}]}, "the first draw fills"),
        ({"draws": [{"strategy": "top", "range_min": 8, "range_max": 9}]}, "range_min is 1"),
        (
            {"draws": [{"strategy": "top"}, {"strategy": "random", "fill": True, "range_min": 5, "range_max": 5}]},
            r"range_max must be above range_min: the draw random has 5 and 5\.",
        ),
        ({"draws": [{"strategy": "top", "range_min": 200}]}, "above range_min: the draw top has 100 and 200"),
        ({"filters": [{"filter": "max_score"}]}, "limit"),
        ({"filters": ["draws"]}, "there is no filter"),
    ],
)
def test_wrong_draws_and_filters_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SelectConfig.model_validate(wrong)


def test_pairs_know_the_numbers_of_both_sides() -> None:
    rows = [{"query_key": 1, "doc_key": 98, "score": 0.5}, {"query_key": 1, "doc_key": 99, "score": 1.0}]
    pairs = pairs_of(candidates(FOUND[:2]), positives(rows))
    assert pairs["doc_key"].tolist() == [10, 11, 10, 11]
    assert pairs["positive_key"].tolist() == [98, 98, 99, 99]
    assert pairs["positive_score"].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert pairs_of(candidates(FOUND[:2]), positives(rows), "lowest")["positive_score"].tolist() == [0.5] * 4
    assert pairs_of(candidates(FOUND[:2]), positives(rows), "mean")["positive_score"].tolist() == [0.75] * 4
    assert pairs.take(np.array([1, 2]))["doc_key"].tolist() == [11, 10]


def test_a_query_with_many_positives_has_no_more_rows_than_it_may() -> None:
    many = [{"query_key": 1, "doc_key": 900 + i, "score": 1.0 - i / 100} for i in range(40)]
    few = [{"query_key": 2, "doc_key": 950, "score": 0.9}, {"query_key": 2, "doc_key": 951, "score": 0.2}]
    found = [*FOUND, *({**one, "query_key": 2} for one in FOUND)]
    chosen = {}
    for which in ("row", "lowest"):
        config = SelectConfig(num_negatives=1, max_rows_per_query=3, margin_positive=which, absolute_margin=0.15)
        selection = Select(config)(candidates(found), positives([*many, *few]))
        rows = selection.negatives.to_pylist()
        assert selection.rows == 5
        assert sum(selection.counts.values()) == 5 * len(FOUND)
        chosen[which] = {row["positive_key"]: row["doc_key"] for row in rows}
        assert len([key for key in chosen[which] if key < 950]) == 3
        again = Select(config)(candidates(found), positives([*few, *many[::-1]])).negatives.to_pylist()
        assert {row["positive_key"]: row["doc_key"] for row in again} == chosen[which]
    of_first = {key: doc for key, doc in chosen["lowest"].items() if key < 950}
    assert set(of_first.values()) == {15}, "0.61 is the lowest of all 40, whichever rows are kept"
