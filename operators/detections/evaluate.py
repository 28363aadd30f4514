"""Evaluate as COCO does: match at ten thresholds and in four ranges of areas, then rank the predictions of a class."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.detections.average_precision import AREAS, MAX_DETECTIONS, THRESHOLDS, Curve, curve_of, mean_of
from operators.detections.boxes import Ints, Mask
from operators.detections.matching import NONE, Matcher, ranks_in_class
from operators.detections.overlaps import overlaps
from operators.detections.tables import predictions_of, truths_of
from operators.schemas import concat, to_numpy
from operators.segments import first_index, group_indices

# A row for each prediction, or for the objects of a class in a batch. Bits are of thresholds.
EVALUATED = pa.schema(
    {
        "class_id": pa.int64(),
        "image_key": pa.int64(),
        "place": pa.int64(),
        "confidence": pa.float64(),  # NaN where the row is of objects
        **{f"{what}_{area}": pa.int16() for area in AREAS for what in ("matched", "ignored")},
        **{f"objects_{area}": pa.int64() for area in AREAS},
    }
)


class Evaluate:
    """Boxes of some whole images -> rows of the schema EVALUATED.

    Args:
        any_class: an object may be found as any class.
    """

    def __init__(self, any_class: bool = False) -> None:
        self.any_class = any_class

    def __call__(self, images: pa.Table, truth: pa.Table, found: pa.Table) -> pa.Table:
        """Match at every threshold and in every range of areas; the 100 most confident of an image and class count."""
        keys = to_numpy(images, "image_key")
        truths = truths_of(truth, first_index(keys, to_numpy(truth, "image_key")))
        predictions = predictions_of(found, first_index(keys, to_numpy(found, "image_key")))
        kept = ranks_in_class(predictions) < MAX_DETECTIONS
        predictions, found = predictions.take(kept), found.filter(pa.array(kept))
        matcher = Matcher(predictions, truths, overlaps(predictions, truths, THRESHOLDS[0]), self.any_class)
        columns = {name: to_numpy(found, name) for name in ("class_id", "image_key", "place", "confidence")}
        for area, limits in AREAS.items():
            matchings = matcher.at(*THRESHOLDS, areas=limits)
            columns[f"matched_{area}"] = _bits([one.truth != NONE for one in matchings])
            columns[f"ignored_{area}"] = _bits([one.ignored for one in matchings])
            columns[f"objects_{area}"] = np.zeros(len(predictions), np.int64)
        objects: dict[str, Counter[int]] = {}
        for area, (low, high) in AREAS.items():
            counted = ~truths.ignored & (truths.area >= low) & (truths.area <= high)
            objects[area] = Counter(truths.class_id[counted].tolist())
        return pa.concat_tables([pa.table(columns).select(EVALUATED.names).cast(EVALUATED), _rows_of(objects)])


def _bits(flags: list[Mask]) -> npt.NDArray[np.int16]:
    total = np.zeros(len(flags[0]), np.int16)
    for at, one in enumerate(flags):
        total |= one.astype(np.int16) << at
    return total


def _flags(bits: npt.NDArray[np.int16]) -> Mask:
    """Return the bits as flags, bool of shape (thresholds, n)."""
    return np.asarray((bits >> np.arange(len(THRESHOLDS), dtype=np.int16)[:, None]) & 1, np.bool_)


def _rows_of(objects: dict[str, Counter[int]]) -> pa.Table:
    classes = sorted(objects["all"].keys() | {one for counts in objects.values() for one in counts})
    nothing = np.zeros(len(classes), np.int64)
    columns: dict[str, npt.NDArray[np.generic]] = {name: nothing for name in EVALUATED.names}
    columns["class_id"], columns["confidence"] = np.array(classes, np.int64), np.full(len(classes), np.nan)
    for area, counts in objects.items():
        columns[f"objects_{area}"] = np.array([counts[one] for one in classes], np.int64)
    return pa.table(columns).select(EVALUATED.names).cast(EVALUATED)


def precisions(rows: pa.Table) -> dict[int, dict[str, float | None]]:
    """Return the measures of each class of which all rows are there (EVALUATED), by class, ascending.

    Of equal confidences the image of the lower key comes first. A measure is None where a class has no object.
    """
    rows = concat([rows], EVALUATED)
    rows = rows.sort_by([("class_id", "ascending"), ("image_key", "ascending"), ("place", "ascending")])
    class_id, confidence = to_numpy(rows, "class_id"), to_numpy(rows, "confidence")
    found = {}
    for one, at in group_indices(class_id):
        of_class = rows.take(pa.array(at))
        predicted = at[~np.isnan(confidence[at])]
        curves = {area: _curve(rows, predicted, confidence, area, of_class) for area in AREAS}
        of_all = curves["all"]
        found[one] = {
            "ap": mean_of([of_all]),
            "ap50": mean_of([of_all], 0),
            "ap75": mean_of([of_all], 5),
            **{f"ap_{area}": mean_of([curve]) for area, curve in curves.items() if area != "all"},
            f"ar{MAX_DETECTIONS}": None if of_all is None else float(of_all.recall.mean()),
        }
    return found


def _curve(
    rows: pa.Table, at: Ints, confidence: npt.NDArray[np.float64], area: str, of_class: pa.Table
) -> Curve | None:
    matched, ignored = (_flags(to_numpy(rows, f"{what}_{area}")[at]) for what in ("matched", "ignored"))
    return curve_of(confidence[at], matched, ignored, int(to_numpy(of_class, f"objects_{area}").sum()))
