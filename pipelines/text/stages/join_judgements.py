"""Lead judgements to the documents that were kept, and write partitions of judged queries and their judgements."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.documents.judgements import READ_JUDGEMENTS, Resolved, resolve
from operators.errors import InputError, listed
from operators.keys import Keys
from operators.schemas import DROPPED, concat, to_numpy
from operators.segments import first_index, in_sorted
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.partitions import AUTO_ROWS, counts_of, encoded_digest, part_name
from pipelines.text.stages.prepare_evaluation import CONTAMINATION, SHARED

# A judged document of the corpus, and the one that stands for it: null where cleaning dropped it.
FOUND = pa.schema({"doc_key": pa.int64(), "kept_key": pa.int64(), "text_key": pa.int64()})
COLUMNS = {"keys": ["doc_key", "text_key"], "duplicates": FOUND.names, "dropped": ["key"]}
# Left to `auto`, where that makes partitions of 1,024 to AUTO_ROWS queries.
AUTO_PARTITIONS = 64


def refuse_dangling(place: str, what: str, ids: pa.ChunkedArray, count: int) -> None:
    """Refuse judgements that name something unknown.

    Args:
        place: where they are from.
        what: a query or a document.
        ids: which.
        count: of the judgements.
    """
    names = ids.unique().to_pylist()
    name = "judgement names" if count == 1 else "judgements name"
    which = "id" if len(names) == 1 else f"{len(names):,} ids:"
    raise InputError(
        f"{place}: {count:,} {name} an unknown {what} ({which} {listed(names)}). "
        f"Correct the ids, or set data.on_dangling to drop to leave such judgements out."
    )


class FindJudged:
    """The keys of some documents, or one list of what repeats or was dropped -> those of them that are judged.

    A worker holds the keys of the judged documents: 8 bytes for each.
    """

    def __init__(self, folder: StageFolder, corpus: StageFolder, judged: Record) -> None:
        self.corpus = corpus
        self.judged = to_numpy(folder.read_table(judged), "doc_key")

    def __call__(self, unit: Unit) -> Iterator[tuple[Keys, pa.Table]]:
        """Look one file through."""
        file, kind = unit.args["file"], unit.args["kind"]
        table = self.corpus.read_table(file, COLUMNS[kind])
        row = np.flatnonzero(in_sorted(to_numpy(table, COLUMNS[kind][0]), self.judged))
        if not len(row):
            return
        table = table.take(pa.array(row))
        if kind == "dropped":
            missing = pa.nulls(len(row), pa.int64())
            table = pa.table({"doc_key": table.column("key"), "kept_key": missing, "text_key": missing})
        elif kind == "keys":
            table = table.append_column("kept_key", table.column("doc_key"))
        yield np.zeros(len(row), np.int64), table.select(FOUND.names)


@dataclass(frozen=True)
class JoinJudgements:
    """Judged queries, judgements and the documents found -> partitions of queries and of their judgements.

    Attributes:
        folder: of the stage.
        place: where the judgements are from, for messages.
        on_dangling: what becomes of judgements of unknown documents.
        partition_rows: of queries.
        known: the documents of evaluation sets: files of `evaluation_set` and `text_key`.
    """

    folder: StageFolder
    place: str
    on_dangling: Literal["refuse", "drop"]
    partition_rows: int | Literal["auto"]
    known: tuple[StageFolder, Sequence[Record]] | None

    def __call__(self, bucket: Unit, found: pa.Table) -> Stats:
        """Join everything."""
        queries, judgements, dropped_queries = (
            self.folder.read_table(bucket.args[name]) for name in ("queries", "judgements", "dropped")
        )
        cleaned = pc.is_null(found.column("kept_key"))
        documents = replaced_first(found.filter(pc.invert(cleaned)))
        judgements, dropped = self._without_dangling(judgements, documents, found.filter(cleaned))
        resolved = resolve(queries, judgements.select(READ_JUDGEMENTS.names), documents)
        if not resolved.queries.num_rows:
            raise InputError(
                f"{self.place}: no query has a positive that is in the corpus. Check that scores are "
                f"above 0, that ids are written as in the corpus and the queries, and what `clean` drops."
            )
        for reason, count in counts_of(resolved.dropped.column("reason")).items():
            dropped[f"query_{reason}"] = count
        everything = concat([dropped_queries, resolved.dropped], DROPPED)
        return {
            "dropped_queries": [self.folder.write_table("dropped/queries.parquet", everything)],
            "rows_out": resolved.queries.num_rows,
            "judgements": resolved.judgements.num_rows,
            "dropped": dropped,
            CONTAMINATION: self._shared(resolved.judgements),
            **self._write(resolved),
        }

    def _shared(self, judgements: pa.Table) -> dict[str, dict[str, int]]:
        """Count the queries with a positive that has the text of a document of an evaluation set, for each set."""
        if self.known is None:
            return {}
        folder, files = self.known
        relevant = judgements.filter(pa.array(to_numpy(judgements, "relevance") > 0))
        query_key, text_key = (to_numpy(relevant, name) for name in ("query_key", "text_key"))
        known = pa.concat_tables([folder.read_table(file) for file in files])
        name = known.column("evaluation_set").combine_chunks().dictionary_encode()
        number, keys = name.indices.to_numpy(zero_copy_only=False), to_numpy(known, "text_key")
        return {
            one: {SHARED: len(np.unique(query_key[np.isin(text_key, keys[number == at])]))}
            for at, one in enumerate(name.dictionary.to_pylist())
        }

    def _without_dangling(
        self, judgements: pa.Table, documents: pa.Table, cleaned: pa.Table
    ) -> tuple[pa.Table, dict[str, int]]:
        doc_key = to_numpy(judgements, "doc_key")
        missing = ~np.isin(doc_key, to_numpy(documents, "doc_key"))
        of_cleaned = missing & np.isin(doc_key, to_numpy(cleaned, "doc_key"))
        unknown = judgements.filter(pa.array(missing & ~of_cleaned))
        if unknown.num_rows and self.on_dangling == "refuse":
            refuse_dangling(self.place, "document", unknown.column("doc_id"), unknown.num_rows)
        counts = {
            "judgement_of_unknown_document": unknown.num_rows,
            "judgement_of_cleaned_document": int(of_cleaned.sum()),
        }
        return judgements.filter(pa.array(~missing)), {reason: count for reason, count in counts.items() if count}

    def _write(self, resolved: Resolved) -> dict[str, list[dict[str, Any]]]:
        size = rows_of_partition(self.partition_rows, resolved.queries.num_rows)
        owner = first_index(to_numpy(resolved.queries, "query_key"), to_numpy(resolved.judgements, "query_key")) // size
        parts: dict[str, list[dict[str, Any]]] = {"queries": [], "judgements": []}
        for number in range(math.ceil(resolved.queries.num_rows / size)):
            tables = {
                "queries": resolved.queries.slice(number * size, size),
                "judgements": resolved.judgements.filter(pa.array(owner == number)),
            }
            for kind, table in tables.items():
                file = self.folder.write_table(f"{kind}/{part_name(number, table)}", table)
                parts[kind].append({**file, "rows": table.num_rows})
            parts["queries"][-1]["digest"] = encoded_digest(tables["queries"], "query_key")
        return parts


def replaced_first(found: pa.Table) -> pa.Table:
    """Put the documents for which others stand first (schema FOUND): their own keys lead to themselves."""
    itself = pc.equal(found.column("doc_key"), found.column("kept_key"))
    return pa.concat_tables([found.filter(pc.invert(itself)), found.filter(itself)])


def rows_of_partition(rows: int | Literal["auto"], queries: int) -> int:
    """Return how many queries a partition holds: enough of them for many workers, and not too few for FAISS."""
    return min(max(math.ceil(queries / AUTO_PARTITIONS), 1024), AUTO_ROWS) if rows == "auto" else rows
