"""Every prediction and every object is in the account, with what a look at all boxes says of it."""

import numpy as np
import pytest

from operators.detections.account import Account
from operators.detections.config import MatchConfig
from operators.detections.tables import SAMPLES
from tests.unit.operators.detections import brute_force
from tests.unit.operators.detections.drawn import drawn, tables_of

IMAGES = 6


@pytest.mark.parametrize("seed", range(40))
def test_every_box_is_accounted_for(seed: int) -> None:
    predictions, truths = drawn(seed, IMAGES)
    account = Account(MatchConfig(), {0: "cat", 1: "dog"})(*tables_of(predictions, truths, IMAGES))
    assert account.schema == SAMPLES
    rows = account.to_pylist()
    of_predictions = {row["prediction_id"]: row for row in rows if row["prediction_id"] is not None}
    assert len(of_predictions) == len(predictions)
    kinds = brute_force.kinds(predictions, truths, 0.5, 0.1)
    assert [of_predictions[f"p{p}"]["type"] for p in range(len(predictions))] == kinds
    matched = {t for t in brute_force.match(predictions, truths, 0.5)[0] if t >= 0}
    objects = {row["truth_id"]: row["type"] for row in rows if row["prediction_id"] is None}
    assert objects == {
        f"t{t}": "ignored_truth" if truths.ignored[t] else "missed" for t in range(len(truths)) if t not in matched
    }
    assert len({row["sample_key"] for row in rows}) == len(rows)
    for p, row in ((p, of_predictions[f"p{p}"]) for p in range(len(predictions))):
        assert (row["image_id"], row["class_name"]) == (
            f"i{predictions.image[p]}",
            ["cat", "dog"][predictions.class_id[p]],
        )
        near = [t for t in range(len(truths)) if truths.image[t] == predictions.image[p] and not truths.ignored[t]]
        ious = {t: brute_force.iou(predictions.box[p], truths.box[t]) for t in near}
        assert row["any_iou"] == max(ious.values(), default=0.0)
        same = [iou for t, iou in ious.items() if truths.class_id[t] == predictions.class_id[p]]
        assert row["iou"] == max(same, default=0.0)
        if row["truth_id"] is not None:
            box = [row[f"truth_{side}"] for side in ("x", "y", "width", "height")]
            assert box == truths.box[int(row["truth_id"][1:])].tolist()


@pytest.mark.parametrize("seed", range(10))
def test_images_apart_give_what_they_give_together(seed: int) -> None:
    predictions, truths = drawn(seed, IMAGES)
    images, truth, found = tables_of(predictions, truths, IMAGES)
    account = Account(MatchConfig(class_agnostic=seed % 2 == 0), {})
    together = account(images, truth, found)
    apart = []
    for row in images.to_pylist():
        of_image = [one.filter(np.asarray(one["image_key"]) == row["image_key"]) for one in (images, truth, found)]
        apart += account(*of_image).to_pylist()
    assert together.to_pylist() == apart


def test_the_most_confident_of_an_image_and_class_are_kept() -> None:
    predictions, truths = drawn(3, IMAGES)
    images, truth, found = tables_of(predictions, truths, IMAGES)
    kept = Account(MatchConfig(max_detections=2), {})(images, truth, found).to_pylist()
    for image in range(IMAGES):
        for class_id in range(2):
            of_group = np.flatnonzero((predictions.image == image) & (predictions.class_id == class_id))
            best = of_group[np.argsort(-predictions.confidence[of_group], kind="stable")][:2]
            there = {
                row["prediction_id"]
                for row in kept
                if row["image_id"] == f"i{image}" and row["class_id"] == class_id and row["prediction_id"]
            }
            assert there == {f"p{p}" for p in best}
