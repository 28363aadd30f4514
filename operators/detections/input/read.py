"""Read files of boxes of any format."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pyarrow as pa

from operators.detections.input.coco import Coco
from operators.detections.input.parquet import ParquetBoxes
from operators.detections.input.rows import PLACE_BITS
from operators.detections.input.sources import BoxFile, check_unchanged
from operators.detections.input.yolo import read_yolo
from operators.errors import InputError
from operators.storage import as_input_error, open_uri


def read(file: BoxFile, number: int, several: bool, names: dict[int, str]) -> Iterator[pa.Table]:
    """Yield the rows of one file as tables of the schema ROWS: images, objects and predictions.

    Args:
        file: of either side.
        number: of the file among all of its side.
        several: there are others, so ids that are made of places name the file, too.
        names: where the names of classes are noted.

    Raises:
        InputError: the file is damaged, or holds something else than boxes; the message names the place.
        TransientError: the file was changed in the meantime.
    """
    prefix, first = f"{number}:" if several else "", number << PLACE_BITS
    with as_input_error(f"data.{file.side}", file.uri, file.storage_options):
        fs, path = open_uri(file.uri, file.storage_options)
        raw = fs.open(path, "rb")
    unpacked: Any = gzip.GzipFile(fileobj=raw) if file.uri.endswith(".gz") else nullcontext(raw)
    with raw, unpacked as stream:
        if file.format == "yolo":
            yield from read_yolo(file, stream, first)
        else:
            kind = Coco if file.format == "coco" else ParquetBoxes
            try:
                yield from kind(file, prefix, names)(stream, first)
            except (EOFError, zlib.error) as error:
                raise InputError(f"{file.uri}: damaged or cut short ({error}). Is the file complete?") from None
    check_unchanged(file)
