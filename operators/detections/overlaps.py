"""Which boxes of the same image overlap, and by how much."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from operators.detections.boxes import Floats, Ints, Mask, Predictions, Truths
from operators.segments import join_sorted_in_blocks

# Pairs of boxes that are compared at a time: about 100 MB.
COMPARED = 1 << 20


@dataclass(frozen=True)
class Overlaps:
    """Pairs of a prediction and an object of the same image, by the rows of both, in the order of predictions.

    Attributes:
        prediction: int64 of shape (pairs,), ascending.
        truth: int64 of shape (pairs,).
        iou: the intersection over the union, of a crowd over the prediction alone: float64 of shape (pairs,).
    """

    prediction: Ints
    truth: Ints
    iou: Floats

    def __len__(self) -> int:
        return len(self.iou)

    def take(self, rows: Ints | Mask) -> Self:
        """Return some of the pairs."""
        return replace(self, prediction=self.prediction[rows], truth=self.truth[rows], iou=self.iou[rows])


def overlaps(predictions: Predictions, truths: Truths, least: float = 0.0) -> Overlaps:
    """Find the pairs of one image, of any classes, that overlap, and whose IoU is at least `least`.

    The arithmetic is that of pycocotools (bbIou in maskApi.c), in the same order: the results agree to the last bit.
    """
    order = np.argsort(truths.image, kind="stable")
    found = list[tuple[Ints, Ints, Floats]]()
    sides = _edges(predictions.box), _edges(truths.box[order])
    area, of_truth = predictions.area, (truths.box[:, 2] * truths.box[:, 3])[order]
    crowd = truths.crowd[order]
    for row, at in join_sorted_in_blocks(predictions.image, truths.image[order], COMPARED):
        width = np.minimum(sides[0][2][row], sides[1][2][at]) - np.maximum(sides[0][0][row], sides[1][0][at])
        left = np.flatnonzero(width > 0)
        row, at, width = row[left], at[left], width[left]  # noqa: PLW2901 - the others do not overlap
        height = np.minimum(sides[0][3][row], sides[1][3][at]) - np.maximum(sides[0][1][row], sides[1][1][at])
        left = np.flatnonzero(height > 0)
        row, at, shared = row[left], at[left], width[left] * height[left]  # noqa: PLW2901
        iou = shared / np.where(crowd[at], area[row], area[row] + of_truth[at] - shared)
        enough = iou >= least
        found.append((row[enough], order[at[enough]], iou[enough]))
    if not found:
        return Overlaps(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    row, truth, iou = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Overlaps(row, truth, iou)


def _edges(box: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return left, top, right and bottom, each contiguous."""
    left, top = np.ascontiguousarray(box[:, 0]), np.ascontiguousarray(box[:, 1])
    return left, top, box[:, 2] + left, box[:, 3] + top
