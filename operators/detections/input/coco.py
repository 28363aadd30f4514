"""Read COCO: ground truth with images, annotations and categories, and lists of results."""

from collections.abc import Iterator, Mapping
from itertools import groupby, islice
from typing import IO, Any

import numpy as np
import pyarrow as pa

from operators.detections.boxes import check_confidences, in_pixels
from operators.detections.input.json_stream import NotJsonError, members
from operators.detections.input.rows import IMAGE, PREDICTION, TRUTH, rows_of, sides_of
from operators.detections.input.sources import BoxFile
from operators.errors import InputError, shown

# Objects of JSON that become one table.
ROWS_AT_A_TIME = 20_000
_NAMED = {"images": "id", "annotations": "image_id", "categories": "id", "": "image_id"}


class Coco:
    """Reads one COCO file.

    Args:
        file: of ground truth or of results.
        prefix: of the ids of predictions, which have none of their own; they are numbered from 0.
        names: where the names of classes are noted.
    """

    def __init__(self, file: BoxFile, prefix: str, names: dict[int, str]) -> None:
        self.file, self.prefix, self.names = file, prefix, names
        self.truth = file.side == "ground_truth"

    def __call__(self, stream: IO[bytes], first: int) -> Iterator[pa.Table]:
        """Yield tables of the schema ROWS, whose places begin at `first`.

        Raises:
            InputError: the file is no JSON, or holds something else than boxes.
        """
        done = 0
        try:
            for key, group in groupby(members(stream), key=lambda member: member[0]):
                if key not in _NAMED or (key == "") == self.truth:
                    wanted = "an object with images and annotations" if self.truth else "a list of results"
                    if key == "" or not self.truth:
                        raise InputError(f"{self.file.uri}: {wanted} is wanted. Is it the other side of the data?")
                    for _ in group:
                        pass
                    continue
                ones = (one for _, one in group)
                while some := list(islice(ones, ROWS_AT_A_TIME)):
                    yield from self._table(key, some, first + done, done)
                    done += len(some) if key in {"", "annotations"} else 0
        except (NotJsonError, UnicodeDecodeError) as error:
            raise InputError(f"{self.file.uri}: not JSON after {done} boxes: {error}. Is the file complete?") from None

    def _table(self, key: str, some: list[Any], place: int, row: int) -> Iterator[pa.Table]:
        where = f"{self.file.uri}: {key or 'results'}, from {row}"
        try:
            if key == "categories":
                self.names.update({int(one["id"]): str(one["name"]) for one in some})
            elif key == "images":
                yield _images(some)
            else:
                yield self._boxes(some, place, row, where)
        except (KeyError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
            if isinstance(error, InputError):
                raise
            what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{where}: {what}. Write it as COCO does.") from None

    def _boxes(self, some: list[dict[str, Any]], place: int, row: int, where: str) -> pa.Table:
        without = next((at for at, one in enumerate(some) if "bbox" not in one), None)
        if without is not None:
            what = next((name for name in ("keypoints", "segmentation") if name in some[without]), None)
            found = f"{what} and no bbox" if what else "no bbox"
            raise InputError(
                f"{where}: number {without} has {found}: masks and keypoints are not compared. Give boxes."
            )
        box = in_pixels(np.array([one["bbox"] for one in some], np.float64), "xywh", where)
        common = {
            "place": np.arange(place, place + len(some)),
            "class_id": [int(one["category_id"]) for one in some],
            **sides_of(box),
        }
        ids = [_image_id(one["image_id"]) for one in some]
        if not self.truth:
            confidence = np.array([one["score"] for one in some], np.float64)
            check_confidences(confidence, where)
            names = [f"{self.prefix}{number}" for number in range(row, row + len(some))]
            return rows_of(PREDICTION, ids, box_id=names, confidence=confidence, **common)
        crowd = np.array([bool(one.get("iscrowd", 0)) for one in some])
        area = [float(one.get("area", width * height)) for one, (width, height) in zip(some, box[:, 2:], strict=True)]
        return rows_of(
            TRUTH, ids, box_id=[str(one["id"]) for one in some], area=area, crowd=crowd, ignored=crowd, **common
        )


def _images(some: list[Mapping[str, Any]]) -> pa.Table:
    sizes = {f"image_{name}": [one.get(name) for one in some] for name in ("width", "height")}
    uris = [one.get("file_name") for one in some]
    typed = {name: pa.array(values, pa.float64()) for name, values in sizes.items()}
    return rows_of(IMAGE, [_image_id(one["id"]) for one in some], uri=pa.array(uris, pa.string()), **typed)


def _image_id(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"the image id {shown(value)} is neither a number nor a text")
    return str(value)
