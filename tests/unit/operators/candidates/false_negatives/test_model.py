"""The model of false negatives, where the right answer is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from operators.candidates.false_negatives.calibrate import calibrate
from operators.candidates.false_negatives.config import FalseNegativeConfig
from operators.candidates.false_negatives.features import FEATURES, features_of
from operators.candidates.false_negatives.fit import fitted
from operators.candidates.false_negatives.frontier import Views, frontier
from operators.candidates.false_negatives.model import FURTHEST, PROBABILITY, FalseNegativeModel, Observed, Rate
from operators.candidates.false_negatives.views import LISTED, VIEWED
from operators.schemas import NOT_POSITIVE, POSITIVES


def _densities(rng: np.random.Generator, hidden: int, unjudged: int) -> tuple[np.ndarray, np.ndarray]:
    """One feature: normal about 2 for known positives, about 0 for unjudged candidates; and which are known."""
    feature = np.concatenate([rng.normal(2, 1, hidden), rng.normal(0, 1, unjudged)])
    return feature.astype(np.float32), np.arange(len(feature)) < hidden


@pytest.mark.parametrize("share_hidden", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("unjudged_share", [0.2, 0.5])
def test_probabilities_are_the_frequencies_whatever_share_was_hidden(
    share_hidden: float, unjudged_share: float
) -> None:
    rng = np.random.default_rng(0)
    known, unjudged, ratio = 10_000, 400_000, unjudged_share / (1 - unjudged_share)
    hidden = round(known * share_hidden)
    feature, is_hidden = _densities(rng, hidden, unjudged)
    weight = np.where(is_hidden, 1 / share_hidden, 1).astype(np.float32)  # every positive counts once
    model = fitted({"score": feature}, is_hidden, weight, ["score"])
    there = rng.normal(0, 1, unjudged)
    # Unjudged relevant documents are distributed as known positives are.
    relevant = rng.random(unjudged) < ratio * known / unjudged * np.exp(2 * there - 2)
    probability = model.probability({"score": there.astype(np.float32)}, unjudged_share)
    for low, high in ((0.001, 0.01), (0.01, 0.05), (0.05, 0.2), (0.2, 0.7)):
        some = (probability > low) & (probability <= high)
        error = 4 * np.sqrt(probability[some].mean() / some.sum())
        assert relevant[some].mean() == pytest.approx(probability[some].mean(), rel=0.05, abs=error)


def test_probability_rises_with_the_unjudged_share_as_its_odds() -> None:
    rng = np.random.default_rng(1)
    feature, hidden = _densities(rng, 200, 4000)
    model = fitted({"score": feature}, hidden, np.ones(len(feature), np.float32), ["score"])
    half, fifth = (model.probability({"score": feature}, share) for share in (0.5, 0.2))
    low = half < 0.9
    assert fifth[low] == pytest.approx(half[low] / 4, rel=1e-4)
    assert half.max() <= 1


def test_what_is_far_from_what_it_was_fitted_on_is_no_more_than_the_furthest() -> None:
    rng = np.random.default_rng(2)
    feature, hidden = _densities(rng, 200, 4000)
    model = fitted({"score": feature}, hidden, np.ones(len(feature), np.float32), ["score"])
    edge = model.centre[0] + np.array([FURTHEST, 10 * FURTHEST]) * model.scale[0]
    odds = model.log_odds({"score": edge.astype(np.float32)})
    assert odds[0] == pytest.approx(odds[1], abs=1e-3)


def _lists(seed: int, queries: int = 5, length: int = 8) -> tuple[pa.Table, pa.Table]:
    rng = np.random.default_rng(seed)
    rows, judged = [], []
    for query in range(1, queries + 1):
        scores = np.sort(rng.random(length))[::-1]
        rows += [[query, 100 * query + n, 0, scores[n], n, NOT_POSITIVE, *rng.random(4)] for n in range(length)]
        judged += [[query, 100 * query + 50 + n, 0, 1.0, None, rng.random()] for n in range(rng.integers(1, 4))]
    tables = []
    for values, schema in ((rows, LISTED), (judged, POSITIVES)):
        columns = zip(*values, strict=True)
        tables.append(pa.table([pa.array(c).cast(f.type) for c, f in zip(columns, schema, strict=True)], schema=schema))
    return tables[0], tables[1]


def test_features_are_those_of_the_query_alone() -> None:
    candidates, positives = _lists(3)
    together = features_of(candidates, positives)
    assert tuple(together) == FEATURES
    query = np.asarray(candidates.column("query_key"))
    for one in np.unique(query):
        mine = np.asarray(positives.column("query_key")) == one
        alone = features_of(candidates.filter(pa.array(query == one)), positives.filter(pa.array(mine)))
        for name in FEATURES:
            assert alone[name].tolist() == together[name][query == one].tolist(), name
        score = np.asarray(positives.column("score"))[mine].astype(float)
        own = np.asarray(candidates.column("score"))[query == one].astype(float)
        assert alone["log_positives"] == pytest.approx(np.log(len(score)))
        assert alone["gap_lowest"] == pytest.approx((score.min() - own) / own.std(), rel=1e-4)
        assert alone["gap_highest"] == pytest.approx((score.max() - own) / own.std(), rel=1e-4)
        assert alone["below_first"] == pytest.approx((own.max() - own) / own.std(), rel=1e-4, abs=1e-6)


def test_a_query_without_positives_or_with_equal_scores_gives_no_error() -> None:
    candidates, positives = _lists(4, queries=2)
    model = FalseNegativeConfig().model
    none = features_of(candidates, positives.slice(0, 0))
    assert np.isnan(model.probability(none, 0.5)).all()
    same = candidates.set_column(3, LISTED.field("score"), pa.array(np.full(candidates.num_rows, 0.5, np.float32)))
    probability = model.probability(features_of(same, positives), 0.5)
    assert np.isfinite(probability).all()
    assert not len(model.probability(features_of(candidates.slice(0, 0), positives), 0.5))


def _views(views: int, length: int = 20) -> tuple[pa.Table, pa.Table]:
    """Views of as many queries, of which each has one hidden positive among its first three candidates."""
    rng = np.random.default_rng(5)
    rows, judged = [], []
    for view in range(views):
        scores = np.sort(rng.random(length))[::-1]
        for place in range(length):
            hidden = place == view % 3
            seen = 0.8 if hidden else rng.random() / 2
            rows.append(
                [
                    view,
                    place,
                    0,
                    scores[place],
                    place,
                    NOT_POSITIVE,
                    seen,
                    seen,
                    0.2,
                    0.1,
                    hidden,
                    1.0 if hidden else 0.5,
                ]
            )
        judged.append([view, 99, 0, 1.0, None, 0.7])
    candidates = pa.table(
        [pa.array(c).cast(f.type) for c, f in zip(zip(*rows, strict=True), VIEWED, strict=True)], schema=VIEWED
    )
    positives = pa.table(
        [pa.array(c).cast(f.type) for c, f in zip(zip(*judged, strict=True), POSITIVES, strict=True)], schema=POSITIVES
    )
    return candidates, positives


@pytest.mark.parametrize(("views", "how"), [(4, "default"), (40, "intercept"), (250, "fitted")])
def test_a_model_is_fitted_only_where_enough_positives_were_found(views: int, how: str) -> None:
    length = 20
    candidates, positives = _views(views, length)
    config = FalseNegativeConfig()
    done = calibrate(Views.of(candidates, positives, np.arange(views)), config, (4, length))
    assert (done.how, done.hidden, done.views) == (how, views, views)
    naive = next(point for point in done.points if point.rule == "none")
    assert naive.rate == pytest.approx(2 / 4)  # 1 of 4 is the hidden one, and stands for n = 2
    assert naive.full_rows == 1
    if how == "default":
        assert done.model.model_copy(update={"fitted_on": config.model.fitted_on}) == config.model
    if how == "intercept":
        assert done.model.coefficients == config.model.coefficients
        weight = np.asarray(candidates.column("weight"))
        odds = np.exp(done.model.log_odds(features_of(candidates, positives)))
        assert (weight * odds / (1 + odds)).sum() == pytest.approx(views, rel=1e-3)
    if how == "fitted":
        of_model = [
            point
            for point in done.points
            if point.rule == "model" and point.settings == {"max_false_negative_probability": 0.1}
        ]
        assert of_model[0].rate < 0.01


@pytest.mark.parametrize("unjudged_share", [0.1, 0.9, 0.99])
def test_what_is_observed_does_not_depend_on_the_share_that_is_supposed(unjudged_share: float) -> None:
    candidates, positives = _views(40)
    half, other = (
        calibrate(Views.of(candidates, positives, np.arange(40)), FalseNegativeConfig(unjudged_share=share), (4, 20))
        for share in (0.5, unjudged_share)
    )
    naive, same = (max(done.model.observed, key=lambda one: one.rate) for done in (half, other))
    assert (same.rate, same.low, same.high) == pytest.approx((naive.rate, naive.low, naive.high))
    assert all(point.rate <= 1 and point.high <= 1 for point in other.points if np.isfinite(point.rate))


def test_where_one_query_has_all_unjudged_candidates_nothing_is_fitted() -> None:
    candidates, positives = _views(250)
    only = candidates.filter(pa.array(np.asarray(candidates.column("hidden")) | (np.arange(250 * 20) < 20)))
    done = calibrate(Views.of(only, positives, np.arange(250)), FalseNegativeConfig(), (4, 20))
    assert done.how == "default"


def test_selections_that_were_observed_come_in_ascending_order() -> None:
    model = {"features": ["score"], "centre": [0.0], "scale": [1.0], "coefficients": [1.0], "intercept": 0.0}
    low, high = ({"predicted": p, "rate": p, "low": p, "high": p} for p in (0.1, 0.2))
    FalseNegativeModel.model_validate({**model, "observed": [low, high]})
    with pytest.raises(ValidationError, match="ascending order of predicted"):
        FalseNegativeModel.model_validate({**model, "observed": [high, low]})


def test_what_was_observed_corrects_the_mean_probability() -> None:
    observed = tuple(
        Observed(predicted=predicted, rate=predicted * ratio, low=predicted * ratio / 2, high=predicted * ratio * 2)
        for predicted, ratio in ((0.01, 1.0), (0.04, 3.0))
    )
    model = FalseNegativeConfig().model.model_copy(update={"observed": observed})
    for predicted, ratio in ((0.001, 1.0), (0.01, 1.0), (0.02, 2.0), (0.04, 3.0), (0.1, 3.0)):  # 0.02 lies half-way
        found = model.expected(predicted, 0.5)
        assert found.rate == pytest.approx(predicted * ratio)
        assert found.interval == pytest.approx((predicted * ratio / 2, predicted * ratio * 2))
        fifth = model.expected(predicted / 4, 0.2)  # where a quarter as many are unjudged
        assert fifth.rate == pytest.approx(found.rate / 4)
    assert FalseNegativeConfig().model.expected(0.02, 0.5) == Rate(0.02)


@pytest.mark.parametrize("relevant", [(1, 2), (1, 2, 3, 4), (4,)])
@pytest.mark.parametrize("judged", [0.5, 0.8])
def test_the_rate_of_views_is_that_of_unjudged_relevant_documents(relevant: tuple[int, ...], judged: float) -> None:
    """Relevant documents are judged at random; queries of which none is are not there."""
    rng = np.random.default_rng(len(relevant))
    irrelevant, taken = 6, 2
    views: list[list[Any]] = []
    shown: list[list[Any]] = []
    origin: list[int] = []
    known_of, unjudged, chosen, false = [], 0, 0, 0
    for query in range(6_000):
        number = int(rng.choice(relevant))
        scores = np.append(rng.normal(1, 1, number), rng.normal(0, 1, irrelevant))
        known = np.flatnonzero(rng.random(number) < judged)
        if not len(known):
            continue
        known_of.append(len(known))
        unjudged += number - len(known)
        best = [document for document in np.argsort(-scores) if document not in known][:taken]
        chosen, false = chosen + taken, false + sum(document < number for document in best)
        if len(known) == 1:
            continue
        for hidden in known:
            view, left = len(origin), [document for document in known if document != hidden]
            origin.append(query)
            shown += [[view, document, document, 1.0, None, scores[document]] for document in left]
            for rank, document in enumerate(one for one in np.argsort(-scores) if one not in left):
                seen = [view, document, document, scores[document], rank, NOT_POSITIVE, *[0.0] * 4]
                views.append([*seen, document == hidden, 1.0])
    counts = np.array(known_of)
    share = unjudged / (unjudged + counts.sum())
    several = counts[counts > 1]
    candidates = _rows(views, VIEWED).append_column(PROBABILITY, pa.array(np.zeros(len(views), np.float32)))
    of_views = Views.of(candidates, _rows(shown, POSITIVES), np.array(origin), counts.mean() / several.mean())
    (point,) = frontier(of_views, (taken, irrelevant), share, {"none": [{}]})
    assert point.rate == pytest.approx(false / chosen, rel=0.08)


def _rows(rows: list[list[Any]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[]] * len(schema)
    return pa.table([pa.array(c).cast(f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


@pytest.mark.parametrize("content", ['{"frontier": []}', "[1]", '"default"'])
def test_a_file_of_something_else_is_named_as_no_model(content: str, tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text(content)
    with pytest.raises(ValueError, match=r"calibration\.json' holds no model\. Name the model\.json"):
        FalseNegativeConfig.model_validate({"model": str(tmp_path / "calibration.json")})
