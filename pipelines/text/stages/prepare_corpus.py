"""Prepare the corpus: read, clean, drop what repeats, and write partitions."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from operators.documents.clean import CleanConfig
from operators.documents.duplicates import IDENTITIES, DuplicateFinder, identities_of
from operators.documents.sources import SourceFile
from operators.errors import InputError
from operators.keys import Keys
from operators.schemas import to_numpy
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, sum_counts
from pipelines.runtime.shuffle import Shuffle
from pipelines.runtime.stage import Stage, Summary
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.partitions import (
    bytes_of,
    counts_of,
    encoded_digest,
    one_dimension,
    part_name,
    size_of,
)
from pipelines.text.stages.prepare_evaluation import (
    CONTAMINATION,
    EVALUATION,
    evaluation_index,
    sum_by_set,
)
from pipelines.text.stages.read_documents import ReadDocuments

# Two identities of about 49 bytes for each document: a bucket stays near 24 MB.
DOCUMENTS_PER_BUCKET = 250_000
# Which row of which partition repeats another.
REPEATED = pa.schema({"part": pa.int32(), "row": pa.int32()})


@dataclass(frozen=True)
class PrepareCorpus(Stage):
    """Source files -> partitions of documents (schema DOCUMENTS), and lists of what was dropped.

    Each file is read and cleaned by itself; then the keys alone are shuffled to find repetitions; then each partition
    that has some is written again without them.

    Attributes:
        files: the sources.
        clean: what is dropped.
        partition_rows: of documents.
        evaluation: documents in evaluation sets, or near one, are dropped.
        cache: where workers keep copies of evaluation sets.
    """

    files: Sequence[SourceFile]
    clean: CleanConfig
    partition_rows: int | Literal["auto"]
    evaluation: bool = False
    cache: Cache | None = None

    name = "prepare/corpus"
    kept_when_refused = False
    dropped_prefix = "document_"

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Evaluation sets, where their documents are dropped."""
        return (f"{EVALUATION}corpus",) if self.evaluation else ()

    def settings(self) -> Mapping[str, Any]:
        """Return the files as they are now, and how they are cleaned."""
        return {
            "files": [file.model_dump() for file in self.files],
            "clean": self.clean.model_dump(),
            "partition_rows": self.partition_rows,
        }

    def needs(self, manifest: Mapping[str, Any] | None) -> str:
        """Say how much is read."""
        del manifest
        return size_of(self.files)

    def run(self, execution: Execution) -> Summary:
        """Read, identify and write."""
        folder = execution.folder
        index = evaluation_index(execution, "corpus", self.cache)
        reading = partial(ReadDocuments, folder, self.files, self.clean, self.partition_rows, index)
        units = [
            Unit(f"{i:05d}", {"file": i, "uri": file.uri, "bytes": bytes_of(file)}) for i, file in enumerate(self.files)
        ]
        read_stats = execution.map("read", reading, units)
        parts = [part for stats in read_stats for part in stats["parts"]]
        if not sum(part["rows"] for part in parts):
            raise InputError(
                f"{self.files[0].uri}: no document is left after cleaning. Look at `clean` and at the text column."
            )

        units = [Unit(f"{i:05d}", {"read": part, "part": i}) for i, part in enumerate(parts)]
        found = self._found(execution, read_stats)
        written = self._written(execution, units, found)
        of_files = list(zip(self.files, read_stats, strict=True))
        empty = [file.uri for file, stats in of_files if not stats["rows_in"]]
        dimensions = {one: file.uri for file, stats in of_files for one in stats["dimensions"]}
        return Summary(
            rows_in=sum(stats["rows_in"] for stats in read_stats),
            rows_out=sum(stats["rows_out"] for stats in written),
            dropped=sum_counts([*read_stats, *found], "dropped"),
            empty_files=len(empty),
            first_empty=next(iter(empty), None),
            facts={"dimension": one_dimension("corpus", dimensions), CONTAMINATION: sum_by_set(read_stats)},
            parts={
                "documents": [
                    {**stats["file"], "rows": stats["rows_out"], "digest": stats["digest"]} for stats in written
                ],
                "duplicates": [file for stats in found for file in stats["files"]],
                "keys": [file for stats in read_stats for file in stats["keys"]],
                "dropped": [file for stats in read_stats for file in stats["dropped_files"]],
                "contaminated": [file for stats in read_stats for file in stats["contaminated"]],
            },
            replaced=[one["replaced"] for one in written if "replaced" in one],
        )

    def _found(self, execution: Execution, read: Sequence[Stats]) -> list[Stats]:
        """Find the documents that repeat another, by the keys of ids and texts."""
        first = np.cumsum([0, *(len(stats["parts"]) for stats in read)]).tolist()
        files = [(keys, first[i]) for i, stats in enumerate(read) for keys in stats["keys"]]
        units = [Unit(f"{i:05d}", {"keys": keys, "first": part}) for i, (keys, part) in enumerate(files)]
        rows = sum(stats["rows_out"] for stats in read)
        buckets = [Unit(f"{i:05d}", {}) for i in range(math.ceil(rows / DOCUMENTS_PER_BUCKET))]
        route = partial(RouteIdentities, execution.folder, len(buckets))
        gather = partial(FindDuplicates, execution.folder, DuplicateFinder(self.clean.exact_duplicates))
        return execution.shuffle("identify", Shuffle(route, units, gather, buckets, IDENTITIES))

    def _written(self, execution: Execution, parts: Sequence[Unit], found: Sequence[Stats]) -> list[Stats]:
        """Bring what repeats to its partition, and write it again without."""
        files = [file for stats in found for file in stats["files"]]
        if not files:
            return [as_read(part) for part in parts]
        units = [Unit(f"{i:05d}", file) for i, file in enumerate(files)]
        route = partial(RouteDuplicates, execution.folder)
        gather = partial(WriteDocuments, execution.folder)
        return execution.shuffle("write", Shuffle(route, units, gather, parts, REPEATED))


