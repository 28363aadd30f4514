"""Boxes as a validation loop has them, arrays of numpy or tensors of torch, as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.detections.boxes import BoxFormat, check_confidences, in_pixels
from operators.detections.tables import IMAGES, PREDICTIONS, TRUTHS, box_columns
from operators.errors import InputError
from operators.keys import keys_of

# One image, as torchvision has it: boxes, labels, and scores of predictions or iscrowd of objects.
Image = Mapping[str, Any]


def images_table(image_ids: Sequence[str]) -> pa.Table:
    """Return some images as a table of the schema IMAGES, ascending by key.

    Raises:
        InputError: an image is there twice.
    """
    ids = pa.array(image_ids, pa.string())
    if len(ids.unique()) < len(ids):
        raise InputError("image_id: an image is in the batch twice. Give each its own id.")
    nothing = [pa.nulls(len(ids))] * (len(IMAGES) - 2)
    return pa.table([keys_of(ids), ids, *nothing], schema=IMAGES).sort_by("image_key")


def predictions_table(images: Sequence[Image], image_ids: Sequence[str], form: BoxFormat) -> pa.Table:
    """Return the predictions of some images (PREDICTIONS); their ids are their places in the image.

    Raises:
        InputError: a box or a score is none, or there are more of one than of the other.
    """
    columns = _boxes("predictions", images, image_ids, form, "prediction_id")
    confidence = _joined("predictions", images, "scores", np.float64)
    check_confidences(confidence, "predictions")
    loss = pa.nulls(len(confidence), pa.float64())
    if all("loss" in one for one in images) and images:
        loss = pa.array(_joined("predictions", images, "loss", np.float64), from_pandas=True)
    return pa.table({**columns, "confidence": confidence, "loss": loss}).select(PREDICTIONS.names).cast(PREDICTIONS)


def truths_table(images: Sequence[Image], image_ids: Sequence[str], form: BoxFormat) -> pa.Table:
    """Return the objects of some images (TRUTHS); their ids are their places in the image.

    Raises:
        InputError: a box is none, or there are more boxes than labels.
    """
    columns = _boxes("ground_truth", images, image_ids, form, "truth_id")
    crowd = np.concatenate(
        [_array(one["iscrowd"], np.bool_) if "iscrowd" in one else np.zeros(_count(one), np.bool_) for one in images]
    )
    area = np.asarray(columns["width"].to_numpy() * columns["height"].to_numpy())
    return pa.table({**columns, "area": area, "crowd": crowd, "ignored": crowd}).select(TRUTHS.names).cast(TRUTHS)


def _boxes(
    side: str, images: Sequence[Image], image_ids: Sequence[str], form: BoxFormat, box_id: str
) -> dict[str, Any]:
    counts = [_count(one) for one in images]
    for one, count, image_id in zip(images, counts, image_ids, strict=True):
        for name in ("labels", "scores") if side == "predictions" else ("labels",):
            if name not in one or len(one[name]) != count:
                raise InputError(f"{side}: image {image_id}: {count} boxes need as many {name}. Give both.")
    box = in_pixels(_joined(side, images, "boxes", np.float64).reshape(-1, 4), form, side)
    places = np.concatenate([np.arange(count) for count in counts])
    return {
        "image_key": np.repeat(keys_of(pa.array(image_ids, pa.string())), counts),
        "place": places,
        box_id: pa.array(places).cast(pa.string()),
        "class_id": _joined(side, images, "labels", np.int64),
        **box_columns(box),
    }


def _count(image: Image) -> int:
    return len(image["boxes"])


def _joined(side: str, images: Sequence[Image], name: str, dtype: type) -> npt.NDArray[Any]:
    try:
        return np.concatenate([_array(one[name], dtype).reshape(-1) for one in images])
    except (TypeError, ValueError) as error:
        raise InputError(f"{side}: {name}: {error}. Arrays of numpy or tensors of torch are wanted.") from None


def _array(values: Any, dtype: type) -> npt.NDArray[Any]:  # noqa: ANN401 - a tensor, an array or a list
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype)
