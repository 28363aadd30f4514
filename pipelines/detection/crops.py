"""Crops of hard samples: the box and what is around it, with the boxes drawn."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from operators.detections.tables import SIDES

# So much of the size of a box is shown on each side of it.
CONTEXT = 0.5
COLOURS = {"": "#d62728", "truth_": "#2ca02c"}


def save_crops(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write a PNG for each row of the schema HARD, named by its key; its prediction is red, its object green.

    Args:
        rows: their `image_id` is the path of their image.
        folder: is made where it is not there.
    """
    from PIL import Image, ImageDraw

    folder.mkdir(parents=True, exist_ok=True)
    by_image: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_image[row["image_id"]].append(row)
    for path, of_image in by_image.items():
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        for row in of_image:
            crop, corner = _crop(picture, [row[side] for side in SIDES])
            draw = ImageDraw.Draw(crop)
            for prefix, colour in COLOURS.items():
                x, y, width, height = (row[f"{prefix}{side}"] for side in SIDES)
                if x is not None and (prefix or row["prediction_id"] is not None):
                    left, top = x - corner[0], y - corner[1]
                    draw.rectangle((left, top, left + width, top + height), outline=colour)
            crop.save(folder / f"{row['sample_key']}-{row['type']}.png")


def _crop(picture: Any, box: Sequence[float]) -> tuple[Any, tuple[int, int]]:  # noqa: ANN401 - an image of PIL
    """Return what is in a box and around it, at least one pixel, and where its corner is in the picture."""
    x, y, width, height = box
    left, top = (max(int(at - CONTEXT * size), 0) for at, size in ((x, width), (y, height)))
    left, top = min(left, picture.width - 1), min(top, picture.height - 1)
    right = min(max(int(x + width * (1 + CONTEXT)) + 1, left + 1), picture.width)
    bottom = min(max(int(y + height * (1 + CONTEXT)) + 1, top + 1), picture.height)
    return picture.crop((left, top, right, bottom)), (left, top)
