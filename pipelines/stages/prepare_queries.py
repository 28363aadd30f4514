"""Prepare queries and judgements: bring them together, lead judgements to the documents that were kept."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from operators.documents.clean import CleanConfig
from operators.documents.judge import (
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
from operators.schemas import DROPPED, concat, numbers
from operators.segments import in_sorted, row_of
from pipelines.engines import Stats, Unit
from pipelines.execution import Completed, Execution, added
from pipelines.stages import Stage, Summary, part_name
from pipelines.stages.prepare_corpus import counts_of, dimensions_in, encoded_digest, one_dimension
from pipelines.storage.records import Record
from pipelines.storage.run_directory import StageFolder

FOUND = pa.schema({"doc_key": pa.int64(), "kept_key": pa.int64(), "text_key": pa.int64(), "doc_id": pa.string()})


@dataclass(frozen=True)
class PrepareQueries(Stage):
    """Queries and judgements -> partitions of judged queries (QUERIES) and of their judgements (JUDGEMENTS).

    Queries and judgements are the small side: one worker holds their keys at a time.
    """

    queries: Sequence[SourceFile]
    judgements: Sequence[SourceFile]
    clean: CleanConfig
    on_dangling: Literal["refuse", "drop"]
    partition_rows: int
    positive_labels: Sequence[str] = ()

    name = "prepare/queries"
    inputs: tuple[str, ...] = ("prepare/corpus",)

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

    def run(self, execution: Execution) -> Summary:
        """Read both, find the judged documents in the corpus, and bring them together."""
        folder, corpus = execution.folder, execution.inputs["prepare/corpus"]
        (read_stats,) = execution.map("read", partial(ReadQueries, folder, self), [Unit("all", {})])
        units = [Unit(f"{i:05d}", part) for i, part in enumerate(corpus.parts("documents"))]
        read = read_stats["files"]
        found = execution.map("find", partial(FindJudged, folder, corpus.folder, read["judgements"]), units)
        join = partial(JoinJudgements, folder, corpus, self)
        (joined,) = execution.map(
            "join", join, [Unit("all", {"read": read, "found": [stats["file"] for stats in found]})]
        )
        return {
            "temporary": ["read", "found"],
            "rows_in": read_stats["rows_in"],
            "rows_out": joined["rows_out"],
            "judgements": joined["judgements"],
            "empty_files": read_stats["empty_files"],
            "dropped": added([read_stats, joined], "dropped"),
            "dimension": next(iter(read_stats["dimensions"]), None),
            "parts": {kind: joined[kind] for kind in ("queries", "judgements", "dropped_queries")},
        }


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
        unknown = ~np.isin(numbers(judgements, "query_key"), numbers(queries, "query_key"))
        self._refuse_unknown(judgements.filter(pa.array(unknown)))
        judged = judged_queries(
            queries,
            judgements.filter(pa.array(~unknown)),
            merge=self.stage.clean.exact_duplicates == "keep_first",
            drop_empty=self.stage.clean.drop_empty,
        )
        tables = {"queries": judged.queries, "judgements": judged.judgements, "dropped": judged.dropped}
        files = {name: self.folder.write_table(f"read/{name}.parquet", table) for name, table in tables.items()}
        dropped = {f"query_{reason}": count for reason, count in counts_of(judged.dropped.column("reason")).items()}
        if unknown.any():
            dropped["judgement_of_unknown_query"] = int(unknown.sum())
        return {
            "rows_in": queries.num_rows,
            "rows_out": judged.queries.num_rows,
            "dropped": dropped,
            "dimensions": dimensions_in(queries),
            "empty_files": len(self._uris() - {file.uri for file, _ in [*asked, *judged_by]}),
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
        keys, texts = numbers(queries, "query_key"), numbers(queries, "text_key")
        first = row_of(keys, keys)
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
    raise InputError(
        f"{stage.judgements[0].uri}: {count} judgements name an unknown {what} ({len(names)} ids: {listed(names)}). "
        f"Correct the ids, or set data.on_dangling to drop to leave these judgements out."
    )


class FindJudged:
    """One partition of the corpus -> those of its documents that are judged."""

    def __init__(self, folder: StageFolder, corpus: StageFolder, judgements: Record) -> None:
        self.folder, self.corpus = folder, corpus
        self.judged = np.unique(numbers(folder.read_table(judgements, ["doc_key"]), "doc_key"))

    def __call__(self, unit: Unit) -> Stats:
        """Look one partition through."""
        documents = self.corpus.read_table(unit.args, ["doc_key", "text_key", "doc_id"])
        documents = documents.filter(pa.array(in_sorted(numbers(documents, "doc_key"), self.judged)))
        found = documents.append_column("kept_key", documents.column("doc_key")).select(FOUND.names)
        file = self.folder.write_table(f"found/{unit.name}.parquet", found)
        return {"file": file, "rows_out": documents.num_rows}


class JoinJudgements:
    """Judged queries, judgements and the documents found -> partitions of queries and of their judgements."""

    def __init__(self, folder: StageFolder, corpus: Completed, stage: PrepareQueries) -> None:
        self.folder, self.corpus, self.stage = folder, corpus, stage

    def __call__(self, unit: Unit) -> Stats:
        """Join everything."""
        read = {name: self.folder.read_table(file) for name, file in unit.args["read"].items()}
        queries, judgements = read["queries"], read["judgements"]
        documents = self._documents(unit.args["found"], judgements)
        judgements, dropped = self._without_dangling(judgements, documents)
        led = resolve(queries, judgements.select(READ_JUDGEMENTS.names), documents)
        if not led.queries.num_rows:
            raise InputError(
                f"{self.stage.judgements[0].uri}: no query has a positive that is in the corpus. Check that scores are "
                f"above 0, that ids are written as in the corpus and the queries, and what `clean` drops."
            )
        for reason, count in counts_of(led.dropped.column("reason")).items():
            dropped[f"query_{reason}"] = count
        everything = concat([read["dropped"], led.dropped], DROPPED)
        return {
            "dropped_queries": [self.folder.write_table("dropped/queries.parquet", everything)],
            "rows_out": led.queries.num_rows,
            "judgements": led.judgements.num_rows,
            "dropped": dropped,
            **self._write(led),
        }

    def _documents(self, found: Sequence[Record], judgements: pa.Table) -> pa.Table:
        """Return the judged documents that are in the corpus, and those that another stands for (schema FOUND)."""
        tables = [self.folder.read_table(file) for file in found]
        for part in self.corpus.parts("duplicates"):
            table = self.corpus.folder.read_table(part)
            wanted = np.isin(numbers(table, "doc_key"), numbers(judgements, "doc_key"))
            table = table.filter(pa.array(wanted)).select(["doc_key", "kept_key", "text_key"])
            tables.append(table.append_column("doc_id", pa.nulls(table.num_rows, pa.string())))
        return concat(tables, FOUND)

    def _without_dangling(self, judgements: pa.Table, documents: pa.Table) -> tuple[pa.Table, dict[str, int]]:
        missing = ~np.isin(numbers(judgements, "doc_key"), numbers(documents, "doc_key"))
        cleaned = [self.corpus.folder.read_table(part, ["key"]) for part in self.corpus.parts("dropped")]
        of_cleaned = missing & np.isin(
            numbers(judgements, "doc_key"), np.concatenate([numbers(one, "key") for one in cleaned])
        )
        unknown = judgements.filter(pa.array(missing & ~of_cleaned))
        if unknown.num_rows and self.stage.on_dangling == "refuse":
            _refuse_dangling(self.stage, "document", unknown.column("doc_id"), unknown.num_rows)
        counts = {
            "judgement_of_unknown_document": unknown.num_rows,
            "judgement_of_cleaned_document": int(of_cleaned.sum()),
        }
        return judgements.filter(pa.array(~missing)), {reason: count for reason, count in counts.items() if count}

    def _write(self, led: Resolved) -> dict[str, list[dict[str, Any]]]:
        size = self.stage.partition_rows
        owner = row_of(numbers(led.queries, "query_key"), numbers(led.judgements, "query_key")) // size
        parts: dict[str, list[dict[str, Any]]] = {"queries": [], "judgements": []}
        for number in range(math.ceil(led.queries.num_rows / size)):
            tables = {
                "queries": led.queries.slice(number * size, size),
                "judgements": led.judgements.filter(pa.array(owner == number)),
            }
            for kind, table in tables.items():
                file = self.folder.write_table(f"{kind}/{part_name(number, table)}", table)
                parts[kind].append({**file, "rows": table.num_rows})
            parts["queries"][-1]["digest"] = encoded_digest(tables["queries"], "query_key")
        return parts