class RouteIdentities:
    """The keys of some documents -> their identities, to the bucket of their key."""

    def __init__(self, folder: StageFolder, buckets: int) -> None:
        self.folder, self.buckets = folder, buckets

    def __call__(self, unit: Unit) -> Iterator[tuple[Keys, pa.Table]]:
        """Route one file of keys."""
        identities = identities_of(self.folder.read_table(unit.args["keys"]), unit.args["first"])
        yield to_numpy(identities, "key") % self.buckets, identities


class FindDuplicates:
    """All identities of a bucket -> the documents among them that repeat another."""

    def __init__(self, folder: StageFolder, identify: DuplicateFinder) -> None:
        self.folder, self.identify = folder, identify

    def __call__(self, bucket: Unit, identities: pa.Table) -> Stats:
        """Find the duplicates of one bucket."""
        duplicates = self.identify(identities).sort_by([("part", "ascending"), ("row", "ascending")])
        path = f"duplicates/part-{bucket.name}.parquet"
        return {
            "files": [self.folder.write_table(path, duplicates)] if duplicates.num_rows else [],
            "rows_out": duplicates.num_rows,
            "dropped": counts_of(duplicates.column("reason")),
        }


class RouteDuplicates:
    """The duplicates of a bucket -> to the partitions that they are in."""

    def __init__(self, folder: StageFolder) -> None:
        self.folder = folder

    def __call__(self, unit: Unit) -> Iterator[tuple[Keys, pa.Table]]:
        """Route one bucket."""
        repeated = self.folder.read_table(unit.args, REPEATED.names)
        yield to_numpy(repeated, "part").astype(np.int64), repeated


class WriteDocuments:
    """One partition -> the same without what repeats; where nothing does, it stays as it was read."""

    def __init__(self, folder: StageFolder) -> None:
        self.folder = folder

    def __call__(self, part: Unit, repeated: pa.Table) -> Stats:
        """Write one partition."""
        read = part.args["read"]
        if not repeated.num_rows:
            return as_read(part)
        documents = self.folder.read_table(read)
        kept = np.ones(documents.num_rows, dtype=np.bool_)
        kept[to_numpy(repeated, "row")] = False
        documents = documents.filter(pa.array(kept))
        file = self.folder.write_table(f"deduplicated/{part_name(part.args['part'], documents)}", documents)
        digest = encoded_digest(documents, "doc_key")
        return {"file": file, "rows_out": documents.num_rows, "digest": digest, "replaced": read["path"]}


def as_read(part: Unit) -> Stats:
    """Return the statistics of a partition in which nothing repeats."""
    read = part.args["read"]
    return {"file": read, "rows_out": read["rows"], "digest": read["digest"]}
