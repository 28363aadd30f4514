"""Read YOLO: a text file for each image, with `class cx cy width height [confidence]` in each line, as shares."""

from typing import IO

import numpy as np
import pyarrow as pa

from operators.detections.boxes import check_confidences, in_pixels
from operators.detections.input.rows import FOUND_IMAGE, IMAGE, PREDICTION, TRUTH, rows_of, sides_of
from operators.detections.input.sources import BoxFile
from operators.errors import InputError

UNIT = np.ones(2)


def read_yolo(file: BoxFile, stream: IO[bytes], first: int) -> list[pa.Table]:
    """Return tables of the schema ROWS: the image, whose id is the name of the file, and its boxes.

    The IoU of shares is that of pixels. Areas are shares, too, as the size of the image is not known.

    Raises:
        InputError: a line has another number of values, or one that is no number.
    """
    truth = file.side == "ground_truth"
    image_id = file.uri.rpartition("/")[2].removesuffix(".txt")
    tables = [rows_of(IMAGE if truth else FOUND_IMAGE, [image_id])]
    values = _values(file, stream, 5 if truth else 6)
    if not len(values):
        return tables
    box = in_pixels(values[:, 1:5], "cxcywh", file.uri, np.tile(UNIT, (len(values), 1)))
    columns = {
        "place": np.arange(first, first + len(values)),
        "box_id": [str(line) for line in range(len(values))],
        "class_id": values[:, 0].astype(np.int64),
        **sides_of(box),
    }
    ids, none = [image_id] * len(values), np.zeros(len(values), np.bool_)
    if truth:
        tables.append(rows_of(TRUTH, ids, area=box[:, 2] * box[:, 3], crowd=none, ignored=none, **columns))
    else:
        check_confidences(values[:, 5], file.uri)
        tables.append(rows_of(PREDICTION, ids, confidence=values[:, 5], **columns))
    return tables


def _values(file: BoxFile, stream: IO[bytes], wanted: int) -> np.ndarray:
    try:
        rows = [line.split() for line in stream.read().decode("utf-8").splitlines() if line.strip()]
        wrong = next((at for at, row in enumerate(rows) if len(row) != wanted), None)
        if wrong is None:
            values = np.array(rows, np.float64).reshape(-1, wanted)
            if (values[:, 0] == np.floor(values[:, 0])).all() and (values[:, 0] >= 0).all():
                return values
            raise ValueError("a class is no whole number from 0 on")
    except ValueError as error:
        raise InputError(f"{file.uri}: {error}. A line is `class cx cy width height`, in numbers.") from None
    more = " Save predictions with their confidences (save_conf=True)." if wanted == 6 and len(rows[wrong]) == 5 else ""
    more = " More than five values are a polygon or keypoints: give boxes." if len(rows[wrong]) > wanted else more
    raise InputError(f"{file.uri}: line {wrong + 1} has {len(rows[wrong])} values, and {wanted} are wanted.{more}")
