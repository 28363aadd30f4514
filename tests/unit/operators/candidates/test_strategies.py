"""Each draw takes what its formula says: against closed forms, and by chi-square where it draws at random."""

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError
from scipy import stats

from operators.candidates.config import SelectConfig
from operators.candidates.draw import Draw
from operators.candidates.drawing import highest
from operators.candidates.pairs import Pairs, with_vectors
from operators.candidates.select import Select
from operators.candidates.weighted import WeightedDraw
from operators.schemas import vectors_column
from tests.unit.operators.tables import candidates, positives, priority_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SCORES = np.array([0.9, 0.8, 0.75, 0.5, 0.4, 0.1], dtype=np.float32)
POSITIVE = 0.7
DIMENSION = 8
SURE = 0.999  # of fair draws so many pass
WEIGHTED: list[dict[str, Any]] = [
    {"strategy": "softmax", "temperature": 0.3},
    {"strategy": "simans", "a": 8.0, "b": 0.05},
    {"strategy": "distance_weighted"},
    {"strategy": "random"},
]
ALL: list[dict[str, Any]] = [
    *WEIGHTED,
    {"strategy": "top"},
    {"strategy": "semi_hard", "margin": 0.4},
    {"strategy": "stratified", "bins": 3},
    {"strategy": "disagreement", "sources": ["search", "lexical"]},
    {"strategy": "diverse", "trade_off": 0.4},
]


def draw_of(settings: dict[str, Any]) -> Draw:
    (draw,) = SelectConfig.model_validate({"draws": [settings]}).active_draws()
    return draw


def rows_of(scores: npt.NDArray[np.float32], rows: int, seed: int = 0) -> Pairs:
    """So many rows with the same scores, each of a query, a positive and documents of its own."""
    rng, count = np.random.default_rng(seed), len(scores)
    row = np.repeat(np.arange(rows), count)
    table = pa.table(
        {
            "query_key": rng.integers(1 << 62, size=rows)[row],
            "doc_key": rng.integers(1 << 62, size=rows * count),
            "score": np.tile(scores, rows),
        }
    )
    judged = pa.table({"doc_key": rng.integers(1 << 62, size=rows)})
    return Pairs(row, np.arange(len(row)), table, judged, np.full(rows, POSITIVE, np.float32), DIMENSION)


def log_probability(draw: Draw, pairs: Pairs, free: npt.NDArray[np.bool_] | None = None) -> Floats:
    """That of each pair, all of them free where nothing is said."""
    given = draw.log_probability(pairs, np.ones(len(pairs), dtype=np.bool_) if free is None else free)
    assert given is not None
    return given


def weights(strategy: str) -> Floats:
    """The weight of each score, by the formula of the paper."""
    score = SCORES.astype(np.float64)
    if strategy == "softmax":
        return np.exp(score / 0.3)
    if strategy == "simans":
        return np.exp(-8.0 * (score - POSITIVE - 0.05) ** 2)
    if strategy == "distance_weighted":
        distance = np.maximum(np.sqrt(2 - 2 * score), 0.5)
        density = distance ** (DIMENSION - 2) * (1 - distance**2 / 4) ** ((DIMENSION - 3) / 2)
        return np.where(distance <= 1.4, 1 / density, 0.0)
    return np.ones(len(score))


@pytest.mark.parametrize("settings", WEIGHTED, ids=lambda one: one["strategy"])
def test_the_first_is_taken_in_proportion_to_its_weight(settings: dict[str, Any]) -> None:
    rows, draw = 40_000, draw_of(settings)
    pairs = rows_of(SCORES, rows)
    first = highest(pairs.row, priority_of(draw, pairs), 1).reshape(rows, -1).sum(axis=0)
    share = weights(settings["strategy"]) / weights(settings["strategy"]).sum()
    expected = share[share > 0] * rows
    assert first[share == 0].sum() == 0
    assert ((first[share > 0] - expected) ** 2 / expected).sum() < stats.chi2.ppf(SURE, len(expected) - 1)
    assert np.exp(log_probability(draw, pairs)).reshape(rows, -1) == pytest.approx(np.tile(share, (rows, 1)), rel=1e-5)


