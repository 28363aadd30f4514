"""Prepare queries and judgements: bring them together, lead judgements to the documents that were kept."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.documents.clean import CleanConfig, is_empty
from operators.documents.contamination import CONTAMINATED, counts_by_set
from operators.documents.data import Kind
from operators.documents.judgements import (
    Resolved,
    judged_by_labels,
    judged_queries,
    key_queries,
    with_keys,
)
from operators.documents.metadata import with_merged_metadata
from operators.documents.pairs import judgements_of, queries_of
from operators.documents.read import read
from operators.documents.sources import SourceFile
from operators.errors import InputError, shown
from operators.schemas import to_numpy
from operators.segments import first_index
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, sum_counts
from pipelines.runtime.shuffle import Shuffle
from pipelines.runtime.stage import Stage, Summary
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.join_judgements import COLUMNS, FOUND, FindJudged, JoinJudgements, refuse_dangling
from pipelines.text.stages.partitions import bytes_of, counts_of, dimensions_in, one_dimension, size_of
from pipelines.text.stages.prepare_evaluation import (
    CONTAMINATION,
    EVALUATION,
    SHARED,
    EvaluationIndex,
    evaluation_index,
    sum_by_set,
)

# Training queries that share a positive with an evaluation set, from which share on the report warns.
MANY_SHARED = 0.1


@dataclass(frozen=True)
class PrepareQueries(Stage):
    """Queries and judgements -> partitions of judged queries (QUERIES) and of their judgements (JUDGEMENTS).

    Queries and judgements are the small side: one worker holds their keys at a time.

    Attributes:
        queries: the files.
        judgements: the files.
        clean: what is dropped.
        on_dangling: what becomes of judgements of unknown queries and documents.
        partition_rows: of queries.
        positive_labels: of the judgements.
        evaluation: what is known of evaluation sets: queries, which are dropped, and documents of the corpus, which are
            counted.
        cache: where workers keep copies of evaluation sets.
    """

    queries: Sequence[SourceFile]
    judgements: Sequence[SourceFile]
    clean: CleanConfig
    on_dangling: Literal["refuse", "drop"]
    partition_rows: int | Literal["auto"]
    positive_labels: Sequence[str] = ()
    evaluation: Sequence[Kind] = ()
    cache: Cache | None = None

    name = "prepare/queries"
    kept_when_refused = False
    expected_drops = frozenset({"query_not_judged"})

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The corpus, and evaluation sets."""
        return ("prepare/corpus", *(f"{EVALUATION}{kind}" for kind in self.evaluation))

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

    def warnings(self, manifest: Mapping[str, Any]) -> list[str]:
        """Warn, beside what was dropped, where many queries share a positive with an evaluation set."""
        shared = {name: one.get(SHARED, 0) for name, one in manifest.get(CONTAMINATION, {}).items()}
        many = {name: count for name, count in shared.items() if count > MANY_SHARED * manifest["rows_out"]}
        return super().warnings(manifest) + [
            f"{count:,} of {manifest['rows_out']:,} queries have a positive that contamination.sets.{name} judges "
            f"relevant, too. Set drop_documents there if the sets must share no documents"
            for name, count in many.items()
        ]

    def run(self, execution: Execution) -> Summary:
        """Read both, find the judged documents in the corpus, and bring them together."""
        folder, corpus = execution.folder, execution.inputs["prepare/corpus"]
        everything = Unit("all", {"bytes": sum(bytes_of(file) for file in (*self.queries, *self.judgements))})
        index = evaluation_index(execution, "queries", self.cache)
        (read_stats,) = execution.map("read", partial(ReadQueries, folder, self, index), [everything])
        files = [(kind, file) for kind in COLUMNS for file in corpus.parts(kind)]
        units = [Unit(f"{i:05d}", {"kind": kind, "file": file}) for i, (kind, file) in enumerate(files)]
        read = read_stats["files"]
        find = partial(FindJudged, folder, corpus.folder, read["judged"])
        documents = execution.inputs.get(f"{EVALUATION}corpus")
        known = None if documents is None else (documents.folder, documents.parts("known"))
        place = self.judgements[0].uri
        join = partial(JoinJudgements, folder, place, self.on_dangling, self.partition_rows, known)
        (joined,) = execution.shuffle("join", Shuffle(find, units, join, [Unit("all", read)], FOUND))
        return Summary(
            rows_in=read_stats["rows_in"],
            rows_out=joined["rows_out"],
            dropped=sum_counts([read_stats, joined], "dropped"),
            empty_files=read_stats["empty_files"],
            first_empty=read_stats.get("first_empty"),
            facts={
                "judgements": joined["judgements"],
                "dimension": next(iter(read_stats["dimensions"]), None),
                CONTAMINATION: sum_by_set([read_stats, joined]),
            },
            parts={
                **{kind: joined[kind] for kind in ("queries", "judgements", "dropped_queries")},
                "contaminated": read_stats["contaminated"],
            },
            temporary=["read"],
        )


class ReadQueries:
    """All queries and judgements -> those queries that are judged."""

    def __init__(self, folder: StageFolder, stage: PrepareQueries, index: EvaluationIndex | None) -> None:
        self.folder, self.stage, self.index = folder, stage, index

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
        judged, contaminated = self._without_evaluation(judged)
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
            CONTAMINATION: counts_by_set(contaminated),
            "contaminated": [self.folder.write_table("contaminated/queries.parquet", contaminated)]
            if contaminated.num_rows
            else [],
        }

    def _without_evaluation(self, judged: Resolved) -> tuple[Resolved, pa.Table]:
        """Drop the queries that are in an evaluation set or near one; return what is left, and CONTAMINATED."""
        if self.index is None:
            return judged, CONTAMINATED.empty_table()
        if judged.queries.num_rows and pc.all(is_empty(judged.queries.column("text").combine_chunks())).as_py():
            raise InputError(
                "contamination: the queries of data have no text, so none can be compared with those of evaluation "
                "sets. Add a column of texts beside the vectors (data.queries.columns.text), or leave this section out."
            )
        with ExitStack() as holding:
            kept, dropped, contaminated = self.index.open(holding)(judged.queries, "query")
        queries = judged.queries.filter(pa.array(kept))
        if not queries.num_rows and judged.queries.num_rows:
            (name, *_) = counts_by_set(contaminated)
            raise InputError(
                f"contamination.sets.{name}: all {judged.queries.num_rows:,} queries to train on are in an evaluation "
                f"set or near one. Is it the training set itself? Name the split, or the queries, held out."
            )
        of_kept = np.isin(to_numpy(judged.judgements, "query_key"), to_numpy(queries, "query_key"))
        judgements = judged.judgements.filter(pa.array(of_kept))
        return Resolved(queries, judgements, pa.concat_tables([judged.dropped, dropped])), contaminated

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
            refuse_dangling(self.stage.judgements[0].uri, "query", judgements.column("query_id"), judgements.num_rows)
