"""The data of a run over detections: where the objects and the predictions are, and how boxes are written."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from operators.detections.boxes import BoxFormat
from operators.settings import AtLeastOne, Place, Settings

Format = Literal["auto", "coco", "yolo", "parquet"]
Side = Literal["ground_truth", "predictions"]
SIDES: tuple[Side, Side] = ("ground_truth", "predictions")

# Of Parquet: the columns that have to be there, and those that may be.
REQUIRED = {"ground_truth": ("image_id", "class", "box"), "predictions": ("image_id", "class", "box", "confidence")}
OPTIONAL = {
    "ground_truth": ("id", "area", "crowd", "ignored", "image_width", "image_height", "uri"),
    "predictions": ("id", "loss", "image_width", "image_height", "uri"),
}


class SourceConfig(Settings):
    """Where the boxes of one side come from.

    Attributes:
        path: a file, a glob or an fsspec URI of files; several as a list.
        format: `auto` goes by the name: .json is COCO, .txt is YOLO, .parquet is Parquet.
        box: how the boxes of Parquet are written: `xywh`, `xyxy` or `cxcywh`.
        normalized: the boxes of Parquet are shares of the size of the image.
        columns: of Parquet: role -> the column's name. Roles are image_id, class, box (a list of four numbers) or its
            four numbers as box_0 to box_3, confidence, id, loss, area, crowd, ignored, image_width, image_height, uri.
        storage_options: what fsspec needs to open the path. Never written down.
    """

    path: tuple[Place, ...] = Field(min_length=1)
    format: Format = "auto"
    box: BoxFormat = "xywh"
    normalized: bool = False
    columns: dict[str, str] = Field(default_factory=dict)
    storage_options: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)

    @field_validator("path", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("columns")
    @classmethod
    def _roles_are_known(cls, columns: dict[str, str]) -> dict[str, str]:
        known = {role for side in SIDES for role in (*REQUIRED[side], *OPTIONAL[side])}
        known |= {f"box_{at}" for at in range(4)}
        unknown = sorted(set(columns) - known)
        if unknown:
            raise ValueError(f"there is no role {unknown[0]!r}; the roles are {', '.join(sorted(known))}")
        return columns


class DataConfig(Settings):
    """The boxes of a detector, and those that are right.

    Attributes:
        ground_truth: the objects.
        predictions: what the detector found.
        class_names: class id -> name, where the data does not name classes; or the data.yaml of YOLO.
        partition_bytes: about so many bytes of sources make one partition of images: what a worker does at a time.
    """

    ground_truth: SourceConfig
    predictions: SourceConfig
    class_names: Place | dict[int, str] = Field(default_factory=dict)
    partition_bytes: AtLeastOne = 8 << 20

    @field_validator("ground_truth", "predictions", mode="before")
    @classmethod
    def _a_path_is_a_source(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str | list) else value

    @model_validator(mode="after")
    def _normalized_is_of_parquet(self) -> Self:
        for side in SIDES:
            source: SourceConfig = getattr(self, side)
            if source.format in {"coco", "yolo"} and (source.normalized or source.columns or source.box != "xywh"):
                raise ValueError(f"{side}: box, normalized and columns are of Parquet. Leave them out")
        return self
