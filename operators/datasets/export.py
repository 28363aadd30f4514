"""Which formats the training data is written in."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from operators.datasets import formats as own_formats
from operators.datasets.layout import Layout
from operators.plugins import find, names_in
from operators.settings import Settings

FileFormat = Literal["parquet", "jsonl"]

# Those that are ours.
FORMATS = tuple(name.replace("_", "-") for name in names_in(own_formats))


def layout_of(name: str) -> Layout:
    """Return the layout of a format.

    Raises:
        ValueError: there is none of that name.
    """
    found = find(name, Layout, own_formats, "-")  # type: ignore[type-abstract]
    return found(format=name)


def folder_of(name: str) -> str:
    """Return the name of the folder of a format: of one of your own that of its class."""
    return name.rpartition(":")[2]


def _known(name: str) -> str:
    layout_of(name)
    return name


def _apart(names: tuple[str, ...]) -> tuple[str, ...]:
    folders = [folder_of(name) for name in names]
    twice = next((name for name, folder in zip(names, folders, strict=True) if folders.count(folder) > 1), None)
    if twice is not None and len(set(names)) == len(names):
        raise ValueError(f"two formats are written to the folder {folder_of(twice)!r}: rename the class of one")
    return names


class ExportConfig(Settings):
    """How the training data is written.

    Attributes:
        formats: any of triplet, n-tuple, labeled-pair, labeled-list (sentence-transformers), flagembedding, tevatron,
            or `module:name` of your own.
        file_format: parquet or jsonl; flagembedding and tevatron are always JSONL.
    """

    formats: Annotated[tuple[Annotated[str, AfterValidator(_known)], ...], AfterValidator(_apart)] = Field(
        default=("triplet",), min_length=1
    )
    file_format: FileFormat = "parquet"

    def file_format_of(self, name: str) -> FileFormat:
        """Return in which files a format is written."""
        return "jsonl" if layout_of(name).jsonl_only else self.file_format