@pytest.mark.parametrize("settings", WEIGHTED, ids=lambda one: one["strategy"])
def test_two_are_taken_as_if_one_came_after_the_other(settings: dict[str, Any]) -> None:
    """The probability of each pair: of drawing one and then the other, in either order, without putting back."""
    rows = 60_000
    pairs = rows_of(SCORES, rows, seed=1)
    taken = highest(pairs.row, priority_of(draw_of(settings), pairs), 2).reshape(rows, -1)
    share = weights(settings["strategy"]) / weights(settings["strategy"]).sum()
    both = list(itertools.combinations(np.flatnonzero(share > 0), 2))
    expected = rows * np.array([share[i] * share[j] * (1 / (1 - share[i]) + 1 / (1 - share[j])) for i, j in both])
    times = np.array([(taken[:, i] & taken[:, j]).sum() for i, j in both])
    assert times.sum() == rows
    assert ((times - expected) ** 2 / expected).sum() < stats.chi2.ppf(SURE, len(both) - 1)


def test_the_density_of_distances_is_that_of_points_on_the_sphere() -> None:
    """What `distance_weighted` inverts: of uniform points it takes all distances as often."""
    points = np.random.default_rng(0).standard_normal((200_000, DIMENSION))
    score = (points[:, 0] / np.linalg.norm(points, axis=1)).astype(np.float32)
    row = np.zeros(len(score), np.int64)
    table = pa.table({"query_key": row, "doc_key": np.arange(len(score)), "score": score})
    positive = pa.table({"doc_key": [1]})
    pairs = Pairs(row, np.arange(len(score)), table, positive, np.zeros(1, np.float32), DIMENSION)
    draw = draw_of({"strategy": "distance_weighted", "cutoff": 0.8, "farthest": 1.4})
    probability = np.exp(log_probability(draw, pairs))
    distance = np.sqrt(2 - 2 * score.astype(np.float64))
    mass = np.histogram(distance, bins=6, range=(0.8, 1.4), weights=probability)[0]
    assert mass / mass.sum() == pytest.approx(np.full(6, 1 / 6), rel=0.05)
    assert probability[distance > 1.4].sum() == 0


def test_a_softmax_goes_from_top_to_random_with_its_temperature() -> None:
    pairs = rows_of(SCORES, 2_000)
    cold, warm = (draw_of({"strategy": "softmax", "temperature": one}) for one in (1e-6, 1e6))
    assert (highest(pairs.row, priority_of(cold, pairs), 2).reshape(-1, 6) == [1, 1, 0, 0, 0, 0]).all()
    uniform = draw_of({"strategy": "random"})
    assert np.array_equal(
        highest(pairs.row, priority_of(warm, pairs), 2), highest(pairs.row, priority_of(uniform, pairs), 2)
    ), "the same keys decide"


def test_semi_hard_takes_the_hardest_below_the_positive_within_the_margin() -> None:
    pairs = rows_of(SCORES, 1)  # the positive scores 0.7
    assert highest(pairs.row, priority_of(draw_of({"strategy": "semi_hard", "margin": 0.25}), pairs), 4).tolist() == [
        False, False, False, True, False, False,
    ]  # fmt: skip
    wide = highest(pairs.row, priority_of(draw_of({"strategy": "semi_hard", "margin": 0.5}), pairs), 1)
    assert wide.tolist() == [False, False, False, True, False, False]


def test_stratified_takes_one_of_each_bin_before_a_second_of_any() -> None:
    """Bins of 0.1-0.366, 0.366-0.633 and 0.633-0.9 hold 1, 2 and 3 candidates."""
    rows = 3_000
    pairs = rows_of(SCORES, rows)
    priority = priority_of(draw_of({"strategy": "stratified", "bins": 3}), pairs)
    bins = np.array([2, 2, 2, 1, 1, 0])
    for count, wanted in ((1, [0, 0, 1]), (2, [0, 1, 1]), (3, [1, 1, 1]), (5, [1, 2, 2]), (6, [1, 2, 3])):
        taken = highest(pairs.row, priority, count).reshape(rows, -1)
        for bin_ in range(3):
            assert (taken[:, bins == bin_].sum(axis=1) == wanted[bin_]).all(), (count, bin_)
    of_best = highest(pairs.row, priority, 1).reshape(rows, -1).sum(axis=0)[:3]
    assert ((of_best - rows / 3) ** 2 / (rows / 3)).sum() < stats.chi2.ppf(SURE, 2)


