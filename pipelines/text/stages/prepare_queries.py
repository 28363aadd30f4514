"""Prepare queries and judgements: bring them together, lead judgements to the documents that were kept."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.documents.clean import CleanConfig
from operators.documents.judgements import (
    READ_JUDGEMENTS,
    Resolved,
    judged_by_labels,
    judged_queries,
    key_queries,
    resolve,
    with_keys,
)
from operators.documents.metadata import with_merged_metadata
from operators.documents.pairs import judgements_of, queries_of
from operators.documents.read import read
from operators.documents.sources import SourceFile
from operators.errors import InputError, listed, shown
from operators.keys import Keys
from operators.schemas import DROPPED, concat, to_numpy
from operators.segments import first_index, in_sorted
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, sum_counts
from pipelines.runtime.shuffle import Shuffle
from pipelines.runtime.stage import Stage, Summary
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.partitions import (
    AUTO_ROWS,
    bytes_of,
    counts_of,
    dimensions_in,
    encoded_digest,
    one_dimension,
    part_name,
    size_of,
)

# A judged document of the corpus, and the one that stands for it: null where cleaning dropped it.
FOUND = pa.schema({"doc_key": pa.int64(), "kept_key": pa.int64(), "text_key": pa.int64()})
COLUMNS = {"keys": ["doc_key", "text_key"], "duplicates": FOUND.names, "dropped": ["key"]}
# Left to `auto`, where that makes partitions of 1,024 to AUTO_ROWS queries.
AUTO_PARTITIONS = 64


@dataclass(frozen=True)
class PrepareQueries(Stage):
    """Queries and judgements -> partitions of judged queries (QUERIES) and of their judgements (JUDGEMENTS).

    Queries and judgements are the small side: one worker holds their keys at a time.
    """

    queries: Sequence[SourceFile]
    judgements: Sequence[SourceFile]
    clean: CleanConfig
    on_dangling: Literal["refuse", "drop"]
    partition_rows: int | Literal["auto"]
    positive_labels: Sequence[str] = ()

    name = "prepare/queries"
    inputs = ("prepare/corpus",)
    kept_when_refused = False
    expected_drops = frozenset({"query_not_judged"})

    def settings(self) -> Mapping[str, Any]:
        """Return the files as they are now, and what is kept of them."""
        return {
            "queries": [file.model_dump() for file in self.queries],
            "judgements": [file.model_dump() for file in self.judgements],
            "merge": self.clean.exact_duplicates,
            "drop_empty": self.clean.drop_empty,
            "on_dangling": self.on_dangling,
            "partition_rows": self.partition_rows,
            "positive_labels": list(self.positive_labels),
        }

    def needs(self, manifest: Mapping[str, Any] | None) -> str:
        """Say how much is read."""
        del manifest
        return f"{size_of((*self.queries, *self.judgements))}, judgements included"

    def run(self, execution: Execution) -> Summary:
        """Read both, find the judged documents in the corpus, and bring them together."""
        folder, corpus = execution.folder, execution.inputs["prepare/corpus"]
        everything = Unit("all", {"bytes": sum(bytes_of(file) for file in (*self.queries, *self.judgements))})
        (read_stats,) = execution.map("read", partial(ReadQueries, folder, self), [everything])
        files = [(kind, file) for kind in COLUMNS for file in corpus.parts(kind)]
        units = [Unit(f"{i:05d}", {"kind": kind, "file": file}) for i, (kind, file) in enumerate(files)]
        read = read_stats["files"]
        find = partial(FindJudged, folder, corpus.folder, read["judged"])
        join = partial(JoinJudgements, folder, self)
        (joined,) = execution.shuffle("join", Shuffle(find, units, join, [Unit("all", read)], FOUND))
        return Summary(
            rows_in=read_stats["rows_in"],
            rows_out=joined["rows_out"],
            dropped=sum_counts([read_stats, joined], "dropped"),
            empty_files=read_stats["empty_files"],
            first_empty=read_stats.get("first_empty"),
            facts={"judgements": joined["judgements"], "dimension": next(iter(read_stats["dimensions"]), None)},
            parts={kind: joined[kind] for kind in ("queries", "judgements", "dropped_queries")},
            temporary=["read"],
        )


class ReadQueries:
    """All queries and judgements -> those queries that are judged."""

    def __init__(self, folder: StageFolder, stage: PrepareQueries) -> None:
        self.folder, self.stage = folder, stage

    def __call__(self, unit: Unit) -> Stats:
        """Read everything."""
        del unit  # there is one for all, and the stage knows the files
        asked = self._tables(self.stage.queries, queries_of)
        judged_by = self._tables(self.stage.judgements, judgements_of)
        queries = pa.concat_tables(self._keyed_queries(asked))
        judgements = pa.concat_tables([with_keys(table) for _, table in judged_by])
        judgements = judged_by_labels(self.stage.judgements[0].uri, judgements, self.stage.positive_labels)
        queries = self._once_each(queries)
        unknown = ~np.isin(to_numpy(judgements, "query_key"), to_numpy(queries, "query_key"))
        self._refuse_unknown(judgements.filter(pa.array(unknown)))
        judged = judged_queries(
            queries,
            judgements.filter(pa.array(~unknown)),
            merge=self.stage.clean.exact_duplicates == "keep_first",
            drop_empty=self.stage.clean.drop_empty,
        )
        keys = np.unique(to_numpy(judged.judgements, "doc_key"))
        tables = {"queries": judged.queries, "judgements": judged.judgements, "dropped": judged.dropped}
        tables["judged"] = pa.table({"doc_key": keys})
        files = {name: self.folder.write_table(f"read/{name}.parquet", table) for name, table in tables.items()}
        dropped = {f"query_{reason}": count for reason, count in counts_of(judged.dropped.column("reason")).items()}
        if unknown.any():
            dropped["judgement_of_unknown_query"] = int(unknown.sum())
        empty = self._uris() - {file.uri for file, _ in [*asked, *judged_by]}
        return {
            "rows_in": queries.num_rows,
            "rows_out": judged.queries.num_rows,
            "dropped": dropped,
            "dimensions": dimensions_in(queries),
            "empty_files": len(empty),
            "first_empty": min(empty, default=None),
            "files": files,
        }

    def _uris(self) -> set[str]:
        return {file.uri for file in [*self.stage.queries, *self.stage.judgements]}

    @staticmethod
    def _keyed_queries(tables: Sequence[tuple[SourceFile, pa.Table]]) -> list[pa.Table]:
        """Give the queries their keys; their vectors have one length where they came with some."""
        keyed, lengths = [], dict[int, str]()
        for file, table in tables:
            keyed.append(key_queries(table))
            lengths.update(dict.fromkeys(dimensions_in(table), file.uri))
        one_dimension("queries", lengths)
        return keyed

    @staticmethod
    def _tables(files: Sequence[SourceFile], of_pairs: Any) -> list[tuple[SourceFile, pa.Table]]:  # noqa: ANN401 - a function
        tables = [(file, table) for file in files for table in read(file)]
        if not tables:
            raise InputError(f"{files[0].uri}: no {files[0].kind} file has rows. Give at least one file with rows.")
        return [(file, of_pairs(table) if file.kind == "pairs" else table) for file, table in tables]

    @staticmethod
    def _once_each(queries: pa.Table) -> pa.Table:
        """Keep the first row of each query, with the metadata of all its rows."""
        keys, texts = to_numpy(queries, "query_key"), to_numpy(queries, "text_key")
        first = first_index(keys, keys)
        other = np.flatnonzero(texts != texts[first])
        if len(other):
            name = queries.column("query_id")[int(other[0])].as_py()
            raise InputError(
                f"The query_id {shown(name)} stands for two different texts. Give each query an id of its own."
            )
        return with_merged_metadata(queries, first)

    def _refuse_unknown(self, judgements: pa.Table) -> None:
        if judgements.num_rows and self.stage.on_dangling == "refuse":
            _refuse_dangling(self.stage, "query", judgements.column("query_id"), judgements.num_rows)


def _refuse_dangling(stage: PrepareQueries, what: str, ids: pa.ChunkedArray, count: int) -> None:
    names = ids.unique().to_pylist()
    name = "judgement names" if count == 1 else "judgements name"
    which = "id" if len(names) == 1 else f"{len(names):,} ids:"
    raise InputError(
        f"{stage.judgements[0].uri}: {count:,} {name} an unknown {what} ({which} {listed(names)}). "
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


class JoinJudgements:
    """Judged queries, judgements and the documents found -> partitions of queries and of their judgements."""

    def __init__(self, folder: StageFolder, stage: PrepareQueries) -> None:
        self.folder, self.stage = folder, stage

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
                f"{self.stage.judgements[0].uri}: no query has a positive that is in the corpus. Check that scores are "
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
            **self._write(resolved),
        }

    def _without_dangling(
        self, judgements: pa.Table, documents: pa.Table, cleaned: pa.Table
    ) -> tuple[pa.Table, dict[str, int]]:
        doc_key = to_numpy(judgements, "doc_key")
        missing = ~np.isin(doc_key, to_numpy(documents, "doc_key"))
        of_cleaned = missing & np.isin(doc_key, to_numpy(cleaned, "doc_key"))
        unknown = judgements.filter(pa.array(missing & ~of_cleaned))
        if unknown.num_rows and self.stage.on_dangling == "refuse":
            _refuse_dangling(self.stage, "document", unknown.column("doc_id"), unknown.num_rows)
        counts = {
            "judgement_of_unknown_document": unknown.num_rows,
            "judgement_of_cleaned_document": int(of_cleaned.sum()),
        }
        return judgements.filter(pa.array(~missing)), {reason: count for reason, count in counts.items() if count}

    def _write(self, resolved: Resolved) -> dict[str, list[dict[str, Any]]]:
        size = rows_of_partition(self.stage.partition_rows, resolved.queries.num_rows)
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
