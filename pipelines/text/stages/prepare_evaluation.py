"""Prepare evaluation sets: read their queries, or documents, and write what finds texts among them or near them."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.documents.clean import is_empty, with_title
from operators.documents.contamination import IN_SET, NEAR_SET, TEXTS, EvaluationTexts, bands_of, beginning
from operators.documents.data import Kind
from operators.documents.judgements import judged_by_labels, with_keys
from operators.documents.pairs import documents_of, judgements_of, queries_of
from operators.documents.read import read
from operators.documents.sources import SourceFile
from operators.errors import InputError
from operators.keys import Keys, keys_of, text_keys_of
from operators.schemas import concat, to_numpy
from operators.segments import first_of_each
from operators.signatures import as_column, signatures_in, signatures_of
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput, sum_counts
from pipelines.runtime.stage import Figure, Section, Stage, Summary
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.mapped import mapped
from pipelines.text.stages.partitions import bytes_of, counts_of, size_of

EVALUATION = "prepare/evaluation_"
# Of all sets, what is compared with: some 2 KB each, on the disk of every worker.
MOST_TEXTS = 1_000_000
# What the manifests of the stages that drop texts say of each set: the reasons, and training queries with a positive
# that is a document of the set.
CONTAMINATION, SHARED = "contamination", "shared_positive"


@dataclass(frozen=True)
class EvaluationFiles:
    """The files of one evaluation set that a stage reads.

    Attributes:
        name: of the set.
        section: of the configuration.
        texts: its queries, or its documents.
        judgements: which of them belong to it; all do where there are none.
        positive_labels: of the judgements.
        dropped: what is in the set, or near it, is dropped; else it is only known.
    """

    name: str
    section: str
    texts: Sequence[SourceFile]
    judgements: Sequence[SourceFile]
    positive_labels: Sequence[str]
    dropped: bool


@dataclass(frozen=True)
class PrepareEvaluation(Stage):
    """The queries, or the documents, of evaluation sets -> the texts (TEXTS), and tables that find them (BAND).

    Attributes:
        kind: which of the two.
        sets: in the order of the configuration.
        limit: texts that resemble one more are near it.
    """

    kind: Kind
    sets: Sequence[EvaluationFiles]
    limit: float

    kept_when_refused = False
    expected_drops = frozenset({"not_judged", "empty_text", "exact_duplicate"})

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the stage."""
        return f"{EVALUATION}{self.kind}"

    @property
    def dropped_prefix(self) -> str:  # type: ignore[override]
        """Before its reasons: other rows are dropped for the same."""
        return f"{self.name.partition('/')[2]}_"

    def settings(self) -> Mapping[str, Any]:
        """Return the files as they are now, and what decides the bands."""
        sets = [
            {
                "name": one.name,
                "texts": [file.model_dump() for file in one.texts],
                "judgements": [file.model_dump() for file in one.judgements],
                "positive_labels": list(one.positive_labels),
                "dropped": one.dropped,
            }
            for one in self.sets
        ]
        return {"sets": sets, "limit": self.limit, "rensa": version("rensa")}

    def needs(self, manifest: Mapping[str, Any] | None) -> str:
        """Say how much is read."""
        del manifest
        return size_of([file for one in self.sets for file in (*one.texts, *one.judgements)])

    def run(self, execution: Execution) -> Summary:
        """Read each file, then bring the texts of all together."""
        places = [(number, at) for number, one in enumerate(self.sets) for at in range(len(one.texts))]
        units = [
            Unit(f"{i:05d}", {"set": number, "file": at, "bytes": bytes_of(self.sets[number].texts[at])})
            for i, (number, at) in enumerate(places)
        ]
        found = execution.map("read", partial(ReadTexts, execution.folder, self), units)
        everything = Unit("all", {"files": [one["file"] for one in found], "set": [number for number, _ in places]})
        (indexed,) = execution.map("index", partial(IndexTexts, execution.folder, self), [everything])
        return Summary(
            rows_in=sum(one["rows_in"] for one in found),
            rows_out=indexed["rows_out"],
            dropped=sum_counts([*found, indexed], "dropped"),
            facts={"sets": indexed["sets"]},
            parts={kind: indexed[kind] for kind in ("texts", "bands", "known")},
            temporary=["read"],
        )

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Say what was dropped for each set."""
        what, side = ("queries", "prepare/queries") if self.kind == "queries" else ("documents", "prepare/corpus")
        counts, sizes = outputs[side].manifest.get(CONTAMINATION, {}), outputs[self.name].manifest["sets"]
        facts = {name: {"texts": size, IN_SET: 0, NEAR_SET: 0, **counts.get(name, {})} for name, size in sizes.items()}
        heading = dict.fromkeys(key for one in facts.values() for key in one)
        rows = [[name, *(one.get(key, "") for key in heading)] for name, one in facts.items()]
        figure = Figure(f"Evaluation sets: {what} that were dropped", (["set", *heading], rows))
        return Section(facts={CONTAMINATION: {name: {what: one} for name, one in facts.items()}}, figures=[figure])


class ReadTexts:
    """One file of an evaluation set -> those of its texts that belong to the set."""

    def __init__(self, folder: StageFolder, stage: PrepareEvaluation) -> None:
        self.folder, self.stage = folder, stage
        self.judged: dict[int, Keys | None] = {}

    def __call__(self, unit: Unit) -> Stats:
        """Read one file."""
        number = unit.args["set"]
        if number not in self.judged:
            self.judged[number] = _judged(self.stage.sets[number], self.stage.kind)
        one, judged = self.stage.sets[number], self.judged[number]
        tables, dropped = [TEXTS.empty_table()], list[pa.Array]()
        for table in read(one.texts[unit.args["file"]]):
            texts, reason = self._texts(table, one, judged)
            tables.append(texts)
            dropped.append(reason)
            _refuse_many(self.stage.kind, sum(map(len, tables)) if one.dropped else 0)
        reasons = pa.chunked_array(dropped, pa.string())
        texts = concat(tables, TEXTS)
        file = self.folder.write_table(f"read/part-{unit.name}.parquet", texts)
        return {
            "file": file,
            "rows_in": len(reasons),
            "rows_out": texts.num_rows,
            "dropped": counts_of(reasons.drop_null()),
        }

    def _texts(self, table: pa.Table, one: EvaluationFiles, judged: Keys | None) -> tuple[pa.Table, pa.Array]:
        """Return the rows that belong to the set (schema TEXTS), and for every row why it does not, or null."""
        of_queries = self.stage.kind == "queries"
        if one.texts[0].kind == "pairs":
            table = queries_of(table) if of_queries else documents_of(table)
        ids = table.column("query_id" if of_queries else "doc_id").combine_chunks()
        text = pc.fill_null(table.column("text").combine_chunks(), "") if of_queries else with_title(table)
        wanted = np.ones(len(ids), np.bool_) if judged is None else np.isin(keys_of(ids), judged)
        empty = is_empty(text)
        reason = pc.case_when(
            pc.make_struct(pa.array(~wanted), empty), pa.scalar("not_judged"), pa.scalar("empty_text")
        )
        text = pa.chunked_array([text.filter(pc.is_null(reason))])
        columns = {
            "evaluation_set": pa.repeat(pa.scalar(one.name), len(text)),
            "evaluation_id": ids.filter(pc.is_null(reason)),
            "evaluation_text": beginning(text),
            "text_key": text_keys_of(text),
            "signature": as_column(signatures_of(text)),
        }
        return pa.table(columns, schema=TEXTS), reason


def _judged(one: EvaluationFiles, kind: Kind) -> Keys | None:
    """Return the keys of the queries that are judged, or of the documents that are judged relevant; None for all."""
    if not one.judgements:
        return None
    tables = [(file, table) for file in one.judgements for table in read(file)]
    keyed = [with_keys(judgements_of(table) if file.kind == "pairs" else table) for file, table in tables]
    judgements = judged_by_labels(one.judgements[0].uri, pa.concat_tables(keyed), one.positive_labels, one.section)
    if kind == "queries":
        return np.unique(to_numpy(judgements, "query_key"))
    relevant = judgements.filter(pc.greater(judgements.column("relevance"), pa.scalar(0, pa.float32())))
    return np.unique(to_numpy(relevant, "doc_key"))


class IndexTexts:
    """The texts of all sets -> each once in its set, what finds those that are dropped, and the keys of all."""

    def __init__(self, folder: StageFolder, stage: PrepareEvaluation) -> None:
        self.folder, self.stage = folder, stage

    def __call__(self, unit: Unit) -> Stats:
        """Index everything."""
        tables = [self.folder.read_table(file) for file in unit.args["files"]]
        number = np.repeat(unit.args["set"], [table.num_rows for table in tables]).astype(np.int64)
        texts = concat(tables, TEXTS)
        once = first_of_each(number, to_numpy(texts, "text_key"))
        repeated, texts, number = int((~once).sum()), texts.filter(pa.array(once)), number[once]
        sizes = np.bincount(number, minlength=len(self.stage.sets)).tolist()
        self._check(sizes)
        known = texts.select(["evaluation_set", "text_key"])
        texts = texts.filter(pa.array(np.array([one.dropped for one in self.stage.sets])[number]))
        bands = bands_of(signatures_in(texts.column("signature")), self.stage.limit)
        return {
            "rows_out": known.num_rows,
            "dropped": {"exact_duplicate": repeated} if repeated else {},
            "sets": dict(zip([one.name for one in self.stage.sets], sizes, strict=True)),
            "known": [self.folder.write_table("known/part-00000.parquet", known)],
            "texts": [self.folder.write_table("texts/part-00000.arrow", texts)],
            "bands": [self.folder.write_table(f"bands/part-{i:05d}.arrow", table) for i, table in enumerate(bands)],
        }

    def _check(self, sizes: Sequence[int]) -> None:
        what = "query" if self.stage.kind == "queries" else "document"
        for one, size in zip(self.stage.sets, sizes, strict=True):
            if not size:
                which = f"judged {what}" if one.judgements else f"{what} with a text"
                raise InputError(
                    f"{one.section}: none of its sources has a {which}. Check that ids are written alike in both, "
                    f"and name the right files."
                )
        total = sum(size for one, size in zip(self.stage.sets, sizes, strict=True) if one.dropped)
        _refuse_many(self.stage.kind, total)


def _refuse_many(kind: Kind, count: int) -> None:
    if count > MOST_TEXTS:
        what = "queries" if kind == "queries" else "documents to drop"
        raise InputError(
            f"contamination.sets: they hold more than {MOST_TEXTS:,} {what}, and no more are compared with. Give "
            f"judgements, so that only judged ones count, or leave a set out."
        )


@dataclass(frozen=True)
class EvaluationIndex:
    """What `PrepareEvaluation` wrote, as it travels to workers."""

    folder: StageFolder
    texts: Sequence[Record]
    bands: Sequence[Record]
    limit: float
    cache: Cache

    def open(self, holding: ExitStack) -> EvaluationTexts:
        """Map the files on this worker: the pages that are probed are in memory, as far as memory allows."""
        (texts,) = mapped(self.folder, "texts", self.texts, self.cache, holding)
        bands = mapped(self.folder, "bands", self.bands, self.cache, holding)
        return EvaluationTexts(texts, bands, self.limit)


def evaluation_index(execution: Execution, kind: Kind, cache: Cache | None) -> EvaluationIndex | None:
    """Return what finds the queries, or the documents, of evaluation sets; None where that is no input of the stage."""
    output = execution.inputs.get(f"{EVALUATION}{kind}")
    if output is None or cache is None:
        return None
    limit = output.manifest["settings"]["limit"]
    return EvaluationIndex(output.folder, output.parts("texts"), output.parts("bands"), limit, cache)


def sum_by_set(stats: Sequence[Stats]) -> dict[str, dict[str, int]]:
    """Add up what units say under CONTAMINATION: evaluation set -> reason -> rows."""
    names = dict.fromkeys(name for one in stats for name in one[CONTAMINATION])
    return {name: sum_counts([one[CONTAMINATION] for one in stats], name) for name in names}
