"""Account for every box: what each prediction is, and which objects no prediction has."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.detections.boxes import Floats, Ints, Mask, Predictions, Truths
from operators.detections.config import MatchConfig
from operators.detections.kinds import IGNORED_TRUTH, KINDS, MISSED, Errors, best_of, errors_of
from operators.detections.matching import NONE, Matcher, ranks_in_class, same_class
from operators.detections.overlaps import Overlaps, overlaps
from operators.detections.tables import IMAGES, SAMPLES, box_columns, boxes_of, predictions_of, truths_of
from operators.keys import keys_of, pair_keys
from operators.schemas import to_numpy
from operators.segments import first_index

OF_PREDICTION, OF_TRUTH = 1, 2


class Account:
    """Images, objects and predictions -> a row for each prediction, and for each object that none has (SAMPLES).

    Args:
        config: how boxes are matched.
        names: class id -> its name; a class without one is named by its id.
    """

    def __init__(self, config: MatchConfig, names: Mapping[int, str]) -> None:
        self.config = config
        self.names = names

    def __call__(self, images: pa.Table, truth: pa.Table, found: pa.Table) -> pa.Table:
        """Account for the boxes of some whole images.

        Args:
            images: of the schema IMAGES.
            truth: the objects, of the schema TRUTHS, each of an image that is there.
            found: the predictions, of the schema PREDICTIONS, each of an image that is there.

        Returns:
            The rows in the order of image_key; of an image in the order of the predictions, and then of the objects.
        """
        keys = to_numpy(images, "image_key")
        truths = truths_of(truth, first_index(keys, to_numpy(truth, "image_key")))
        predictions = predictions_of(found, first_index(keys, to_numpy(found, "image_key")))
        kept = self._kept(predictions)
        predictions, found = predictions.take(kept), found.filter(pa.array(kept))
        pairs = overlaps(predictions, truths)
        (matching,) = Matcher(predictions, truths, pairs, self.config.class_agnostic).at(self.config.iou_threshold)
        thresholds = self.config.iou_threshold, self.config.background_threshold
        any_class = self.config.class_agnostic
        errors = errors_of(predictions, truths, pairs, matching, *thresholds, any_class=any_class)
        near = self._nearest(predictions, truths, pairs)
        of_predictions = self._of_predictions(found, truth, predictions, errors, near[0])
        of_objects = self._of_objects(truth, truths, ~matching.matched, errors.correctable, near[1])
        both = pa.concat_tables([of_predictions, of_objects])
        at = np.concatenate([predictions.image, truths.image[~matching.matched]])
        order = np.argsort(keys[at], kind="stable") if len(at) else at
        both = both.add_column(1, "image_id", images.column("image_id").take(pa.array(at)))
        return both.take(pa.array(order)).select(SAMPLES.names).cast(SAMPLES)

    def _kept(self, predictions: Predictions) -> Mask:
        most = self.config.max_detections
        return np.ones(len(predictions), np.bool_) if most is None else ranks_in_class(predictions) < most

    def _nearest(self, predictions: Predictions, truths: Truths, pairs: Overlaps) -> tuple[list[Floats], list[Floats]]:
        """Return the largest IoU of each prediction, and of each object: with one of its class, and with any."""
        pairs = pairs.take(~truths.ignored[pairs.truth])
        sides: tuple[list[Floats], list[Floats]] = ([], [])
        of_class = pairs if self.config.class_agnostic else pairs.take(same_class(predictions, truths, pairs))
        for some in (of_class, pairs):
            sides[0].append(best_of(some, len(predictions))[0])
            of_truth = np.zeros(len(truths))
            np.maximum.at(of_truth, some.truth, some.iou)
            sides[1].append(of_truth)
        return sides

    def _of_predictions(
        self, found: pa.Table, truth: pa.Table, predictions: Predictions, errors: Errors, near: list[Floats]
    ) -> pa.Table:
        about = pa.array(errors.truth, mask=errors.truth == NONE)
        boxes = np.full((len(predictions), 4), np.nan)
        has = errors.truth != NONE
        boxes[has] = boxes_of(truth)[errors.truth[has]]
        return pa.table(
            {
                "image_key": found.column("image_key"),
                "sample_key": _sample_keys(found, "prediction_id", OF_PREDICTION),
                "type": pa.array(KINDS).take(pa.array(errors.kind)),
                "prediction_id": found.column("prediction_id"),
                "truth_id": truth.column("truth_id").combine_chunks().take(about),
                "class_id": found.column("class_id"),
                "class_name": self._names_of(found),
                "truth_class_id": truth.column("class_id").combine_chunks().take(about),
                "confidence": found.column("confidence"),
                "iou": near[0],
                "any_iou": near[1],
                "loss": found.column("loss"),
                **box_columns(predictions.box),
                **box_columns(boxes, "truth_"),
                "correctable": pa.array(np.zeros(len(predictions), np.bool_)),
            }
        )

    def _of_objects(
        self, truth: pa.Table, truths: Truths, without: Mask, correctable: Mask, near: list[Floats]
    ) -> pa.Table:
        rows, nothing = truth.filter(pa.array(without)), int(without.sum())
        boxes = box_columns(truths.box[without])
        return pa.table(
            {
                "image_key": rows.column("image_key"),
                "sample_key": _sample_keys(rows, "truth_id", OF_TRUTH),
                "type": pc.if_else(pa.array(truths.ignored[without]), IGNORED_TRUTH, MISSED),
                "prediction_id": pa.nulls(nothing, pa.string()),
                "truth_id": rows.column("truth_id"),
                "class_id": rows.column("class_id"),
                "class_name": self._names_of(rows),
                "truth_class_id": rows.column("class_id"),
                "confidence": pa.nulls(nothing, pa.float64()),
                "iou": near[0][without],
                "any_iou": near[1][without],
                "loss": pa.nulls(nothing, pa.float64()),
                **boxes,
                **{f"truth_{side}": column for side, column in boxes.items()},
                "correctable": pa.array(correctable[without]),
            }
        )

    def _names_of(self, table: pa.Table) -> pa.Array:
        classes, place = np.unique(to_numpy(table, "class_id"), return_inverse=True)
        names = pa.array([self.names.get(one, str(one)) for one in classes.tolist()], pa.string())
        return names.take(pa.array(place))


def images_of(*tables: pa.Table) -> pa.Table:
    """Return the images that some tables with `image_id` name, each once (schema IMAGES), ascending by key."""
    ids = pa.concat_arrays([one.column("image_id").combine_chunks().cast(pa.string()) for one in tables]).unique()
    nothing = {name: pa.nulls(len(ids), IMAGES.field(name).type) for name in IMAGES.names[2:]}
    return pa.table({"image_key": keys_of(ids), "image_id": ids, **nothing}, schema=IMAGES).sort_by("image_key")


def _sample_keys(table: pa.Table, name: str, side: int) -> Ints:
    of_box = keys_of(table.column(name))
    return pair_keys(to_numpy(table, "image_key"), of_box, np.full(len(of_box), side, np.int64))
