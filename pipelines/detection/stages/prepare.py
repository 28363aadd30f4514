"""Prepare: files of boxes -> partitions of whole images, with the objects and the predictions of each."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.detections.input.apart import apart
from operators.detections.input.read import read
from operators.detections.input.rows import NAME, ROWS, names_table
from operators.detections.input.sources import BoxFile
from operators.errors import InputError
from operators.schemas import to_numpy
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.runtime.shuffle import Shuffle
from pipelines.runtime.stage import Stage, Summary
from pipelines.runtime.storage.run_directory import StageFolder

LARGE_FILE = 1 << 30
# Small files, as those of YOLO, are read so many bytes, or files, at a time.
BYTES_AT_A_TIME, FILES_AT_A_TIME = 8 << 20, 256
KINDS = ("images", "truths", "predictions")


@dataclass(frozen=True)
class PrepareBoxes(Stage):
    """Files of both sides -> partitions of images (IMAGES), objects (TRUTHS) and predictions (PREDICTIONS).

    Attributes:
        files: of both sides.
        class_names: those that the configuration gives.
        partition_bytes: of sources, for each partition.
    """

    files: Sequence[BoxFile]
    class_names: Mapping[int, str]
    partition_bytes: int

    name = "prepare/boxes"
    kept_when_refused = False

    def settings(self) -> Mapping[str, Any]:
        """Return the files as they are now, and how large partitions are."""
        return {
            "files": [file.model_dump() for file in self.files],
            "class_names": {str(number): name for number, name in sorted(self.class_names.items())},
            "partition_bytes": self.partition_bytes,
        }

    def needs(self, manifest: Mapping[str, Any] | None) -> str:
        """Say how much is read."""
        del manifest
        return f"{sum(file.size or 0 for file in self.files):,} bytes in {len(self.files):,} files"

    def run(self, execution: Execution) -> Summary:
        """Read, and bring the rows of each image together."""
        sizes = [LARGE_FILE if file.size is None else file.size for file in self.files]
        partitions = max(math.ceil(sum(sizes) / self.partition_bytes), 1)
        units = [
            Unit(f"{at:05d}", {"files": some, "bytes": sum(sizes[one] for one in some)})
            for at, some in enumerate(_together(sizes))
        ]
        buckets = [Unit(f"{at:05d}", {}) for at in range(partitions)]
        route = partial(RouteRows, self.files, partitions)
        listed = all(file.format == "coco" for file in self.files if file.side == "ground_truth")
        gather = partial(WritePartition, execution.folder, listed)
        stats = execution.shuffle("read", Shuffle(route, units, gather, buckets, ROWS))
        rows = {kind: sum(one[kind]["rows"] for one in stats) for kind in KINDS}
        for side, kind in (("ground_truth", "truths"), ("predictions", "predictions")):
            if not rows[kind]:
                raise InputError(f"data.{side}: there is no box in {self._first(side)}. Is it the right file?")
        named = {int(number): name for one in stats for number, name in one["names"].items()}
        names = {**named, **self.class_names}
        return Summary(
            rows_in=sum(rows.values()) - rows["images"],
            rows_out=rows["truths"] + rows["predictions"],
            facts={"names": {str(number): name for number, name in sorted(names.items())}, "boxes": rows},
            parts={kind: [one[kind] for one in stats] for kind in KINDS},
            line=" and ".join(f"{rows[kind]:,} {kind}" for kind in KINDS),
        )

    def _first(self, side: str) -> str:
        return next(file.uri for file in self.files if file.side == side)


def _together(sizes: Sequence[int]) -> list[list[int]]:
    """Return the places of files that are read as one unit."""
    units, size = [[]], 0  # type: list[list[int]], int
    for at, one in enumerate(sizes):
        if units[-1] and (size + one > BYTES_AT_A_TIME or len(units[-1]) == FILES_AT_A_TIME):
            units.append([])
            size = 0
        units[-1].append(at)
        size += one
    return units


class RouteRows:
    """Some files -> their rows, to the partitions of their images."""

    def __init__(self, files: Sequence[BoxFile], partitions: int) -> None:
        self.files, self.partitions = files, partitions
        sides = [file.side for file in files]
        self.several = {side: sides.count(side) > 1 for side in sides}

    def __call__(self, unit: Unit) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
        """Route the rows of some files."""
        names: dict[int, str] = {}
        for at in unit.args["files"]:  # by number: units are written and logged, and a file knows credentials
            file = self.files[at]
            for table in read(file, at, self.several[file.side], names):
                yield to_numpy(table, "image_key") % self.partitions, table
        if names:
            yield np.zeros(len(names), np.int64), names_table(names)


class WritePartition:
    """All rows of some images -> one partition."""

    def __init__(self, folder: StageFolder, listed: bool) -> None:
        self.folder, self.listed = folder, listed

    def __call__(self, bucket: Unit, rows: pa.Table) -> Stats:
        """Write one partition."""
        named = rows.filter(pa.array(to_numpy(rows, "side") == NAME))
        partition = apart(rows, self.listed)
        written = {}
        for kind, table in zip(KINDS, (partition.images, partition.truths, partition.predictions), strict=True):
            file = self.folder.write_table(f"{kind}/part-{bucket.name}.parquet", table)
            written[kind] = {**file, "rows": table.num_rows}
        pairs = zip(named.column("class_id").to_pylist(), named.column("box_id").to_pylist(), strict=True)
        names = {str(number): name for number, name in sorted(pairs)}
        return {**written, "names": names, "rows_out": rows.num_rows}
