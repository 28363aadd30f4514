"""Partitions of documents and queries, as both are prepared: their sizes, names, digests and counts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import pyarrow as pa
from rich.filesize import decimal

from operators.documents.sources import SourceFile
from operators.errors import InputError
from operators.keys import digest_of
from pipelines.runtime.execution import StageOutput
from pipelines.text.stages.encoder_stages import EncoderStages

LARGE_FILE = 1 << 30
# Whole books as documents: what a worker holds of them at a time stays far below any memory budget.
PARTITION_BYTES = 32 << 20
# Left to `auto`. Two cores encode so much text in about 40 s; a commit takes far less than 5 % of copying the vectors.
AUTO_ROWS = 16_384
AUTO_BYTES_OF_TEXTS, AUTO_BYTES_OF_VECTORS = 2 << 20, 16 << 20


def bytes_of(file: SourceFile) -> int:
    """Return the size of a source file; that of a large one, where its storage does not tell."""
    return LARGE_FILE if file.size is None else file.size


def size_of(files: Sequence[SourceFile]) -> str:
    """Say how large source files are; a file that is named twice counts once."""
    sizes = {file.uri: file.size or 0 for file in files}
    named = "1 file" if len(sizes) == 1 else f"{len(sizes):,} files"
    return f"{decimal(sum(sizes.values()))} of sources in {named}"


def partitions(tables: Iterator[pa.Table], rows: int | Literal["auto"]) -> Iterator[pa.Table]:
    """Cut a stream of tables into tables of `rows` rows, or fewer where rows are very long; the last one is shorter."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        most_rows, most_bytes = (AUTO_ROWS, _auto_bytes(table)) if rows == "auto" else (rows, PARTITION_BYTES)
        if sum(one.num_rows for one in held) < most_rows and sum(one.nbytes for one in held) < most_bytes:
            continue
        together = pa.concat_tables(held, promote_options="permissive")
        while together.num_rows >= most_rows or together.nbytes >= most_bytes:
            size = min(most_rows, max(most_bytes * together.num_rows // together.nbytes, 1))
            yield together.slice(0, size)
            together = together.slice(size)
        held = [together]
    rest = pa.concat_tables(held, promote_options="permissive") if held else None
    if rest is not None and rest.num_rows:
        yield rest


def _auto_bytes(table: pa.Table) -> int:
    return AUTO_BYTES_OF_VECTORS if "vector" in table.column_names else AUTO_BYTES_OF_TEXTS


def part_name(number: int, table: pa.Table) -> str:
    """Return the name of a data file: Parquet, or an Arrow file where there are vectors in it."""
    return f"part-{number:05d}" + (".arrow" if "vector" in table.column_names else ".parquet")


def encoded_digest(table: pa.Table, key: str) -> str:
    """Hash what the vectors of a partition depend on: its keys, its texts and the vectors that came with it."""
    given = [name for name in ("vector",) if name in table.column_names]
    return digest_of(table.select([key, "text_key", "text", *given]))


def dimensions_in(table: pa.Table) -> list[int]:
    """Return the dimension of the vectors that came with a table, as a list that is empty where none did."""
    return [table.schema.field("vector").type.list_size] if "vector" in table.column_names else []


def one_dimension(kind: str, dimensions: Mapping[int, str]) -> int | None:
    """Return the dimension that all given vectors of one kind have, or None where none are given.

    Args:
        kind: the source, for the message.
        dimensions: each dimension that was met, with a file that has it.

    Raises:
        InputError: there are several.
    """
    if len(dimensions) > 1:
        found = [f"{dimension} values in {uri}" for dimension, uri in sorted(dimensions.items())[:2]]
        raise InputError(f"data.{kind}: vectors of different lengths: {' and '.join(found)}. Give all from one model.")
    return next(iter(dimensions), None)


def counts_of(reasons: pa.ChunkedArray) -> dict[str, int]:
    """Count the values of a column."""
    return {row["values"]: row["counts"] for row in reasons.value_counts().to_pylist()}


def dimension_of(outputs: Mapping[str, StageOutput], stages: EncoderStages) -> int:
    """Return the length of the vectors of an encoder, as prepare found it: that of given ones and of the model.

    Raises:
        InputError: the lengths differ.
    """
    # Vectors that were given are those of the run's own encoder.
    names = {} if stages.source else {"corpus": "prepare/corpus", "queries": "prepare/queries"}
    dimensions = {one: outputs[stage].manifest["dimension"] for one, stage in names.items()}
    if stages.trial in outputs:
        dimensions["model"] = outputs[stages.trial].manifest["encoder"]["dimension"]
    (one, length), *others = [(name, int(length)) for name, length in dimensions.items() if length]
    for other, of_other in others:
        if of_other != length:
            raise InputError(
                f"The vectors of the {one} have {length} values, those of the {other} {of_other}. "
                f"Give both from one model."
            )
    return length
