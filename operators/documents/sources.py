"""Sources: which files of a path, in which format, and under which column names."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import fsspec
from pydantic import BaseModel, ConfigDict, Field, field_validator

from operators.errors import InputError, TransientError
from operators.settings import Place, Settings
from operators.storage import as_input_error, check_storage, info_of, open_uri

Format = Literal["auto", "jsonl", "parquet", "csv", "tsv"]
Quoting = Literal["auto", "none", "minimal"]
Metadata = Literal["all"] | tuple[str, ...]
Role = str

# Under which names each role is looked for where the configuration names no column: roles that must be there, then
# those that may be.
CONVENTIONS: Mapping[str, Mapping[Role, tuple[str, ...]]] = {
    "corpus": {"doc_id": ("doc_id", "_id", "id", "docid", "pid"), "text": ("text", "contents", "document", "passage")},
    "queries": {"query_id": ("query_id", "_id", "id", "qid"), "text": ("text", "query", "question")},
    "judgements": {
        "query_id": ("query_id", "query-id", "qid"),
        "doc_id": ("doc_id", "corpus-id", "docid", "pid"),
    },
    "pairs": {
        "query": ("query", "anchor", "question", "sentence1"),
        "positive": ("positive", "pos", "answer", "document", "sentence2"),
    },
}
OPTIONAL: Mapping[str, Mapping[Role, tuple[str, ...]]] = {
    "corpus": {"title": ("title",), "vector": ()},
    "queries": {"vector": ()},
    # A label of numbers is a score; where there is neither `score` nor `label`, relevance is read as a label is.
    "judgements": {"score": ("score", "relevance", "rel"), "label": ("label", "relevance", "rel")},
    "pairs": {"negative": ("negative", "neg"), "query_id": ("query_id",), "positive_id": ("positive_id",)},
}

ENDINGS: Mapping[str, str] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
}
COMPRESSIONS = ("gz", "bz2", "xz", "lzma", "zst", "lz4", "zip")
UNREAD = {"sz", "snappy", "br", "7z", "rar", "tar", "tgz", "z"}


class SourceConfig(Settings):
    """Where one kind of rows comes from.

    Attributes:
        path: a file, a glob or an fsspec URI of files; several as a list.
        format: `auto` goes by the name: .jsonl, .parquet, .csv or .tsv, each also compressed (.gz, .bz2,
            .xz, .zst, .lz4, .zip).
        quoting: of CSV and TSV: `minimal` where fields may stand in quotes, `none` where quotes are text. `auto` is
            `minimal` for CSV; for TSV the quotes that are there tell, or the file is refused.
        columns: role -> the column's name in the source, where it differs from the usual ones. Roles of a corpus are
            doc_id, text, title and vector; of queries query_id, text and vector; of judgements query_id, doc_id,
            score and label; of pairs query, positive, negative, query_id and positive_id.
        metadata: which of the other columns travel with their rows: `all`, `none`, or a list of their names. The others
            are left out. Judgements have no metadata.
        storage_options: what fsspec needs to open the path (endpoint, profile, ...). Never written to a manifest.
    """

    path: tuple[Place, ...] = Field(min_length=1)
    format: Format = "auto"
    quoting: Quoting = "auto"
    columns: dict[str, str] = Field(default_factory=dict)
    metadata: Metadata = "all"
    storage_options: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)

    @field_validator("path", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("metadata", mode="before")
    @classmethod
    def _which_columns(cls, value: object) -> object:
        names = value if isinstance(value, list | tuple) else () if value == "none" else None
        if value != "all" and (names is None or not all(isinstance(name, str) for name in names)):
            raise ValueError("all, none or a list of columns is wanted")
        return value if names is None else tuple(names)


class SourceFile(BaseModel):
    """One file of a source, with what tells that it has changed."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["corpus", "queries", "judgements", "pairs"]
    section: str = Field("data", exclude=True)  # of the configuration, for messages
    uri: str
    format: Literal["jsonl", "parquet", "csv", "tsv"]
    quoting: Quoting = "auto"
    of_beir: bool = False
    stamp: str
    size: int | None  # bytes; None where the storage does not tell
    columns: dict[str, str]
    metadata: Metadata = "all"
    storage_options: dict[str, Any] = Field(repr=False, exclude=True)


