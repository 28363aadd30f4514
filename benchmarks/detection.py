"""Matching boxes alone, on one core: boxes per second and memory, beside pycocotools on a part of the same images.

`python -m benchmarks.detection` writes benchmarks/detection.md. It needs pycocotools.
"""

import contextlib
import io
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks import pages
from operators.detections.average_precision import AREAS, THRESHOLDS
from operators.detections.boxes import Predictions, Truths
from operators.detections.kinds import errors_of
from operators.detections.matching import Matcher
from operators.detections.overlaps import overlaps

PREDICTED, OBJECTS, CLASSES = 90, 10, 80
IMAGES_AT_A_TIME = 1_000
GOAL = 20.0


def main() -> None:
    """Measure and write the page."""
    parser = pages.parser(__doc__, rounds=3)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--part", type=int, default=1_000, help="images that pycocotools gets")
    args = parser.parse_args()
    part = batch(args.part, 0)
    ratios, theirs = [], []
    for _ in range(args.rounds):
        theirs.append(seconds_of(pycocotools(*part)))
        ratios.append(theirs[-1] / seconds_of(partial(evaluate, *part)))
    pages.tell(f"pycocotools takes {statistics.median(ratios):.1f} times as long")
    peaks, total = [], dict.fromkeys(WORKS, 0.0)
    for first in range(0, args.images, IMAGES_AT_A_TIME):
        boxes = batch(min(IMAGES_AT_A_TIME, args.images - first), first + 1)
        for name, work in WORKS.items():
            total[name] += seconds_of(partial(work, *boxes))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    count = args.images * (PREDICTED + OBJECTS)
    rows = [[name, f"{seconds:,.0f}", f"{count / seconds:,.0f}"] for name, seconds in total.items()]
    size = args.part * (PREDICTED + OBJECTS)
    pages.write(
        "detection",
        [
            pages.heading("Matching boxes", "detection"),
            f"{args.images:,} images with {PREDICTED} predictions and {OBJECTS} objects of {CLASSES} classes each, "
            f"generated: 40 % of the predictions are objects that were moved. {IMAGES_AT_A_TIME:,} images at a time, "
            f"one core, seconds of the processor, as other work shares the machine.",
            pages.table(["", "seconds", "boxes per second"], rows),
            f"The process held {peaks[0]:,.0f} MiB at most after the first {IMAGES_AT_A_TIME:,} images, and "
            f"{peaks[-1]:,.0f} MiB at the end.",
            f"Beside it `COCOeval.evaluate` of pycocotools on {args.part:,} of such images, at the same ten thresholds "
            f"and four ranges of areas, without its reading of JSON: {pages.spread([size / one for one in theirs])} "
            f"boxes per second, so it takes {pages.spread(ratios, 1)} times as long. "
            f"{pages.rounds_of(args.rounds)}",
            pages.goal(statistics.median(ratios) >= GOAL, f"At least {GOAL:.0f} times as fast as pycocotools"),
        ],
    )


def batch(images: int, seed: int) -> tuple[Predictions, Truths]:
    """Make the boxes of some images."""
    rng = np.random.default_rng(seed)
    count, objects = images * PREDICTED, images * OBJECTS
    class_id = rng.integers(0, CLASSES, objects)
    box = np.concatenate([rng.random((objects, 2)) * 500, rng.random((objects, 2)) * 150 + 10], 1)
    image, moved = np.repeat(np.arange(images), PREDICTED), rng.random(count) < 0.4
    of = image * OBJECTS + rng.integers(0, OBJECTS, count)
    found = np.concatenate([rng.random((count, 2)) * 500, rng.random((count, 2)) * 150 + 10], 1)
    found[moved] = box[of[moved]] + rng.normal(0, 6, (int(moved.sum()), 4))
    found[:, 2:] = np.maximum(found[:, 2:], 1)
    named = np.where(moved, class_id[of], rng.integers(0, CLASSES, count))
    truths = Truths.of(np.repeat(np.arange(images), OBJECTS), class_id, box, crowd=rng.random(objects) < 0.01)
    return Predictions(image, named, found, rng.random(count)), truths


def evaluate(predictions: Predictions, truths: Truths) -> None:
    """Match at all thresholds and in all ranges of areas."""
    matcher = Matcher(predictions, truths, overlaps(predictions, truths, THRESHOLDS[0]))
    for limits in AREAS.values():
        matcher.at(*THRESHOLDS, areas=limits)


def kinds(predictions: Predictions, truths: Truths) -> None:
    """Match at one threshold, and say what kind of error each prediction is."""
    pairs = overlaps(predictions, truths)
    (matching,) = Matcher(predictions, truths, pairs).at(0.5)
    errors_of(predictions, truths, pairs, matching)


WORKS: dict[str, Callable[[Predictions, Truths], None]] = {
    "overlaps, and matching at ten thresholds in four ranges of areas": evaluate,
    "overlaps, matching at one threshold, and kinds of errors": kinds,
}


def pycocotools(predictions: Predictions, truths: Truths) -> Callable[[], None]:
    """Return the evaluation of pycocotools, which has the same boxes already."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    objects = [
        {
            "id": row + 1,
            "image_id": int(truths.image[row]),
            "category_id": int(truths.class_id[row]),
            "bbox": truths.box[row].tolist(),
            "area": float(truths.area[row]),
            "iscrowd": int(truths.crowd[row]),
        }
        for row in range(len(truths))
    ]
    columns = [predictions.image, predictions.box, predictions.confidence, predictions.class_id]
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO()
        api.dataset = {
            "images": [{"id": int(one)} for one in np.unique(truths.image)],
            "categories": [{"id": one} for one in range(CLASSES)],
            "annotations": objects,
        }
        api.createIndex()
        evaluation = COCOeval(api, api.loadRes(np.column_stack(columns)), "bbox")

    def work() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.evaluate()

    return work


def seconds_of(work: Callable[[], None]) -> float:
    """Return how many seconds of the processor something takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
