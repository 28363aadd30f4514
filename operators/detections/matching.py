"""Match predictions with objects as COCO does: by confidence, each with the best object that is left."""

from dataclasses import dataclass

import numpy as np

from operators.detections.boxes import Ints, Mask, Predictions, Truths
from operators.detections.overlaps import Overlaps
from operators.segments import rank_within, starts_of

NONE = -1
# An IoU that equals a threshold is enough; at a threshold of 1 rounding errors of this size are, too (pycocotools).
_ALMOST_ONE = 1 - 1e-10


@dataclass(frozen=True)
class Matching:
    """Which object each prediction has.

    Attributes:
        truth: the row of the object, or -1: int64 of shape (predictions,).
        ignored: the prediction does not count: its object is ignored, or it has none and its area is out of the range;
            bool of shape (predictions,).
        matched: the object has a prediction: bool of shape (truths,).
    """

    truth: Ints
    ignored: Mask
    matched: Mask


class Matcher:
    """Matches the predictions of some images, at any number of thresholds.

    COCO goes through the predictions of an image and a class by confidence; each takes the best object that is left.
    So all objects prefer the same predictions, and the result is the only stable matching (Gale and Shapley, "College
    admissions and the stability of marriage", 1962): it is found by proposals in rounds, all predictions of all images
    at once. There are as many rounds as the longest chain in which one prediction displaces another.

    Args:
        predictions: of all images.
        truths: of all images.
        pairs: of all that overlap at least as much as the lowest threshold.
        any_class: an object may be matched with a prediction of another class.
    """

    def __init__(self, predictions: Predictions, truths: Truths, pairs: Overlaps, any_class: bool = False) -> None:
        self.predictions, self.truths = predictions, truths
        self.pairs = pairs if any_class else pairs.take(same_class(predictions, truths, pairs))
        self.rank = np.empty(len(predictions), np.int64)
        self.rank[np.argsort(-predictions.confidence, kind="stable")] = np.arange(len(predictions))

    def at(self, *thresholds: float, areas: tuple[float, float] | None = None) -> list[Matching]:
        """Match at some thresholds of the IoU; objects whose area is out of a range are ignored, as COCO does."""
        truths, ignored, outside = self.truths, self.truths.ignored, np.zeros(len(self.predictions), np.bool_)
        if areas is not None:
            ignored = ignored | (truths.area < areas[0]) | (truths.area > areas[1])
            outside = (self.predictions.area < areas[0]) | (self.predictions.area > areas[1])
        pairs = self.pairs
        # Objects that count come first, then the larger IoU; of equal ones the last object, as in pycocotools.
        pairs = pairs.take(np.lexsort((-pairs.truth, -pairs.iou, ignored[pairs.truth], pairs.prediction)))
        matchings = []
        for threshold in thresholds:
            truth = self._matched(pairs.take(pairs.iou >= min(threshold, _ALMOST_ONE)))
            has = truth != NONE
            without = np.where(has, ignored[truth] if len(ignored) else False, outside)
            matched = np.zeros(len(truths), np.bool_)
            matched[truth[has]] = True
            matchings.append(Matching(truth, without, matched))
        return matchings

    def _matched(self, pairs: Overlaps) -> Ints:
        """Return the object of each prediction, or -1. The pairs of a prediction are in the order of its preference."""
        truth = np.full(len(self.predictions), NONE)
        begin = starts_of(pairs.prediction)
        proposer, at, end = pairs.prediction[begin], begin.copy(), np.append(begin[1:], len(pairs))
        rank, crowd = self.rank[proposer], self.truths.crowd
        holder = np.full(len(self.truths), NONE)  # the place in `proposer` of the one that an object has
        best = np.full(len(self.truths), len(self.predictions))  # its rank
        active = np.arange(len(proposer))
        while len(active):
            asked = pairs.truth[at[active]]
            truth[proposer[active]] = asked
            single = ~crowd[asked]
            active, asked = active[single], asked[single]  # a crowd takes all
            before = holder[asked]
            np.minimum.at(best, asked, rank[active])
            won = rank[active] == best[asked]
            displaced = before[won & (before != NONE)]
            holder[asked[won]] = active[won]
            lost = np.concatenate([active[~won], displaced])
            truth[proposer[lost]] = NONE
            at[lost] += 1
            active = lost[at[lost] < end[lost]]
        return truth


def same_class(predictions: Predictions, truths: Truths, pairs: Overlaps) -> Mask:
    """Return which pairs are of one class: bool of shape (pairs,)."""
    return np.asarray(predictions.class_id[pairs.prediction] == truths.class_id[pairs.truth])


def ranks_in_class(predictions: Predictions) -> Ints:
    """Return the rank of each prediction by confidence in its image and class, from 0: int64 of shape (n,)."""
    order = np.lexsort((-predictions.confidence, predictions.class_id, predictions.image))
    group = np.zeros(len(predictions), np.int64)
    image, class_id = predictions.image[order], predictions.class_id[order]
    group[1:] = np.cumsum((np.diff(image) != 0) | (np.diff(class_id) != 0))
    ranks = np.empty(len(predictions), np.int64)
    ranks[order] = rank_within(group)
    return ranks
