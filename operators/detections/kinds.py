"""Why a prediction is wrong: the kinds of errors of TIDE (Bolya et al., arXiv 2008.08115)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from operators.detections.boxes import Ints, Mask, Predictions, Truths
from operators.detections.matching import NONE, Matching, same_class
from operators.detections.overlaps import Overlaps
from operators.segments import starts_of

# Of predictions, by their codes. The first two are no errors.
KINDS = ("true_positive", "ignored", "localization", "classification", "duplicate", "background", "both")
TRUE_POSITIVE, IGNORED, LOCALIZATION, CLASSIFICATION, DUPLICATE, BACKGROUND, BOTH = range(len(KINDS))
FALSE_POSITIVES = KINDS[LOCALIZATION:]
MISSED, IGNORED_TRUTH = "missed", "ignored_truth"

Codes = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Errors:
    """What is wrong with each prediction.

    Attributes:
        kind: places in KINDS, int8 of shape (predictions,).
        truth: the object that it is about, or -1: the one that it has, is near to, has the wrong class of, or repeats;
            int64 of shape (predictions,).
        correctable: a missed object that a localization or classification error is about, so that TIDE does not count
            it as missed: bool of shape (truths,).
    """

    kind: Codes
    truth: Ints
    correctable: Mask


def errors_of(  # noqa: PLR0913 - the two thresholds are numbers
    predictions: Predictions,
    truths: Truths,
    pairs: Overlaps,
    matching: Matching,
    iou_threshold: float = 0.5,
    background_threshold: float = 0.1,
    *,
    any_class: bool = False,
) -> Errors:
    """Say what kind of error each prediction is that has no object.

    In this order, each with the objects that are not ignored: the best object of the same class overlaps from
    `background_threshold` to `iou_threshold` (localization); one of another class by at least `iou_threshold`
    (classification); one of the same class that another prediction has, by as much (duplicate); the best of any class
    at most by `background_threshold` (background); everything else (both). It is the order of tidecv 1.0.1.

    Args:
        predictions: of the images.
        truths: of the images.
        pairs: all that overlap at least as much as the lower one of both thresholds.
        matching: at `iou_threshold`.
        iou_threshold: of a match.
        background_threshold: from which on a box is about an object at all.
        any_class: an object may be found as any class, so there are no errors of classification.
    """
    kind, truth = _wrong(predictions, truths, pairs, matching, (iou_threshold, background_threshold), any_class)
    found = (matching.truth != NONE) & ~matching.ignored
    correctable = np.zeros(len(truths), np.bool_)
    correctable[truth[((kind == LOCALIZATION) | (kind == CLASSIFICATION)) & ~found]] = True
    correctable &= ~matching.matched
    kind[found] = TRUE_POSITIVE
    kind[matching.ignored] = IGNORED
    return Errors(kind, np.where(matching.truth != NONE, matching.truth, truth), correctable)


def _wrong(
    predictions: Predictions,
    truths: Truths,
    pairs: Overlaps,
    matching: Matching,
    thresholds: tuple[float, float],
    any_class: bool,
) -> tuple[Codes, Ints]:
    """Return the kind of error of each prediction as if it had no object, and the object that it is about, or -1."""
    iou_threshold, background_threshold = thresholds
    least = min(thresholds)
    pairs = pairs.take(~truths.ignored[pairs.truth] & (pairs.iou >= least))
    same, used = any_class | same_class(predictions, truths, pairs), matching.matched[pairs.truth]
    count = len(predictions)
    of_class, near = best_of(pairs.take(same), count)
    of_other, wrong = best_of(pairs.take(~same), count)
    of_used, repeated = best_of(pairs.take(same & used), count)
    any_iou = np.maximum(of_class, of_other)
    conditions = [
        (background_threshold <= of_class) & (of_class <= iou_threshold) & (near != NONE),
        (of_other >= iou_threshold) & (wrong != NONE),
        (of_used >= iou_threshold) & (repeated != NONE),
        any_iou <= background_threshold,
    ]
    kind = np.select(conditions, [LOCALIZATION, CLASSIFICATION, DUPLICATE, BACKGROUND], BOTH).astype(np.int8)
    return kind, np.select(conditions[:3], [near, wrong, repeated], NONE)


def best_of(pairs: Overlaps, count: int) -> tuple[npt.NDArray[np.float64], Ints]:
    """Return the largest IoU of each prediction, 0 where there is no pair, and the first object that has it, or -1."""
    iou, truth = np.zeros(count), np.full(count, NONE)
    begin = starts_of(pairs.prediction)
    if len(begin):
        order = np.lexsort((pairs.truth, -pairs.iou, pairs.prediction))
        iou[pairs.prediction[begin]] = pairs.iou[order[begin]]
        truth[pairs.prediction[begin]] = pairs.truth[order[begin]]
    return iou, truth