@pytest.mark.parametrize("before", ["top", "random"])
def test_stratified_takes_one_of_each_bin_that_draws_before_it_left(before: str) -> None:
    """Four bins hold three each; the draw before takes two, so each bin has one left."""
    scores, rows = [0.99, 0.98, 0.97, 0.6, 0.59, 0.58, 0.35, 0.34, 0.33, 0.02, 0.01, 0.0], 200
    key = np.random.default_rng(0).integers(1 << 62, size=(rows, len(scores)))
    found = [
        {"query_key": query, "doc_key": int(key[query, place]), "score": score, "rank": place}
        for query in range(rows)
        for place, score in enumerate(scores)
    ]
    draws = [{"strategy": before, "num_negatives": 2}, {"strategy": "stratified", "bins": 4, "num_negatives": 4}]
    judged = positives([{"query_key": query, "doc_key": 5, "score": 0.5} for query in range(rows)])
    negatives = Select(SelectConfig.model_validate({"draws": draws}))(candidates(found), judged).negatives
    of_draw = negatives.filter(pc.equal(negatives.column("draw"), "stratified"))
    bins = np.asarray(of_draw.column("rank")).reshape(rows, 4) // 3
    assert (np.sort(bins, axis=1) == np.arange(4)).all()


def test_equal_scores_are_one_bin() -> None:
    pairs = rows_of(np.full(4, 0.5, np.float32), 5)
    assert highest(pairs.row, priority_of(draw_of({"strategy": "stratified"}), pairs), 3).sum() == 15


def test_disagreement_takes_what_the_sources_rank_most_differently() -> None:
    pairs = rows_of(SCORES, 1)
    ranks = {"rank": [0, 1, 2, 3, -1, 5], "lexical_rank": [0, 4, -1, 3, 0, 5]}
    table = pairs.candidates
    for name, values in ranks.items():
        table = table.append_column(name, pa.array(values, pa.int32()))
    pairs = Pairs(pairs.row, pairs.candidate, table, pairs.rows, pairs.reference)
    draw = draw_of({"strategy": "disagreement", "sources": ["search", "lexical"]})
    reciprocal = {name: [0 if rank < 0 else 1 / (rank + 1) for rank in values] for name, values in ranks.items()}
    variance = [(a - b) ** 2 / 4 for a, b in zip(*reciprocal.values(), strict=True)]
    assert priority_of(draw, pairs) == pytest.approx(np.array(variance))
    assert np.flatnonzero(highest(pairs.row, priority_of(draw, pairs), 2)).tolist() == [2, 4]
    assert set(draw.needs) == {"rank", "lexical_rank"}


@pytest.mark.parametrize("count", [3, 5])
def test_the_same_ranks_are_the_same_disagreement_whichever_source_gives_them(count: int) -> None:
    """Of each row all orders of its ranks are candidates: equal priorities, of which the better-scored are taken."""
    rng = np.random.default_rng(count)
    ranks = np.array([rng.permuted(row) for row in rng.integers(-1, 40, (300, count)) for _ in range(6)], np.int32)
    names = ["rank", *(f"s{n}_rank" for n in range(1, count))]
    table = pa.table([pa.array(column) for column in ranks.T], names)
    pairs = Pairs(np.repeat(np.arange(300), 6), np.arange(1_800), table, pa.table({}), np.zeros(300, np.float32))
    draw = draw_of({"strategy": "disagreement", "sources": ["search", *(f"s{n}" for n in range(1, count))]})
    priority = priority_of(draw, pairs).reshape(300, 6)
    assert (priority == priority[:, :1]).all()


