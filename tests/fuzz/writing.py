"""Write rows as files of every format, as other tools do."""

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

Row = Mapping[str, Any]


def _zip(content: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("file", content)
    return written.getvalue()


def _from_zip(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(archive.namelist()[0])


def _from_zstandard(content: bytes) -> bytes:
    # One frame after the other: such a decompressor accepts none that was cut off.
    plain, left = b"", content
    while True:
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        plain += decompressor.decompress(left)
        if not decompressor.eof:
            raise ValueError("the frame is cut off")
        left = decompressor.unused_data
        if not left:
            return plain


COMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: bytes(zstandard.ZstdCompressor().compress(content)),
    ".zip": _zip,
}
DECOMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zst": _from_zstandard,
    ".zip": _from_zip,
}
VECTOR_TYPES: Sequence[Callable[[int], pa.DataType]] = (
    lambda size: pa.list_(pa.float32(), size),
    lambda size: pa.list_(pa.float16(), size),
    lambda size: pa.list_(pa.float64(), size),
    lambda size: pa.list_(pa.float64()),
    lambda size: pa.list_(pa.float32()),
    lambda size: pa.large_list(pa.float32()),
)


def as_jsonl(rows: Sequence[Row], random: Random) -> bytes:
    ascii_only = random.random() < 0.5
    end = random.choice(["\n", "\r\n"])
    return "".join(json.dumps(row, ensure_ascii=ascii_only) + end for row in rows).encode()


def as_csv(rows: Sequence[Row], random: Random) -> bytes:
    written = io.StringIO()
    quoting: Literal[0, 1] = random.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(written, names, quoting=quoting, lineterminator=random.choice(["\n", "\r\n"]))
    writer.writeheader()
    writer.writerows([{name: "" if row.get(name) is None else row[name] for name in names} for row in rows])
    return written.getvalue().encode()


def as_tsv(rows: Sequence[Row], random: Random) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    end = random.choice(["\n", "\r\n"])
    if random.random() < 0.5:  # as pandas does: what holds a quote stands in quotes
        written = io.StringIO()
        writer = csv.DictWriter(written, names, delimiter="\t", lineterminator=end)
        writer.writeheader()
        writer.writerows([{name: "" if row.get(name) is None else row[name] for name in names} for row in rows])
        return written.getvalue().encode()
    lines = [names, *(["" if row.get(name) is None else str(row[name]) for name in names] for row in rows)]
    return "".join("\t".join(line) + end for line in lines).encode()


def as_parquet(rows: Sequence[Row], random: Random, vector: str | None = None) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        kind = _vector_type(random, values) if name == vector else _text_type(random, values)
        columns[name] = pa.array(values, kind)
    table = pa.table(columns)
    written = io.BytesIO()
    compression = random.choice(["snappy", "zstd", "none"])
    pq.write_table(table, written, row_group_size=random.choice([1, 7, 1000]), compression=compression)
    return written.getvalue()


def _vector_type(random: Random, values: Sequence[Any]) -> pa.DataType | None:
    lengths = {None if value is None else len(value) for value in values}
    held = [one for value in values for one in value or []]
    if len(lengths) > 1 or None in lengths or None in held:
        return pa.list_(pa.float32())
    whole = all(float(one).is_integer() for one in held)
    if whole and random.random() < 0.3:
        return pa.list_(pa.int32())
    kinds = [kind(lengths.copy().pop() or 0) for kind in VECTOR_TYPES]
    if max(map(abs, held), default=0) > 1000:
        kinds = [kind for kind in kinds if kind.value_type != pa.float16()]
    return random.choice(kinds)


def _text_type(random: Random, values: Sequence[Any]) -> pa.DataType | None:
    if not all(value is None or isinstance(value, str) for value in values):
        return None
    return random.choice([pa.string(), pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
