"""Rows of boxes as they are read: one schema for images, objects and predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.detections.boxes import Floats
from operators.detections.tables import SIDES as BOX_SIDES
from operators.keys import keys_of

IMAGE, TRUTH, PREDICTION = 0, 1, 2
# An image of which only predictions are known.
FOUND_IMAGE = 3
# The name of a class.
NAME = 4
ROWS = pa.schema(
    {
        "side": pa.int8(),
        "image_key": pa.int64(),
        "image_id": pa.string(),
        "place": pa.int64(),
        "box_id": pa.string(),
        "class_id": pa.int64(),
        **{side: pa.float64() for side in BOX_SIDES},
        "area": pa.float64(),
        "crowd": pa.bool_(),
        "ignored": pa.bool_(),
        "confidence": pa.float64(),
        "loss": pa.float64(),
        "image_width": pa.float64(),
        "image_height": pa.float64(),
        "uri": pa.string(),
    }
)
# Rows of one file; its number is above.
PLACE_BITS = 40


def rows_of(side: int, image_id: Sequence[str] | pa.Array | pa.ChunkedArray, **columns: Any) -> pa.Table:  # noqa: ANN401
    """Return a table of the schema ROWS; columns that are not given are null."""
    ids = (
        image_id.cast(pa.string())
        if isinstance(image_id, pa.Array | pa.ChunkedArray)
        else pa.array(image_id, pa.string())
    )
    given = {"side": np.full(len(ids), side, np.int8), "image_key": keys_of(ids), "image_id": ids, **columns}
    return pa.table({field.name: given.get(field.name, pa.nulls(len(ids), field.type)) for field in ROWS}, schema=ROWS)


def sides_of(box: Floats) -> Mapping[str, npt.NDArray[np.float64]]:
    """Return x, y, width and height of boxes of shape (n, 4), by name."""
    return {side: np.ascontiguousarray(box[:, at]) for at, side in enumerate(BOX_SIDES)}


def names_table(names: Mapping[int, str]) -> pa.Table:
    """Return the names of classes as rows."""
    return rows_of(NAME, [""] * len(names), class_id=list(names), box_id=list(names.values()))
