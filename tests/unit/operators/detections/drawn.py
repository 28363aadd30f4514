"""Predictions and objects to test with: drawn at random, with all that is awkward, and those of real images."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from operators.detections.boxes import Predictions, Truths
from operators.detections.tables import IMAGES, PREDICTIONS, TRUTHS, box_columns
from operators.keys import keys_of

COCO = Path(__file__).parents[4].parent / "shared" / "data" / "coco-val2014-100"


def drawn(seed: int, images: int = 6, most: int = 12, classes: int = 2) -> tuple[Predictions, Truths]:
    """Draw boxes on a coarse grid, so that overlaps are equal and meet thresholds, with few different confidences.

    Some have no area, some are outside of any image, some repeat; some objects are crowds or ignored; some images have
    no predictions, or no objects, or neither.
    """
    rng = np.random.default_rng(seed)
    count, objects = rng.integers(0, most * images, 2)
    box = np.concatenate([rng.integers(-3, 9, (count + objects, 2)), rng.integers(0, 7, (count + objects, 2))], 1)
    box = box.astype(np.float64) * rng.choice([1.0, 0.1, 17.3])
    if count and objects:  # exact repetitions of objects
        again = rng.random(count) < 0.3
        box[:count][again] = box[count + rng.integers(0, objects, again.sum())]
    image, class_id = rng.integers(0, images, count + objects), rng.integers(0, classes, count + objects)
    predictions = Predictions(image[:count], class_id[:count], box[:count], rng.integers(0, 6, count) / 5)
    crowd, ignored = rng.random(objects) < 0.15, rng.random(objects) < 0.1
    area = rng.random(objects) * 50
    return predictions, Truths.of(image[count:], class_id[count:], box[count:], area=area, crowd=crowd, ignored=ignored)


@dataclass(frozen=True)
class Coco:
    """The real images: their numbers are the places of their ids in ascending order."""

    predictions: Predictions
    truths: Truths
    ids: list[int]


@pytest.fixture(scope="session")
def coco() -> Coco:
    """The 100 images of COCO val2014 of pycocotools' own test, where they lie beside the checkout."""
    if not COCO.is_dir():
        pytest.skip(f"COCO is not there: {COCO} lies beside the project on some machines only")
    truth = json.loads((COCO / "instances_val2014_100.json").read_text())
    found = json.loads((COCO / "instances_val2014_fakebbox100_results.json").read_text())
    ids = sorted(image["id"] for image in truth["images"])
    place = {one: number for number, one in enumerate(ids)}
    boxes = truth["annotations"]
    truths = Truths.of(
        np.array([place[one["image_id"]] for one in boxes]),
        np.array([one["category_id"] for one in boxes]),
        np.array([one["bbox"] for one in boxes], np.float64),
        area=np.array([one["area"] for one in boxes]),
        crowd=np.array([one["iscrowd"] for one in boxes]),
    )
    predictions = Predictions(
        np.array([place[one["image_id"]] for one in found]),
        np.array([one["category_id"] for one in found]),
        np.array([one["bbox"] for one in found], np.float64),
        np.array([one["score"] for one in found]),
    )
    return Coco(predictions, truths, ids)


def tables_of(predictions: Predictions, truths: Truths, images: int) -> tuple[pa.Table, pa.Table, pa.Table]:
    """The tables of images, objects and predictions; the number n is the image `i<n>`."""
    ids = pa.array([f"i{number}" for number in range(images)], pa.string())
    keys, nothing = keys_of(ids), pa.nulls(images)
    all_images = pa.table([keys, ids, nothing, nothing, nothing], schema=IMAGES).sort_by("image_key")
    truth = pa.table(
        {
            "image_key": keys[truths.image] if len(truths) else truths.image,
            "place": np.arange(len(truths)),
            "truth_id": [f"t{row}" for row in range(len(truths))],
            "class_id": truths.class_id,
            **box_columns(truths.box),
            "area": truths.area,
            "crowd": truths.crowd,
            "ignored": truths.ignored,
        },
        schema=TRUTHS,
    )
    found = pa.table(
        {
            "image_key": keys[predictions.image] if len(predictions) else predictions.image,
            "place": np.arange(len(predictions)),
            "prediction_id": [f"p{row}" for row in range(len(predictions))],
            "class_id": predictions.class_id,
            **box_columns(predictions.box),
            "confidence": predictions.confidence,
            "loss": pa.nulls(len(predictions), pa.float64()),
        },
        schema=PREDICTIONS,
    )
    return all_images, truth, found
