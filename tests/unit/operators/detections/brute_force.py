"""Matching and kinds of errors as COCO and TIDE describe them, one box after the other."""

from typing import Any

import numpy as np

from operators.detections.boxes import Predictions, Truths


def iou(one: Any, other: Any, crowd: bool = False) -> float:  # noqa: ANN401 - four numbers
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    union = one[2] * one[3] if crowd else one[2] * one[3] + other[2] * other[3] - shared
    return float(shared / union)


def match(
    predictions: Predictions,
    truths: Truths,
    threshold: float,
    areas: tuple[float, float] = (0, np.inf),
    any_class: bool = False,
) -> tuple[list[int], list[bool]]:
    """Return the object of each prediction, or -1, and which predictions do not count (COCOeval.evaluateImg)."""
    low, high = areas
    truth, ignored = [-1] * len(predictions), [False] * len(predictions)
    out = [bool(truths.ignored[t] or not low <= truths.area[t] <= high) for t in range(len(truths))]
    taken: set[int] = set()
    for p in sorted(range(len(predictions)), key=lambda p: -predictions.confidence[p]):
        best, chosen = min(threshold, 1 - 1e-10), -1
        for t in sorted(range(len(truths)), key=lambda t: out[t]):
            if predictions.image[p] != truths.image[t]:
                continue
            if not any_class and predictions.class_id[p] != truths.class_id[t]:
                continue
            if t in taken and not truths.crowd[t]:
                continue
            if chosen >= 0 and not out[chosen] and out[t]:
                break
            found = iou(predictions.box[p], truths.box[t], bool(truths.crowd[t]))
            if found >= best:
                best, chosen = found, t
        if chosen >= 0:
            truth[p], ignored[p] = chosen, out[chosen]
            taken.add(chosen)
        else:
            ignored[p] = not low <= predictions.area[p] <= high
    return truth, ignored


def kinds(predictions: Predictions, truths: Truths, positive: float, background: float) -> list[str]:
    """Return the kind of each prediction (TIDERun._eval_image)."""
    truth, ignored = match(predictions, truths, positive)
    used = {t for t in truth if t >= 0}
    said = []
    for p in range(len(predictions)):
        if ignored[p] or truth[p] >= 0:
            said.append("ignored" if ignored[p] else "true_positive")
            continue
        of_image = [t for t in range(len(truths)) if truths.image[t] == predictions.image[p] and not truths.ignored[t]]
        found = {t: iou(predictions.box[p], truths.box[t]) for t in of_image}
        same = {t for t in of_image if truths.class_id[t] == predictions.class_id[p]}
        of_class = max((found[t] for t in same), default=0.0)
        if of_class > 0 and background <= of_class <= positive:
            said.append("localization")
        elif any(found[t] >= positive for t in of_image if t not in same):
            said.append("classification")
        elif any(found[t] >= positive for t in same & used):
            said.append("duplicate")
        elif max(found.values(), default=0.0) <= background:
            said.append("background")
        else:
            said.append("both")
    return said
