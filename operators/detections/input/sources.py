"""The files of detections: which there are, and whether they changed."""

from collections.abc import Mapping
from typing import Any, Literal

import fsspec
import yaml
from pydantic import BaseModel, ConfigDict, Field

from operators.detections.boxes import BoxFormat
from operators.detections.input.config import OPTIONAL, REQUIRED, DataConfig, Side, SourceConfig
from operators.errors import InputError, TransientError
from operators.storage import as_input_error, check_storage, info_of, open_uri

ENDINGS: Mapping[str, Literal["coco", "yolo", "parquet"]] = {
    ".json": "coco",
    ".json.gz": "coco",
    ".txt": "yolo",
    ".parquet": "parquet",
}
_STAMPS = ("ETag", "etag", "blob_id", "mtime", "created")


class BoxFile(BaseModel):
    """One file of boxes, with what tells that it has changed."""

    model_config = ConfigDict(frozen=True)

    side: Side
    uri: str
    format: Literal["coco", "yolo", "parquet"]
    stamp: str
    size: int | None
    box: BoxFormat
    normalized: bool
    columns: dict[str, str]
    storage_options: dict[str, Any] = Field(repr=False, exclude=True)

    @property
    def in_shares(self) -> bool:
        """Tell whether boxes stay shares of their images, as no sizes are known."""
        return self.format == "yolo" or (self.normalized and "image_width" not in self.columns)


def list_files(side: Side, source: SourceConfig) -> list[BoxFile]:
    """Find the files of one side, in the order of the configuration and then by name.

    Raises:
        InputError: a path that matches nothing, a storage that cannot be used, or a name that tells no format.
    """
    return [file for path in source.path for file in _files_at(side, source, path)]


def _files_at(side: Side, source: SourceConfig, path: str) -> list[BoxFile]:
    key = f"data.{side}.path"
    check_storage(key, path, source.storage_options)
    with as_input_error(key, path, source.storage_options):
        fs, root = open_uri(path, source.storage_options)
        info = info_of(fs, root)
        found: dict[str, Mapping[str, Any]] = {} if info is None or info["type"] != "file" else {root: info}
        if info is None and fsspec.core.has_magic(root):
            found = {name: one for name, one in fs.glob(root, detail=True).items() if one["type"] == "file"}
    if not found:
        raise InputError(f"{key}: no file at {path}. Check the path; a folder needs a glob such as *.txt.")
    return [_file(side, source, fs, name, found[name]) for name in sorted(found)]


def _file(side: Side, source: SourceConfig, fs: Any, name: str, info: Mapping[str, Any]) -> BoxFile:  # noqa: ANN401
    ending = next((one for one in sorted(ENDINGS, key=len) if name.lower().endswith(one)), None)
    if source.format == "auto" and ending is None:
        raise InputError(f"{name}: its name does not tell its format. Set data.{side}.format to coco, yolo or parquet.")
    stamp, size = _version(info)
    return BoxFile(
        side=side,
        uri=fs.unstrip_protocol(name),
        format=ENDINGS[str(ending)] if source.format == "auto" else source.format,
        stamp=stamp,
        size=size,
        box=source.box,
        normalized=source.normalized,
        columns=source.columns,
        storage_options=source.storage_options,
    )


def _version(info: Mapping[str, Any]) -> tuple[str, int | None]:
    size = info.get("size")
    return next((str(info[key]) for key in _STAMPS if info.get(key)), ""), None if size is None else int(size)


def check_unchanged(file: BoxFile) -> None:
    """Check that a file is still the one that was found when the run began.

    Raises:
        TransientError: it was written since.
    """
    fs, path = open_uri(file.uri, file.storage_options)
    if _version(fs.info(path)) != (file.stamp, file.size):
        raise TransientError(f"{file.uri}: the file was changed while the run read it. Give the same command again.")


def check_sides(data: DataConfig, files: Mapping[Side, list[BoxFile]]) -> None:
    """Refuse sides whose boxes cannot be compared, and roles that are of the other side.

    Raises:
        InputError: one side has pixels and the other shares of images of unknown size, or a role is not of its side.
    """
    shares = {side: {file.in_shares for file in of_side} for side, of_side in files.items()}
    if len(shares["ground_truth"] | shares["predictions"]) > 1:
        raise InputError(
            "data: some boxes are in pixels, others are shares of images whose sizes are not known. Give both sides "
            "alike, or the columns image_width and image_height in Parquet."
        )
    for side in files:
        known = {*REQUIRED[side], *OPTIONAL[side], *(f"box_{at}" for at in range(4))}
        unknown = sorted(set(getattr(data, side).columns) - known)
        if unknown:
            raise InputError(f"data.{side}.columns: {unknown[0]} is of the other side. Leave it out.")


def class_names(data: DataConfig) -> dict[int, str]:
    """Return the names of classes that the configuration gives, or a data.yaml of YOLO (`names`, a list or mapping).

    Raises:
        InputError: the file cannot be read, or names no classes.
    """
    if not isinstance(data.class_names, str):
        return dict(data.class_names)
    place = f"data.class_names: {data.class_names}"
    with as_input_error("data.class_names", data.class_names, data.ground_truth.storage_options):
        fs, path = open_uri(data.class_names, data.ground_truth.storage_options)
        content = fs.cat_file(path)
    try:
        names = (yaml.safe_load(content) or {})["names"]
        pairs = names.items() if isinstance(names, Mapping) else enumerate(names)
        return {int(number): str(name) for number, name in pairs}
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{place}: a YAML file with `names` is wanted ({type(error).__name__}).") from None
