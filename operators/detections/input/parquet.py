"""Read Parquet: a row for each box, with columns of any name."""

from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from operators.detections.boxes import Floats, check_confidences, in_pixels
from operators.detections.input.config import OPTIONAL, REQUIRED
from operators.detections.input.rows import FOUND_IMAGE, IMAGE, PREDICTION, TRUTH, rows_of, sides_of
from operators.detections.input.sources import BoxFile
from operators.errors import InputError
from operators.keys import keys_of

ROWS_AT_A_TIME = 65_536
_CORNERS = tuple(f"box_{at}" for at in range(4))
_SIZES = ("image_width", "image_height")


class ParquetBoxes:
    """Reads one Parquet file.

    Args:
        file: of either side.
        prefix: of the ids of boxes that have none; they are numbered from 0.
        names: where the names of classes are noted: a class that is a text has the key of the text as its id.
    """

    def __init__(self, file: BoxFile, prefix: str, names: dict[int, str]) -> None:
        self.file, self.prefix, self.names = file, prefix, names
        self.truth = file.side == "ground_truth"

    def __call__(self, stream: IO[bytes], first: int) -> Iterator[pa.Table]:
        """Yield tables of the schema ROWS, whose places begin at `first`.

        Raises:
            InputError: the file is damaged, a column is missing, or a value is wrong.
        """
        done = 0
        try:
            source = pq.ParquetFile(stream)
            roles = self._roles(source.schema_arrow.names)
            for batch in source.iter_batches(ROWS_AT_A_TIME, columns=list(roles.values())):
                columns = {role: batch.column(name) for role, name in roles.items()}
                if batch.num_rows:
                    yield from self._tables(columns, first + done, done, batch.num_rows)
                done += batch.num_rows
        except pa.ArrowException as error:
            raise InputError(f"{self.file.uri}: from row {done}: {error}. Are the columns of the right kind?") from None

    def _roles(self, names: list[str]) -> dict[str, str]:
        roles = {}
        corners = not ("box" in self.file.columns or "box" in names)
        wanted = [role for role in REQUIRED[self.file.side] if not (corners and role == "box")]
        for role in (*wanted, *(_CORNERS if corners else ())):
            name = self.file.columns.get(role, role)
            if name not in names:
                raise InputError(
                    f"{self.file.uri}: there is no column {name!r}. Name it: data.{self.file.side}.columns.{role}. "
                    f"The columns are {', '.join(names)}."
                )
            roles[role] = name
        for role in OPTIONAL[self.file.side]:
            name = self.file.columns.get(role, role)
            if name in names:
                roles[role] = name
            elif role in self.file.columns:
                raise InputError(f"{self.file.uri}: there is no column {name!r}, which data.{self.file.side} names.")
        return roles

    def _tables(self, columns: Mapping[str, pa.Array], place: int, row: int, count: int) -> Iterator[pa.Table]:
        where = f"{self.file.uri}, from row {row}"
        missing = next((role for role in columns if role in _needed(self.file) and columns[role].null_count), None)
        if missing is not None:
            raise InputError(f"{where}: {columns[missing].null_count} values of {missing} are missing. Fill them in.")
        ids = columns["image_id"].cast(pa.string())
        known = {name: columns[name].cast(pa.float64()) for name in _SIZES if name in columns}
        if "uri" in columns:
            known["uri"] = columns["uri"].cast(pa.string())
        images = pa.table({"image_id": ids, **known}).group_by("image_id", use_threads=False)
        images = images.aggregate([(name, "first") for name in known])
        more = {name: images.column(f"{name}_first") for name in known}
        yield rows_of(IMAGE if self.truth else FOUND_IMAGE, images.column("image_id"), **more)
        box = self._boxes(columns, where, known)
        common: dict[str, Any] = {
            "place": np.arange(place, place + count),
            "box_id": self._ids(columns, row, count),
            "class_id": self._classes(columns["class"]),
            **sides_of(box),
        }
        if self.truth:
            yield rows_of(TRUTH, ids, **self._of_truth(columns, box), **common)
            return
        confidence = columns["confidence"].cast(pa.float64())
        check_confidences(confidence.to_numpy(zero_copy_only=False), where)
        yield rows_of(PREDICTION, ids, confidence=confidence, loss=_losses(columns, where, count), **common)

    def _of_truth(self, columns: Mapping[str, pa.Array], box: Floats) -> dict[str, pa.Array]:
        none = pa.array(np.zeros(len(box), np.bool_))
        crowd, ignored = (
            pc.fill_null(columns[name].cast(pa.bool_()), False) if name in columns else none
            for name in ("crowd", "ignored")
        )
        area = pa.array(box[:, 2] * box[:, 3])
        given = pc.fill_null(columns["area"].cast(pa.float64()), area) if "area" in columns else area
        return {"area": given, "crowd": crowd, "ignored": pc.or_(crowd, ignored)}

    def _boxes(self, columns: Mapping[str, pa.Array], where: str, known: Mapping[str, pa.Array]) -> Floats:
        if "box" in columns:
            lists = columns["box"].cast(pa.list_(pa.float64()))
            if not pc.all(pc.equal(pc.list_value_length(lists), 4)).as_py():
                raise InputError(f"{where}: a box is a list of four numbers. Correct the column.")
            values = lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, 4)
        else:
            parts = [columns[name].cast(pa.float64()).to_numpy(zero_copy_only=False) for name in _CORNERS]
            values = np.stack(parts, axis=1)
        if not self.file.normalized:
            return in_pixels(values, self.file.box, where)
        if self.file.in_shares:
            return in_pixels(values, self.file.box, where, np.ones((len(values), 2)))
        if any(name not in known or known[name].null_count for name in _SIZES):
            raise InputError(f"{where}: normalized boxes need image_width and image_height in each row. Add them.")
        sizes = np.stack([known[name].to_numpy(zero_copy_only=False) for name in _SIZES], axis=1)
        return in_pixels(values, self.file.box, where, sizes)

    def _ids(self, columns: Mapping[str, pa.Array], row: int, count: int) -> pa.Array:
        if "id" in columns:
            return columns["id"].cast(pa.string())
        return pa.array([f"{self.prefix}{number}" for number in range(row, row + count)], pa.string())

    def _classes(self, column: pa.Array) -> pa.Array:
        if pa.types.is_integer(column.type):
            return column.cast(pa.int64())
        texts = column.cast(pa.string())
        distinct = texts.unique()
        self.names.update(zip(keys_of(distinct).tolist(), distinct.to_pylist(), strict=True))
        return pa.array(keys_of(texts))


def _losses(columns: Mapping[str, pa.Array], where: str, count: int) -> pa.Array:
    """Return the losses; null where they are missing or no number."""
    if "loss" not in columns:
        return pa.nulls(count, pa.float64())
    loss = columns["loss"].cast(pa.float64())
    given = loss.to_numpy(zero_copy_only=False)
    wrong = (given < 0) | np.isinf(given)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"{where}: loss {row} is {given[row]:g}, and a number from 0 on is wanted.")
    return pa.array(given, from_pandas=True)


def _needed(file: BoxFile) -> set[str]:
    return {*REQUIRED[file.side], *_CORNERS, "id"}
