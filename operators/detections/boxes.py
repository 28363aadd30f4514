"""Boxes: the forms in which they are written, and what of them is refused."""

from dataclasses import dataclass, fields, replace
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from operators.errors import InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Corner and size; two corners; centre and size.
BoxFormat = Literal["xywh", "xyxy", "cxcywh"]
# A share of the size of an image; a box may hang over its edge by as much as the image is large.
LARGEST_SHARE = 2.0


@dataclass(frozen=True)
class Truths:
    """The objects of some images.

    Attributes:
        image: the number of the image, int64 of shape (n,).
        class_id: int64 of shape (n,).
        box: x, y, width, height in pixels, float64 of shape (n, 4).
        area: in pixels, which decides about ranges of areas: that of the mask, where there is one; float64 (n,).
        crowd: the box is around a group: it takes any number of predictions, and none of them counts; bool (n,).
        ignored: neither a match nor a miss of it counts, as COCO has it: bool (n,); a crowd is ignored, too.
    """

    image: Ints
    class_id: Ints
    box: Floats
    area: Floats
    crowd: Mask
    ignored: Mask

    @classmethod
    def of(cls, image: Ints, class_id: Ints, box: Floats, **more: npt.NDArray[np.generic] | None) -> Self:
        """Make objects, none of them a crowd, with the area of their boxes, where it is not said otherwise."""
        crowd = _given(more.get("crowd"), np.zeros(len(image))).astype(np.bool_)
        ignored = crowd | _given(more.get("ignored"), crowd).astype(np.bool_)
        area = _given(more.get("area"), box[:, 2] * box[:, 3]).astype(np.float64)
        return cls(image.astype(np.int64), class_id.astype(np.int64), box, area, crowd, ignored)

    def __len__(self) -> int:
        return len(self.image)

    def take(self, rows: Ints | Mask) -> Self:
        """Return some of them."""
        return replace(self, **{one.name: getattr(self, one.name)[rows] for one in fields(self)})


@dataclass(frozen=True)
class Predictions:
    """What a detector found in some images.

    Of equal confidences the first row of an image comes first.

    Attributes:
        image: the number of the image, int64 of shape (n,).
        class_id: int64 of shape (n,).
        box: x, y, width, height in pixels, float64 of shape (n, 4).
        confidence: float64 of shape (n,).
    """

    image: Ints
    class_id: Ints
    box: Floats
    confidence: Floats

    def __len__(self) -> int:
        return len(self.image)

    @property
    def area(self) -> Floats:
        """The areas of the boxes: float64 of shape (n,)."""
        return np.asarray(self.box[:, 2] * self.box[:, 3])

    def take(self, rows: Ints | Mask) -> Self:
        """Return some of them."""
        return replace(self, **{one.name: getattr(self, one.name)[rows] for one in fields(self)})


def _given(values: npt.NDArray[np.generic] | None, otherwise: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return otherwise if values is None else values


def in_pixels(
    boxes: npt.NDArray[np.floating], written: BoxFormat, place: str, sizes: npt.NDArray[np.floating] | None = None
) -> Floats:
    """Return boxes as x, y, width and height in pixels, whatever form they are written in.

    Args:
        boxes: of shape (n, 4).
        written: the form.
        place: where they come from, for messages; the row is put behind it.
        sizes: the width and height of the image of each box, of shape (n, 2), where boxes are shares of it; else None.

    Returns:
        float64 of shape (n, 4).

    Raises:
        InputError: a value is not finite, a box has a negative width or height, or a share is none.
    """
    given = np.asarray(boxes, np.float64).reshape(-1, 4)
    _refuse(~np.isfinite(given).all(axis=1), given, place, "a coordinate is not finite. Leave this box out")
    if sizes is not None:
        large = (np.abs(given) > LARGEST_SHARE).any(1)
        _refuse(large, given, place, "the boxes are to be shares of the image, and this is none. Set normalized: false")
        given = given * np.tile(np.asarray(sizes, np.float64).reshape(-1, 2), 2)
    first, last = given[:, :2], given[:, 2:]
    size = last - first if written == "xyxy" else last
    corner = first - last / 2 if written == "cxcywh" else first
    others = ", ".join(one for one in ("xywh", "xyxy", "cxcywh") if one != written)
    _refuse((size < 0).any(1), given, place, f"as {written} its size is negative. Is it one of {others}?")
    return np.concatenate([corner, size], 1)


def _refuse(wrong: npt.ArrayLike, boxes: Floats, place: str, why: str) -> None:
    wrong = np.asarray(wrong)
    if wrong.any():
        row = int(wrong.argmax())
        values = ", ".join(f"{value:g}" for value in boxes[row])
        raise InputError(f"{place}: box {row} [{values}]: {why.rstrip('.')}.")


def check_confidences(confidence: Floats, place: str) -> None:
    """Refuse confidences that are no numbers from 0 to 1.

    Raises:
        InputError: it names the first of them.
    """
    wrong = ~((confidence >= 0) & (confidence <= 1))  # NaN, too
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"{place}: confidence {row} is {confidence[row]:g}, and a number from 0 to 1 is wanted.")
