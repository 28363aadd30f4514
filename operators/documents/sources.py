"""Sources: which files hold documents, queries, judgements or pairs, in which format and under which column names."""

from collections.abc import Mapping
from typing import Any, Literal

import fsspec
from fsspec.utils import infer_compression
from pydantic import BaseModel, ConfigDict, Field, field_validator

from operators.errors import InputError

Format = Literal["auto", "jsonl", "parquet", "csv", "tsv"]
Role = str

# Under which names each role is looked for where the configuration names no column; None: the role may be missing.
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
    "judgements": {"score": ("score", "relevance"), "label": ("label",)},
    "pairs": {"negative": ("negative", "neg"), "query_id": ("query_id",), "positive_id": ("positive_id",)},
}


class SourceConfig(BaseModel):
    """Where one kind of rows comes from.

    Attributes:
        path: a file, a glob or an fsspec URI of files; several as a list.
        format: `auto` goes by the name: .jsonl, .parquet, .csv or .tsv, each also compressed (.gz, .zst, ...).
        columns: role -> the column's name in the source, where it differs from the usual ones. Roles of a corpus are
            doc_id, text, title and vector; of queries query_id, text and vector; of judgements query_id, doc_id,
            score and label; of pairs query, positive, negative, query_id and positive_id.
        storage_options: what fsspec needs to open the path (endpoint, profile, ...). Never written to a manifest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: tuple[str, ...]
    format: Format = "auto"
    columns: dict[str, str] = Field(default_factory=dict)
    storage_options: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)

    @field_validator("path", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class SourceFile(BaseModel):
    """One file of a source, with what tells that it has changed."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["corpus", "queries", "judgements", "pairs"]
    uri: str
    format: Literal["jsonl", "parquet", "csv", "tsv"]
    stamp: str
    size: int
    columns: dict[str, str]
    storage_options: dict[str, Any] = Field(repr=False)


def list_files(kind: str, source: SourceConfig) -> list[SourceFile]:
    """Find the files of a source, in the order of the configuration and then by name.

    Raises:
        InputError: a path that matches nothing, a format that the name does not tell, or an unknown role.
    """
    known = [*CONVENTIONS[kind], *OPTIONAL[kind]]
    for role in source.columns:
        if role not in known:
            raise InputError(f"data.{kind}.columns: there is no role {role!r}; the roles are {', '.join(known)}.")
    return [file for path in source.path for file in _files_at(kind, source, path)]


def _files_at(kind: str, source: SourceConfig, path: str) -> list[SourceFile]:
    try:
        fs, root = fsspec.core.url_to_fs(path, **source.storage_options)
    except (ImportError, ValueError) as error:
        raise InputError(f"data.{kind}.path: {path} cannot be opened: {error}") from error
    names = sorted(fs.glob(root)) if fsspec.core.has_magic(root) else [root] * fs.isfile(root)
    if not names:
        raise InputError(f"data.{kind}.path: no file at {path}. Check the path; a folder needs a glob such as *.jsonl.")
    return [_file(kind, source, fs, name) for name in names]


def _file(kind: str, source: SourceConfig, fs: Any, name: str) -> SourceFile:  # noqa: ANN401 - fsspec is untyped
    info = fs.info(name)
    stamp = next((str(info[key]) for key in ("ETag", "etag", "blob_id", "mtime", "created") if info.get(key)), "")
    return SourceFile.model_validate(
        {
            "kind": kind,
            "uri": fs.unstrip_protocol(name),
            "format": _format_of(name) if source.format == "auto" else source.format,
            "stamp": stamp,
            "size": int(info.get("size") or 0),
            "columns": source.columns,
            "storage_options": source.storage_options,
        }
    )


def _format_of(name: str) -> str:
    stem = name.rpartition("/")[2].lower()
    if infer_compression(stem):
        stem = stem.rpartition(".")[0]
    endings = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".csv": "csv", ".tsv": "tsv"}
    for ending, name_of_format in endings.items():
        if stem.endswith(ending):
            return name_of_format
    raise InputError(f"{name}: its name does not tell its format. Set `format` to jsonl, parquet, csv or tsv.")
