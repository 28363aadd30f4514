"""Read sources again after they were damaged, with other libraries than the operators' own code."""

import csv
import io
import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.collection import RefusedError
from tests.fuzz.damage import Damage
from tests.fuzz.interpret import Row, UnsureError
from tests.fuzz.layouts import Written
from tests.fuzz.writing import DECOMPRESS


def read_again(sources: Sequence[Written], damaged: Damage) -> None:
    """Put what is in a damaged file in the place of what was written.

    Raises:
        RefusedError: nothing can be read.
        UnsureError: it can be read in several ways.
    """
    for one in sources:
        for number, path in enumerate(one.paths):
            if path == damaged.path:
                if not path.is_file():
                    if not one.globbed or len(one.paths) == 1:
                        raise RefusedError("no file")
                    del one.source.files[number]
                    return
                rows, names = _rows_in(path.read_bytes(), one)
                one.source.files[number] = rows
                one.source.names = [None] * len(one.paths)
                one.source.names[number] = names


def _rows_in(content_: bytes, one: Written) -> tuple[list[Row], Sequence[str] | None]:
    try:
        plain = DECOMPRESS[one.ending](content_)
    except Exception as error:
        raise RefusedError(f"not decompressed: {error}") from None
    if one.format == "parquet":
        try:
            table = pq.read_table(pa.BufferReader(plain))
            table.validate(full=True)
            return table.to_pylist(), table.column_names
        except Exception as error:
            raise RefusedError(f"no Parquet: {error}") from None
    try:
        text = plain.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RefusedError(str(error)) from None
    if "\0" in text:
        raise UnsureError("a zero byte")
    return _json_rows(text) if one.format == "jsonl" else _separated_rows(text, tabs=one.format == "tsv")


def _json_rows(text: str) -> tuple[list[Row], None]:
    try:
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except ValueError as error:
        raise RefusedError(f"no JSON: {error}") from None
    if not all(isinstance(row, dict) for row in rows):
        raise RefusedError("no JSON object")
    return rows, None


def _separated_rows(text: str, *, tabs: bool) -> tuple[list[Row], Sequence[str]]:
    if '"' in text or "\r" in text.replace("\r\n", ""):
        raise UnsureError("quotes and single returns")
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE))
    lines = [line for line in lines if line]
    if not lines:
        raise RefusedError("no header")
    names, rows = lines[0], lines[1:]
    if any(len(row) != len(names) for row in rows):
        raise RefusedError("rows of several lengths")
    return [{name: cell or None for name, cell in zip(names, row, strict=True)} for row in rows], names