def list_files(kind: str, source: SourceConfig, section: str = "data") -> list[SourceFile]:
    """Find the files of a source, in the order of the configuration and then by name.

    Args:
        kind: of its rows.
        source: where they are.
        section: of the configuration that names it, for messages.

    Raises:
        InputError: a path that matches nothing, a storage that cannot be used, a format that the name does not tell,
            an unknown role, or columns of judgements that are to be kept.
    """
    known = [*CONVENTIONS[kind], *OPTIONAL[kind]]
    for role in source.columns:
        if role not in known:
            raise InputError(f"{section}.{kind}.columns: there is no role {role!r}; the roles are {', '.join(known)}.")
    if kind == "judgements" and source.metadata not in ("all", ()):
        raise InputError(f"{section}.judgements.metadata: judgements have no metadata. Leave the key out.")
    return [file for path in source.path for file in _files_at(kind, source, path, section)]


def _files_at(kind: str, source: SourceConfig, path: str, section: str) -> list[SourceFile]:
    key = f"{section}.{kind}.path"
    check_storage(key, path, source.storage_options)
    with as_input_error(key, path, source.storage_options):
        fs, root = open_uri(path, source.storage_options)
        # A name may hold the characters of a glob: what is there as it is written is meant.
        info = info_of(fs, root)
        if info is None and fsspec.core.has_magic(root):
            found = _listed(fs, _escaped(fs, root))
        else:
            found = {root: info} if info is not None and info["type"] == "file" else {}
    if info is not None and not found:
        raise InputError(f"{key}: no file at {path}. It is a folder; name its files, as in {path.rstrip('/')}/*.jsonl.")
    if not found:
        raise InputError(f"{key}: no file at {path}. Check the path; a folder needs a glob such as *.jsonl.")
    return [_file(kind, source, section, fs, name, found[name]) for name in sorted(found)]


def _listed(fs: Any, pattern: str) -> dict[str, Mapping[str, Any]]:  # noqa: ANN401 - fsspec is untyped
    """Return what a file system knows about the files of a glob: as it lists them, without a request for each."""
    found = {name: one for name, one in fs.glob(pattern, detail=True).items() if one["type"] == "file"}
    first = next(iter(found), None)
    if first is None or _version(found[first]) == _version(fs.info(first)):
        return found
    return {name: fs.info(name) for name in found}  # some, as of HTTP, tell less in a list


def _escaped(fs: Any, pattern: str) -> str:  # noqa: ANN401 - fsspec is untyped
    """Escape the folders at the beginning of a glob that are there as they are written."""
    folders, last = pattern.split("/")[:-1], pattern.rpartition("/")[2]
    for depth in range(len(folders), 0, -1):
        begin = "/".join(folders[:depth])
        if fsspec.core.has_magic(begin) and fs.isdir(begin):
            return "/".join([re.sub(r"([*?[])", r"[\1]", begin), *folders[depth:], last])
    return pattern


def _file(
    kind: str,
    source: SourceConfig,
    section: str,
    fs: Any,  # noqa: ANN401 - fsspec is untyped
    name: str,
    info: Mapping[str, Any],
) -> SourceFile:
    stamp, size = _version(info)
    return SourceFile.model_validate(
        {
            "kind": kind,
            "section": section,
            "uri": fs.unstrip_protocol(name),
            "format": _format_of(f"{section}.{kind}", name) if source.format == "auto" else source.format,
            "quoting": source.quoting,
            "stamp": stamp,
            "size": size,
            "columns": source.columns,
            "metadata": () if kind == "judgements" else source.metadata,
            "storage_options": source.storage_options,
        }
    )


def _version(info: Mapping[str, Any]) -> tuple[str, int | None]:
    stamp = next((str(info[key]) for key in ("ETag", "etag", "blob_id", "mtime", "created") if info.get(key)), "")
    size = info.get("size")
    return stamp, None if size is None else int(size)


def check_unchanged(file: SourceFile) -> None:
    """Check that a file is still the one that was found when the run began.

    Raises:
        TransientError: it was written since.
    """
    fs, path = open_uri(file.uri, file.storage_options)
    if _version(fs.info(path)) != (file.stamp, file.size):
        raise TransientError(
            f"{file.uri}: the file was changed while the run read it. What was read of it is not used: give the same "
            f"command again when nothing writes to it."
        )


def _format_of(source: str, name: str) -> str:
    stem = name.rpartition("/")[2].lower()
    ending = stem.rpartition(".")[2]
    if ending in UNREAD:
        raise InputError(
            f"{name}: files that end in .{ending} are not read. "
            f"Decompress it, or compress it as one of .{', .'.join(COMPRESSIONS)}."
        )
    if ending in COMPRESSIONS:
        stem = stem.rpartition(".")[0]
    for end, name_of_format in ENDINGS.items():
        if stem.endswith(end):
            return name_of_format
    raise InputError(f"{name}: its name does not tell its format. Set {source}.format to jsonl, parquet, csv or tsv.")
