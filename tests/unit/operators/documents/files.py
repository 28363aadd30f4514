"""Small files of every format, and what reading them gives or says."""

import bz2
import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.documents.read import read
from operators.documents.sources import SourceConfig, SourceFile, list_files
from operators.errors import InputError

Row = dict[str, Any]


def file_of(path: Path, kind: str = "corpus", **config: Any) -> SourceFile:  # noqa: ANN401 - of SourceConfig
    (file,) = list_files(kind, SourceConfig(path=(str(path),), **config))
    return file


def read_all(path: Path, kind: str = "corpus", **config: Any) -> pa.Table:  # noqa: ANN401 - of SourceConfig
    return pa.concat_tables(read(file_of(path, kind, **config))).combine_chunks()


def rows_of(path: Path, kind: str = "corpus", **config: Any) -> list[Row]:  # noqa: ANN401 - of SourceConfig
    rows: list[Row] = read_all(path, kind, **config).to_pylist()
    return rows


def metadata_of(path: Path, kind: str = "corpus") -> list[Any]:
    return [None if row["metadata"] is None else json.loads(row["metadata"]) for row in rows_of(path, kind)]


def refusal_of(path: Path, kind: str = "corpus", **config: Any) -> str:  # noqa: ANN401 - of SourceConfig
    """Return the message with which a file is refused; it names the file."""
    with pytest.raises(InputError) as caught:
        list(read(file_of(path, kind, **config)))
    assert path.name in str(caught.value)
    return str(caught.value)


def as_jsonl(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def as_parquet(path: Path, rows: list[Row]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def _csv(rows: list[Row]) -> bytes:
    written = io.StringIO()
    writer = csv.DictWriter(written, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue().encode()


def _tsv(rows: list[Row]) -> bytes:
    lines = [list(rows[0]), *(["" if row[name] is None else str(row[name]) for name in rows[0]] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def _lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _columns(rows: list[Row]) -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), written, row_group_size=2)
    return written.getvalue()


WRITERS: dict[str, Callable[[list[Row]], bytes]] = {
    "x.jsonl": _lines,
    "x.jsonl.gz": lambda rows: gzip.compress(_lines(rows)),
    "x.jsonl.bz2": lambda rows: bz2.compress(_lines(rows)),
    "x.parquet": _columns,
    "x.csv": _csv,
    "x.csv.gz": lambda rows: gzip.compress(_csv(rows)),
    "x.tsv": _tsv,
}
# Words that a reader of CSV may take for nothing or for a number.
DOCUMENTS: list[Row] = [
    {"_id": "001", "title": "NA", "text": 'a "quoted", text', "lang": "en", "note": None},
    {"_id": "NULL", "title": "nan", "text": "1e5", "lang": "null", "note": "x"},
    {"_id": "1.0", "title": None, "text": "caf\u00e9 \U0001f600", "lang": "", "note": "None"},
]
