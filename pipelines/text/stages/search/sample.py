"""Candidates drawn from the whole corpus: all documents with their weights, sorted, and queries that draw."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from operators.candidates.corpus_sampler import CorpusSampler
from operators.candidates.sampling import ENTRIES, SampleCorpus, entries_of, judgement_entries, weighted
from operators.keys import Keys
from operators.schemas import to_numpy
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.runtime.shuffle import Shuffle
from pipelines.runtime.stage import Summary
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.mapped import mapped
from pipelines.text.stages.search.lacking import lacking
from pipelines.text.stages.search.proposer_stage import ProposerStage

# Temporary: the documents with their cumulated weights, and the cells.
WEIGHTS, CELLS = "weights", "cells"
# 16 bytes each, mapped.
DOCUMENTS_PER_BUCKET = 4_000_000


@dataclass(frozen=True)
class ProposeFromCorpus(ProposerStage):
    """Partitions of documents and queries -> partitions of proposals (PROPOSALS).

    Attributes:
        proposer: who draws.
        name: of the stage.
        cache: where workers keep copies of the weights.
    """

    proposer: CorpusSampler
    cache: Cache

    inputs = ("prepare/corpus", "prepare/queries")

    def run(self, execution: Execution) -> Summary:
        """Weigh the documents, and draw for every partition of queries."""
        corpus, prepared = (execution.inputs[name] for name in self.inputs)
        units = [Unit(f"documents-{i:05d}", {"documents": one}) for i, one in enumerate(corpus.parts("documents"))]
        if self.proposer.counts_judgements:
            judged = prepared.parts("judgements")
            units += [Unit(f"judgements-{i:05d}", {"judgements": one}) for i, one in enumerate(judged)]
        count = math.ceil(max(corpus.manifest["rows_out"], 1) / DOCUMENTS_PER_BUCKET)
        buckets = [Unit(f"{i:05d}", {}) for i in range(count)]
        folders = {"documents": corpus.folder, "judgements": prepared.folder}
        route = partial(RouteEntries, folders, self.proposer, count)
        weigh = partial(WriteWeights, execution.folder, self.proposer)
        stats = execution.shuffle("weigh", Shuffle(route, units, weigh, buckets, ENTRIES))
        files = {kind: [one[kind] for one in stats] for kind in (WEIGHTS, CELLS)}
        drawing = partial(DrawPart, execution.folder, prepared.folder, self.proposer, files, self.cache)
        parts = [Unit(f"{i:05d}", {"queries": one}) for i, one in enumerate(prepared.parts("queries"))]
        drawn = execution.map("draw", drawing, parts)
        rows_out = sum(one["rows_out"] for one in drawn)
        why = {} if rows_out else {"lacking": lacking(execution, self.proposer)}
        return Summary(
            rows_in=sum(one["rows_in"] for one in drawn),
            rows_out=rows_out,
            facts={"weighted_documents": sum(one["rows_out"] for one in stats), **why},
            parts={"proposals": [one["file"] for one in drawn]},
            temporary=[WEIGHTS, CELLS],
        )


class RouteEntries:
    """One partition of documents or judgements -> its entries, to the buckets of the documents."""

    def __init__(self, folders: Mapping[str, StageFolder], proposer: CorpusSampler, buckets: int) -> None:
        self.folders, self.proposer, self.buckets = folders, proposer, buckets

    def __call__(self, unit: Unit) -> Iterator[tuple[Keys, pa.Table]]:
        """Route one partition."""
        ((kind, file),) = unit.args.items()
        if kind == "documents":
            columns = ["doc_key", "metadata"]
            entries = entries_of(self.proposer, self.folders[kind].read_table(file, columns))
        else:
            entries = judgement_entries(self.folders[kind].read_table(file, ["doc_key", "relevance"]))
        yield to_numpy(entries, "doc_key") % self.buckets, entries


@dataclass(frozen=True)
class WriteWeights:
    """All entries of a bucket -> its documents with cumulated weights, and their cells."""

    folder: StageFolder
    proposer: CorpusSampler

    def __call__(self, bucket: Unit, entries: pa.Table) -> Stats:
        """Write one bucket."""
        documents, cells = weighted(self.proposer, entries)
        name = f"part-{bucket.name}.arrow"
        files = {
            WEIGHTS: self.folder.write_table(f"{WEIGHTS}/{name}", documents),
            CELLS: self.folder.write_table(f"{CELLS}/{name}", cells),
        }
        return {**files, "rows_out": documents.num_rows}


class DrawPart:
    """One partition of queries -> what is drawn for them."""

    def __init__(
        self,
        folder: StageFolder,
        prepared: StageFolder,
        proposer: CorpusSampler,
        files: Mapping[str, Sequence[Record]],
        cache: Cache,
    ) -> None:
        self.folder, self.prepared = folder, prepared
        self.files = ExitStack()
        buckets = mapped(folder, WEIGHTS, files[WEIGHTS], cache, self.files)
        self.sample = SampleCorpus(proposer, buckets, folder.read_tables(files[CELLS]))

    def __call__(self, unit: Unit) -> Stats:
        """Draw for one partition."""
        queries = self.prepared.read_table(unit.args["queries"], ["query_key", "metadata"])
        proposed = self.sample(queries)
        file = self.folder.write_table(f"proposals/part-{unit.name}.parquet", proposed)
        rows = proposed.num_rows
        return {"file": {**file, "rows": rows}, "rows_in": queries.num_rows, "rows_out": rows}
