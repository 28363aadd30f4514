"""Read the source files of a corpus: clean their documents, drop those of evaluation sets, and write partitions."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import pyarrow as pa

from operators.documents.clean import Clean, CleanConfig
from operators.documents.contamination import CONTAMINATED, counts_by_set
from operators.documents.duplicates import PLACES, places_of
from operators.documents.pairs import documents_of
from operators.documents.read import read
from operators.documents.sources import SourceFile
from operators.schemas import DROPPED, concat
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.partitions import counts_of, dimensions_in, encoded_digest, part_name, partitions
from pipelines.text.stages.prepare_evaluation import CONTAMINATION, EvaluationIndex

# Documents whose keys are in one file: about 50 bytes each.
KEYS_PER_FILE = 250_000


class ReadDocuments:
    """One source file -> cleaned partitions, still with what repeats in them, and the keys of all its documents.

    The keys are in files of their own: to find what repeats, and what is judged, nothing else is read again.
    """

    def __init__(
        self,
        folder: StageFolder,
        files: Sequence[SourceFile],
        clean: CleanConfig,
        partition_rows: int | Literal["auto"],
        index: EvaluationIndex | None,
    ) -> None:
        self.folder, self.files, self.partition_rows = folder, files, partition_rows
        self.clean, self.holding = Clean(clean), ExitStack()
        self.evaluation = None if index is None else index.open(self.holding)

    def __call__(self, unit: Unit) -> Stats:
        """Read one file."""
        file = self.files[unit.args["file"]]  # by number: units are written and logged, and a file knows credentials
        tables = map(documents_of, read(file)) if file.kind == "pairs" else read(file)
        parts, dimensions, keys = [], set[int](), KeyFiles(self.folder, unit.name)
        dropped, contaminated = list[pa.Table](), list[pa.Table]()
        cleaned = self._cleaned(tables, dropped, contaminated)
        for number, documents in enumerate(partitions(cleaned, self.partition_rows)):
            path = f"documents/{unit.name}/{part_name(number, documents)}"
            written = {**self.folder.write_table(path, documents), "rows": documents.num_rows}
            parts.append({**written, "digest": encoded_digest(documents, "doc_key")})
            dimensions.update(dimensions_in(documents))
            keys.add(places_of(documents, number))
        rows, everything = sum(part["rows"] for part in parts), concat(dropped, DROPPED)
        in_sets = concat(contaminated, CONTAMINATED)
        return {
            "rows_in": rows + everything.num_rows,
            "rows_out": rows,
            "dropped": counts_of(everything.column("reason")),
            "dimensions": sorted(dimensions),
            "parts": parts,
            "keys": keys.finish(),
            "dropped_files": self._written("dropped", unit, everything),
            CONTAMINATION: counts_by_set(in_sets),
            "contaminated": self._written("contaminated", unit, in_sets),
        }

    def _written(self, kind: str, unit: Unit, table: pa.Table) -> list[dict[str, Any]]:
        return [self.folder.write_table(f"{kind}/{unit.name}.parquet", table)] if table.num_rows else []

    def _cleaned(
        self, tables: Iterator[pa.Table], dropped: list[pa.Table], contaminated: list[pa.Table]
    ) -> Iterator[pa.Table]:
        """Yield the documents of a file that are kept; the others are added to `dropped` and `contaminated`."""
        for table in tables:
            documents, out = self.clean(table)
            dropped.append(out)
            if self.evaluation is not None:
                kept, out, in_sets = self.evaluation(documents, "doc")
                documents = documents.filter(pa.array(kept))
                dropped.append(out)
                contaminated.append(in_sets)
            yield documents


class KeyFiles:
    """Writes the keys of the documents of a source file (schema PLACES), many partitions to a file."""

    def __init__(self, folder: StageFolder, name: str) -> None:
        self.folder, self.name = folder, name
        self.held, self.rows, self.files = list[pa.Table](), 0, list[dict[str, Any]]()

    def add(self, places: pa.Table) -> None:
        """Add the keys of a partition."""
        self.held.append(places)
        self.rows += places.num_rows
        if self.rows >= KEYS_PER_FILE:
            self._write()

    def finish(self) -> list[dict[str, Any]]:
        """Write what is left; return the records of all files."""
        if self.held:
            self._write()
        return self.files

    def _write(self) -> None:
        file = self.folder.write_table(
            f"keys/{self.name}/part-{len(self.files):05d}.parquet", concat(self.held, PLACES)
        )
        self.files.append({**file, "rows": self.rows})
        self.held, self.rows = [], 0
