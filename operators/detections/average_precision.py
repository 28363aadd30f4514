"""Average precision as COCO computes it, and precision, recall and F1."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from operators.detections.boxes import Floats, Mask

# As pycocotools makes them: the last bits decide about recalls that equal one of them.
RECALLS = np.linspace(0.0, 1.0, 101)
THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
MAX_DETECTIONS = 100
AREAS: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}


@dataclass(frozen=True)
class Curve:
    """The precision of one class.

    Attributes:
        precision: at each of RECALLS, float64 of shape (thresholds, 101).
        recall: of all predictions, float64 of shape (thresholds,).
    """

    precision: Floats
    recall: Floats


def curve_of(confidence: Floats, matched: Mask, ignored: Mask, objects: int) -> Curve | None:
    """Return the precision of a class over its recall; None where it has no objects.

    Args:
        confidence: of its predictions, of shape (n,); equal ones stay in their order.
        matched: which have an object at each threshold: bool of shape (thresholds, n).
        ignored: which do not count: bool of shape (thresholds, n).
        objects: how many there are that count.
    """
    if not objects:
        return None
    order = np.argsort(-confidence, kind="stable")
    matched, ignored = matched[:, order], ignored[:, order]
    right = np.cumsum(matched & ~ignored, axis=1).astype(np.float64)
    wrong = np.cumsum(~matched & ~ignored, axis=1).astype(np.float64)
    recall, precision = right / objects, right / (right + wrong + np.spacing(1))
    # The precision at a recall is the best at that recall or any higher one.
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    at = np.array([np.searchsorted(one, RECALLS, side="left") for one in recall]).reshape(len(recall), len(RECALLS))
    padded = np.concatenate([highest, np.zeros((len(highest), 1))], axis=1)
    last = recall[:, -1] if recall.shape[1] else np.zeros(len(recall))
    return Curve(np.take_along_axis(padded, at, axis=1), last)


def mean_of(curves: Sequence[Curve | None], threshold: int | None = None) -> float | None:
    """Return the mean precision over classes, recalls and thresholds, or at one threshold; None without any class."""
    there = [one.precision if threshold is None else one.precision[[threshold]] for one in curves if one is not None]
    return float(np.mean(there)) if there else None


@dataclass(frozen=True)
class Counts:
    """How often a detector was right and wrong.

    Attributes:
        true_positives: predictions that have an object.
        false_positives: those that have none.
        false_negatives: objects that no prediction has.
    """

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float | None:
        """The share of predictions that are right; None where there are none."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """The share of objects that are found; None where there are none."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both; None where there are neither predictions nor objects."""
        return _share(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
