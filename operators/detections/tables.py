"""The Arrow tables of detections: what is read, and what is said of every box."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.detections.boxes import Floats, Ints, Mask, Predictions, Truths
from operators.detections.kinds import IGNORED_TRUTH, KINDS, MISSED
from operators.schemas import to_numpy

SIDES = ("x", "y", "width", "height")
_BOX = {side: pa.float64() for side in SIDES}

IMAGES = pa.schema(
    {
        "image_key": pa.int64(),
        "image_id": pa.string(),
        "image_width": pa.float64(),  # in pixels; null where it is not known
        "image_height": pa.float64(),
        "uri": pa.string(),  # of the picture; null where it is not known
    }
)
TRUTHS = pa.schema(
    {
        "image_key": pa.int64(),
        "place": pa.int64(),  # in the order of the sources
        "truth_id": pa.string(),
        "class_id": pa.int64(),
        **_BOX,
        "area": pa.float64(),
        "crowd": pa.bool_(),
        "ignored": pa.bool_(),
    }
)
PREDICTIONS = pa.schema(
    {
        "image_key": pa.int64(),
        "place": pa.int64(),
        "prediction_id": pa.string(),
        "class_id": pa.int64(),
        **_BOX,
        "confidence": pa.float64(),
        "loss": pa.float64(),  # null where the source has none
    }
)
# A prediction, or an object that no prediction has.
SAMPLES = pa.schema(
    {
        "image_key": pa.int64(),
        "image_id": pa.string(),
        "sample_key": pa.int64(),
        "type": pa.string(),  # one of TYPES
        "prediction_id": pa.string(),
        "truth_id": pa.string(),  # the object that it is about, or null
        "class_id": pa.int64(),  # of the prediction; of the object where there is none
        "class_name": pa.string(),
        "truth_class_id": pa.int64(),
        "confidence": pa.float64(),
        "iou": pa.float64(),  # the largest with a box of its class on the other side
        "any_iou": pa.float64(),  # the same, of any class
        "loss": pa.float64(),  # as it was given, or null
        **_BOX,  # of the prediction; of the object where there is none
        **{f"truth_{side}": pa.float64() for side in SIDES},
        "correctable": pa.bool_(),  # a missed object that a wrong prediction is about
    }
)
HARD = pa.schema(
    [
        *SAMPLES,
        pa.field("hardness", pa.float32()),  # the largest that a strategy gives it
        pa.field("strategies", pa.list_(pa.string())),  # those that it is hard for
        pa.field("weight", pa.float64()),
        pa.field("focal_weight", pa.float64()),
    ]
)
TYPES = (*KINDS, MISSED, IGNORED_TRUTH)
# Neither right nor wrong.
UNCOUNTED = ("ignored", IGNORED_TRUTH)


class Samples:
    """The rows of a table of samples as arrays of numpy: numbers that are null are NaN.

    Args:
        table: of the schema SAMPLES.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._columns: dict[str, npt.NDArray[Any]] = {}

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Return a column, of shape (n,)."""
        if name not in self._columns:
            self._columns[name] = np.asarray(self.table.column(name).to_numpy())
        return self._columns[name]

    def are(self, *types: str) -> Mask:
        """Return which samples are of one of some types: bool of shape (n,)."""
        return np.isin(self["type"].astype(str), types)

    @property
    def counted(self) -> Mask:
        """Which samples are right or wrong: bool of shape (n,)."""
        return ~self.are(*UNCOUNTED)

    def per_class(self, value: float | Mapping[str, float]) -> Floats:
        """Return a setting for each sample, which may differ by the name of the class: float64 of shape (n,)."""
        if not isinstance(value, Mapping):
            return np.full(len(self), float(value))
        names, place = np.unique(self["class_name"].astype(str), return_inverse=True)
        return np.array([value.get(name, value["default"]) for name in names.tolist()], np.float64)[place]


def boxes_of(table: pa.Table) -> Floats:
    """Return the boxes of a table: x, y, width and height, float64 of shape (n, 4)."""
    return np.stack([to_numpy(table, side) for side in SIDES], axis=1)


def box_columns(boxes: Floats, prefix: str = "") -> dict[str, pa.Array]:
    """Return boxes as columns; those that are NaN are null."""
    return {f"{prefix}{side}": pa.array(boxes[:, at], from_pandas=True) for at, side in enumerate(SIDES)}


def truths_of(table: pa.Table, image: Ints) -> Truths:
    """Return the objects of a table of the schema TRUTHS, with the numbers of their images."""
    more = {name: to_numpy(table, name) for name in ("area", "crowd", "ignored")}
    return Truths.of(image, to_numpy(table, "class_id"), boxes_of(table), **more)


def predictions_of(table: pa.Table, image: Ints) -> Predictions:
    """Return the predictions of a table of the schema PREDICTIONS, with the numbers of their images."""
    return Predictions(image, to_numpy(table, "class_id"), boxes_of(table), to_numpy(table, "confidence"))
