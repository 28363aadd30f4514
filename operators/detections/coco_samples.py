"""Hard samples as COCO has annotations, so that other tools show them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.detections.tables import SIDES

# What an annotation says beside its box.
KEPT = ("type", "confidence", "iou", "hardness", "weight", "strategies", "prediction_id", "truth_id")


def image_id_of(image_id: str) -> int | str:
    """Return an id as COCO had it: a number where it is one."""
    return int(image_id) if image_id.isascii() and image_id.isdigit() and str(int(image_id)) == image_id else image_id


def images_of(images: pa.Table, hard: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the images that have hard samples, as COCO lists them."""
    named = images.filter(pc.is_in(images.column("image_key"), pc.unique(hard.column("image_key"))))
    for row in named.to_pylist():
        yield {
            "id": image_id_of(row["image_id"]),
            "file_name": row["uri"] or row["image_id"],
            "width": row["image_width"],
            "height": row["image_height"],
        }


def annotations_of(hard: pa.Table, first: int) -> Iterator[dict[str, Any]]:
    """Yield hard samples as annotations; their ids begin at `first`."""
    for number, row in enumerate(hard.to_pylist(), start=first):
        box = [row[side] for side in SIDES]
        yield {
            "id": number,
            "image_id": image_id_of(row["image_id"]),
            "category_id": row["class_id"],
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
            "score": row["confidence"],
            **{name: row[name] for name in KEPT},
        }


def categories_of(classes: Iterable[int], names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the categories of some classes."""
    return [{"id": one, "name": names.get(one, str(one))} for one in sorted(classes)]