@pytest.mark.parametrize("settings", ALL, ids=lambda one: one["strategy"])
def test_neither_the_order_nor_other_rows_change_what_a_row_draws(settings: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    found, judged = [], []
    for query in range(30):
        scores = -np.sort(-rng.uniform(0, 1, rng.integers(1, 12)).astype(np.float32))
        found.append(
            [
                {"query_key": query, "doc_key": 100 * query + place, "score": float(score), "rank": place}
                for place, score in enumerate(scores)
            ]
        )
        judged.append([{"query_key": query, "doc_key": 10_000 + 2 * query + i, "score": 0.8 - 0.1 * i} for i in (0, 1)])

    def chosen(queries: list[int]) -> dict[tuple[int, int], list[tuple[int, float | None]]]:
        table = candidates([one for query in queries for one in found[query]])
        lexical = np.asarray(table.column("doc_key")) * 7 % 11
        table = table.append_column("lexical_rank", pa.array(lexical.astype(np.int32)))
        key = np.unique(np.asarray(table.column("doc_key")))
        vectors = np.column_stack([np.cos(key), np.sin(key)]).astype(np.float32)
        table = with_vectors(table, pa.table({"doc_key": key, "vector": vectors_column(vectors)}))
        select = Select(SelectConfig.model_validate({"draws": [{**settings, "num_negatives": 3}]}), ["lexical"], 8)
        rows: dict[tuple[int, int], list[tuple[int, float | None]]] = {}
        for one in select(table, positives([one for query in queries for one in judged[query]])).negatives.to_pylist():
            drawn = rows.setdefault((one["query_key"], one["positive_key"]), [])
            drawn.append((one["doc_key"], one["log_probability"]))
        return rows

    whole = chosen(list(range(30)))
    assert any(whole.values())
    for some in (list(range(29, -1, -1)), [3, 17, 4], [9]):
        assert chosen(some) == {row: drawn for row, drawn in whole.items() if row[0] in some}


def test_margins_and_draws_compare_with_the_same_positive() -> None:
    """Positives of 0.9 and 0.5: SimANS peaks at the row's own, at the lowest, or at their mean."""
    found = [{"query_key": 1, "doc_key": place, "score": score} for place, score in enumerate([0.9, 0.7, 0.5])]
    judged = [{"query_key": 1, "doc_key": 8, "score": 0.9}, {"query_key": 1, "doc_key": 9, "score": 0.5}]
    peaks = {}
    for which in ("row", "lowest", "mean"):
        draw = {"strategy": "simans", "a": 1e6, "num_negatives": 1}
        config = SelectConfig.model_validate({"margin_positive": which, "draws": [draw]})
        peaks[which] = Select(config)(candidates(found), positives(judged)).negatives.column("doc_key").to_pylist()
    assert peaks == {"row": [0, 2], "lowest": [2, 2], "mean": [1, 1]}


def test_a_row_without_a_candidate_of_any_weight_gets_none() -> None:
    far = rows_of(np.full(3, -0.5, np.float32), 2)
    draw = draw_of({"strategy": "distance_weighted"})
    assert isinstance(draw, WeightedDraw)
    assert not highest(far.row, priority_of(draw, far), 2).any()
    assert log_probability(draw, far).tolist() == [-math.inf] * 6
    none = far.take(np.zeros(0, np.int64))
    assert len(priority_of(draw, none)) == len(log_probability(draw, none)) == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"strategy": "softmax"}, "temperature: this key is missing"),
        ({"strategy": "softmax", "temperature": 0}, "a number above 0 is wanted"),
        ({"strategy": "simans"}, "a: this key is missing"),
        ({"strategy": "semi_hard", "margin": -1}, "a number above 0 is wanted"),
        ({"strategy": "stratified", "bins": 0}, "a number of at least 1 is wanted"),
        ({"strategy": "distance_weighted", "cutoff": 1.5}, "above farthest"),
        ({"strategy": "disagreement", "sources": ["search"]}, "two different ones"),
        ({"strategy": "disagreement", "sources": ["search", "search"]}, "two different ones"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SelectConfig.model_validate({"draws": [wrong]})


def test_the_weight_of_simans_halves_where_its_docstring_says() -> None:
    assert math.exp(-50 * 0.12**2) == pytest.approx(0.5, abs=0.02)
