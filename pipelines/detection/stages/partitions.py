"""Partitions of images, as `prepare` leaves them, for the stages that follow."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipelines.detection.stages.prepare import KINDS
from pipelines.runtime.engines import Unit
from pipelines.runtime.execution import StageOutput
from pipelines.runtime.storage.run_directory import StageFolder


def units_of(prepared: StageOutput, **more: Sequence[Mapping[str, Any]]) -> list[Unit]:
    """Return a unit for each partition: the records of its files, and one of each of `more`."""
    parts = {**{kind: prepared.parts(kind) for kind in KINDS}, **more}
    count = len(prepared.parts("images"))
    return [Unit(f"{at:05d}", {kind: dict(files[at]) for kind, files in parts.items()}) for at in range(count)]


def read_boxes(folder: StageFolder, unit: Unit) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Return the images, objects and predictions of a partition."""
    images, truths, predictions = (folder.read_table(unit.args[kind]) for kind in KINDS)
    return images, truths, predictions


def names_in(prepared: StageOutput) -> dict[int, str]:
    """Return the names of classes."""
    return {int(number): name for number, name in prepared.manifest["names"].items()}
