"""Prepare the corpus: read, clean, drop what repeats, and write partitions."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from operators.documents.clean import Clean, CleanConfig
from operators.documents.identify import IDENTITIES, Identify, identities_of
from operators.documents.pairs import documents_of
from operators.documents.read import read
from operators.documents.sources import SourceFile
from operators.errors import InputError
from operators.keys import digest_of
from operators.schemas import DROPPED, concat, numbers
from operators.segments import groups_of
from pipelines.engines import Shuffle, Stats, Unit
from pipelines.execution import Execution, added
from pipelines.stages import Stage, Summary, part_name
from pipelines.storage.records import Record
from pipelines.storage.run_directory import StageFolder

# Two identities of about 80 bytes for each document: a bucket stays near 40 MB.
DOCUMENTS_PER_BUCKET = 250_000
# Whole books as documents: what a worker holds of them at a time stays far below any memory budget.
PARTITION_BYTES = 32 << 20


@dataclass(frozen=True)
class PrepareCorpus(Stage):
    """Source files -> partitions of documents (schema DOCUMENTS), and lists of what was dropped.

    Each file is read and cleaned by itself; then the keys alone are shuffled to find repetitions; then each partition
    is written without them.
    """

    files: Sequence[SourceFile]
    clean: CleanConfig
    partition_rows: int

    name = "prepare/corpus"
    inputs: tuple[str, ...] = ()

    def settings(self) -> Mapping[str, Any]:
        """Return the files as they are now, and how they are cleaned."""
        return {
            "files": [file.model_dump() for file in self.files],
            "clean": self.clean.model_dump(),
            "partition_rows": self.partition_rows,
        }

    def run(self, execution: Execution) -> Summary:
        """Read, identify and write."""
        folder = execution.folder
        reading = partial(ReadDocuments, folder, self)
        units = [Unit(f"{i:05d}", {"file": i, "uri": file.uri}) for i, file in enumerate(self.files)]
        read_stats = execution.map("read", reading, units)
        parts = [part for stats in read_stats for part in stats["parts"]]
        if not sum(part["rows"] for part in parts):
            raise InputError(
                f"{self.files[0].uri}: no document is left after cleaning. Look at `clean` and at the text column."
            )

        units = [Unit(f"{i:05d}", {"read": part, "part": i}) for i, part in enumerate(parts)]
        buckets = math.ceil(sum(part["rows"] for part in parts) / DOCUMENTS_PER_BUCKET)
        gather = WriteDuplicates(folder, Identify(self.clean.exact_duplicates))
        shuffle = Shuffle(partial(RouteIdentities, folder, buckets), units, gather, range(buckets), IDENTITIES)
        identified = execution.shuffle("identify", shuffle)
        duplicates = [stats["file"] for stats in identified]
        written = execution.map("write", partial(WriteDocuments, folder, duplicates), units)
        return {
            "temporary": ["read"],
            "rows_in": sum(stats["rows_in"] for stats in read_stats),
            "rows_out": sum(stats["rows_out"] for stats in written),
            "empty_files": sum(not stats["rows_in"] for stats in read_stats),
            "dropped": added([*read_stats, *identified], "dropped"),
            "dimension": one_dimension(
                "corpus",
                {
                    one: file.uri
                    for file, stats in zip(self.files, read_stats, strict=True)
                    for one in stats["dimensions"]
                },
            ),
            "parts": {
                "documents": [
                    {**stats["file"], "rows": stats["rows_out"], "digest": stats["digest"]} for stats in written
                ],
                "duplicates": duplicates,
                "dropped": [stats["dropped_file"] for stats in read_stats],
            },
        }


def partitions(tables: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Cut a stream of tables into tables of `rows` rows, or fewer where rows are very long; the last one is shorter."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(one.num_rows for one in held) < rows and sum(one.nbytes for one in held) < PARTITION_BYTES:
            continue
        together = pa.concat_tables(held, promote_options="permissive")
        while together.num_rows >= rows or together.nbytes >= PARTITION_BYTES:
            size = min(rows, max(PARTITION_BYTES * together.num_rows // together.nbytes, 1))
            yield together.slice(0, size)
            together = together.slice(size)
        held = [together]
    rest = pa.concat_tables(held, promote_options="permissive") if held else None
    if rest is not None and rest.num_rows:
        yield rest


class ReadDocuments:
    """One source file -> cleaned partitions, still with what repeats in them."""

    def __init__(self, folder: StageFolder, stage: PrepareCorpus) -> None:
        self.folder, self.files, self.partition_rows = folder, stage.files, stage.partition_rows
        self.clean = Clean(stage.clean)

    def __call__(self, unit: Unit) -> Stats:
        """Read one file."""
        file = self.files[unit.args["file"]]  # by number: units are written and logged, and a file knows credentials
        tables = map(documents_of, read(file)) if file.kind == "pairs" else read(file)
        parts, dropped, dimensions, rows_in = [], [], set[int](), 0
        for number, table in enumerate(partitions(tables, self.partition_rows)):
            documents, out = self.clean(table)
            path = f"read/{unit.name}/{part_name(number, documents)}"
            parts.append({**self.folder.write_table(path, documents), "rows": documents.num_rows})
            dropped.append(out)
            dimensions.update(dimensions_in(documents))
            rows_in += table.num_rows
        everything = concat(dropped, DROPPED)
        dropped_file = self.folder.write_table(f"dropped/{unit.name}.parquet", everything)
        return {
            "rows_in": rows_in,
            "rows_out": sum(part["rows"] for part in parts),
            "dropped": counts_of(everything.column("reason")),
            "dimensions": sorted(dimensions),
            "parts": parts,
            "dropped_file": dropped_file,
        }


class RouteIdentities:
    """One partition -> its identities, to the bucket of their key."""

    def __init__(self, folder: StageFolder, buckets: int) -> None:
        self.folder, self.buckets = folder, buckets

    def __call__(self, unit: Unit) -> Iterator[tuple[int, pa.Table]]:
        """Route one partition."""
        documents = self.folder.read_table(unit.args["read"], ["doc_id", "doc_key", "text_key"])
        identities = identities_of(documents, unit.args["part"])
        bucket = numbers(identities, "key") % self.buckets
        for one, places in groups_of(bucket):
            yield one, identities.take(pa.array(places))


@dataclass(frozen=True)
class WriteDuplicates:
    """All identities of a bucket -> the documents among them that repeat another."""

    folder: StageFolder
    identify: Identify

    def __call__(self, bucket: int, identities: pa.Table) -> Stats:
        """Identify one bucket."""
        duplicates = self.identify(identities).sort_by([("part", "ascending"), ("row", "ascending")])
        file = self.folder.write_table(f"duplicates/{part_name(bucket, duplicates)}", duplicates)
        return {"file": file, "rows_out": duplicates.num_rows, "dropped": counts_of(duplicates.column("reason"))}


class WriteDocuments:
    """One partition -> the same without what repeats."""

    def __init__(self, folder: StageFolder, duplicates: Sequence[Record]) -> None:
        self.folder = folder
        tables = [folder.read_table(file, ["part", "row"]) for file in duplicates]
        self.part = np.concatenate([numbers(table, "part") for table in tables])
        self.row = np.concatenate([numbers(table, "row") for table in tables])

    def __call__(self, unit: Unit) -> Stats:
        """Write one partition."""
        documents = self.folder.read_table(unit.args["read"])
        kept = np.ones(documents.num_rows, dtype=np.bool_)
        kept[self.row[self.part == unit.args["part"]]] = False
        documents = documents.filter(pa.array(kept))
        file = self.folder.write_table(f"documents/{part_name(unit.args['part'], documents)}", documents)
        return {
            "file": file,
            "rows_in": len(kept),
            "rows_out": documents.num_rows,
            "digest": encoded_digest(documents, "doc_key"),
        }


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
