"""Take rows as they are read apart: the images, the objects and the predictions of a partition."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.detections.input.rows import FOUND_IMAGE, IMAGE, PREDICTION, TRUTH
from operators.detections.tables import IMAGES, PREDICTIONS, TRUTHS
from operators.errors import InputError
from operators.schemas import to_numpy
from operators.segments import in_sorted, starts_of


@dataclass(frozen=True)
class Partition:
    """All there is of some images.

    Attributes:
        images: of the schema IMAGES, ascending by key.
        truths: of the schema TRUTHS, by image and then in the order of the sources.
        predictions: of the schema PREDICTIONS, in the same order.
    """

    images: pa.Table
    truths: pa.Table
    predictions: pa.Table


def apart(rows: pa.Table, listed: bool = False) -> Partition:
    """Take the rows of some whole images apart, in whatever order they come.

    Args:
        rows: of the schema ROWS.
        listed: the ground truth lists every image, as COCO does; else an image that only predictions name has no
            objects.

    Raises:
        InputError: a box is of an image that is not there.
    """
    side = to_numpy(rows, "side")
    images = _images(rows.filter(pa.array((side == IMAGE) | ((side == FOUND_IMAGE) & (not listed)))))
    boxes = []
    for kind, schema, box_id, named in (
        (TRUTH, TRUTHS, "truth_id", "an object"),
        (PREDICTION, PREDICTIONS, "prediction_id", "a prediction"),
    ):
        of_side = rows.filter(pa.array(side == kind))
        strange = np.flatnonzero(~in_sorted(to_numpy(of_side, "image_key"), to_numpy(images, "image_key")))
        if len(strange):
            image = of_side.column("image_id")[int(strange[0])].as_py()
            raise InputError(
                f"data: {named} is of the image {image!r}, which the ground truth does not list. Do both sides belong "
                f"together? List every image, or leave out what is of others."
            )
        order = pc.sort_indices(of_side, [("image_key", "ascending"), ("place", "ascending")])
        ordered = of_side.take(order)
        boxes.append(ordered.rename_columns({"box_id": box_id}).select(schema.names).cast(schema))
    return Partition(images, *boxes)


def _images(rows: pa.Table) -> pa.Table:
    """Return each image once: what the ground truth says of it, where it says something."""
    order = pc.sort_indices(
        rows, [("image_key", "ascending"), ("side", "ascending"), ("image_width", "ascending"), ("uri", "ascending")]
    )
    ordered = rows.take(order)
    return ordered.take(pa.array(starts_of(to_numpy(ordered, "image_key")))).select(IMAGES.names).cast(IMAGES)
