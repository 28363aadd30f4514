"""Candidates beside those of the search: proposers name them, and the vectors of the run score them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from operators.candidates.corpus_sampler import CorpusSampler
from operators.candidates.proposer import CandidateSource, Proposer, proposals
from operators.candidates.proposers.cluster import Cluster
from operators.candidates.proposers.encoder import SecondEncoder
from operators.candidates.proposers.lexical import Lexical
from operators.candidates.proposers.same_document import SameDocument
from operators.candidates.sources import keys_of_pairs, rank_column, union
from operators.errors import InputError
from operators.keys import Keys
from operators.schemas import JUDGEMENTS, QUERIES, matrix_of, to_numpy
from operators.segments import first_index
from operators.vectors.candidates import Asked, Documents, candidates_of
from operators.vectors.geometry import InnerProduct
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput, sum_counts
from pipelines.runtime.stage import Section, Stage, Summary
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.search.candidates import PROPOSED
from pipelines.text.stages.search.carry import carry_vectors
from pipelines.text.stages.search.cluster import ProposeCluster
from pipelines.text.stages.search.encoder import ProposeByEncoder
from pipelines.text.stages.search.lexical import ProposeByBM25
from pipelines.text.stages.search.proposer_stage import ProposerStage
from pipelines.text.stages.search.same_document import ProposeSameDocument
from pipelines.text.stages.search.sample import ProposeFromCorpus
from pipelines.text.stages.search.shards import Indexed, SearchPool
from pipelines.text.stages.wanted import WANTED, wanted_by


@dataclass(frozen=True)
class Propose(ProposerStage):
    """Partitions of queries and judgements -> partitions of proposals (PROPOSALS).

    Attributes:
        proposer: who proposes.
        name: of the stage.
    """

    proposer: Proposer

    inputs = ("prepare/queries",)

    def run(self, execution: Execution) -> Summary:
        """Ask for every partition."""
        prepared = execution.inputs["prepare/queries"]
        units = [
            Unit(f"{i:05d}", {"queries": queries, "judgements": judgements})
            for i, (queries, judgements) in enumerate(
                zip(prepared.parts("queries"), prepared.parts("judgements"), strict=True)
            )
        ]
        proposing = partial(ProposePart, execution.folder, prepared.folder, self.proposer)
        stats = execution.map("propose", proposing, units)
        return Summary(
            rows_in=sum(one["rows_in"] for one in stats),
            rows_out=sum(one["rows_out"] for one in stats),
            parts={"proposals": [one["file"] for one in stats]},
        )


@dataclass(frozen=True)
class ProposePart:
    """One partition of queries -> the proposals for them."""

    folder: StageFolder
    prepared: StageFolder
    proposer: Proposer

    def __call__(self, unit: Unit) -> Stats:
        """Ask for one partition."""
        queries = self.prepared.read_table(unit.args["queries"], QUERIES.names)
        judgements = self.prepared.read_table(unit.args["judgements"], JUDGEMENTS.names)
        proposed = proposals(self.proposer, queries, judgements)
        file = self.folder.write_table(f"proposals/part-{unit.name}.parquet", proposed)
        rows = proposed.num_rows
        return {"file": {**file, "rows": rows}, "rows_in": queries.num_rows, "rows_out": rows}


@dataclass(frozen=True)
class ScoreProposals(Stage):
    """Partitions of proposals -> partitions of candidates (CANDIDATES and the ranks of every source).

    Attributes:
        sources: the names of the proposers, and the stages in which they propose.
        searchers: who opens the shards.
    """

    sources: Mapping[str, str]
    searchers: SearchPool

    name = PROPOSED

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The vectors, the positives, and the proposals."""
        return ("encode", "index", "search/all", *self.sources.values())

    def settings(self) -> Mapping[str, Any]:
        """Return the names of the sources: the rest is said by the inputs."""
        return {"sources": list(self.sources)}

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Say how many candidates every source named."""
        manifest = outputs[self.name].manifest
        named = {source: outputs[stage].manifest["rows_out"] for source, stage in self.sources.items()}
        listed = ", ".join(f"{source} {count:,}" for source, count in named.items())
        facts = {"proposed": {**named, "scored": manifest["rows_out"]}}
        return Section(facts, [f"Proposed beside the search: {listed}; {manifest['rows_out']:,} were scored."])

    def run(self, execution: Execution) -> Summary:
        """Carry the vectors to the proposals, and score them."""
        encoded, searched = execution.inputs["encode"], execution.inputs["search/all"]
        proposed = {source: execution.inputs[stage] for source, stage in self.sources.items()}
        parts = [dict(zip(proposed, files, strict=True)) for files in self._files(proposed)]
        read = ReadProposals({source: output.folder for source, output in proposed.items()})
        most = sum(output.manifest["rows_out"] for output in proposed.values())
        named = [{"proposals": files} for files in parts]
        wanted = wanted_by(execution, "score", named, partial(documents_in, read), most)
        buckets = [
            Unit(f"{i:05d}", {"proposals": files, "queries": queries, "positives": positives})
            for i, (files, queries, positives) in enumerate(
                zip(parts, encoded.parts("queries"), searched.parts("positives"), strict=True)
            )
        ]
        indexed = Indexed(encoded, execution.inputs["index"], self.searchers)
        gather = partial(ScorePart, execution.folder, read, encoded.folder, searched.folder, indexed.geometry)
        stats = carry_vectors(execution, "score", wanted, gather, buckets, indexed)
        return Summary(
            rows_in=sum(one["rows_in"] for one in stats),
            rows_out=sum(one["rows_out"] for one in stats),
            dropped=sum_counts(stats, "dropped"),
            parts={"candidates": [one["file"] for one in stats]},
            temporary=[WANTED],
        )

    @staticmethod
    def _files(proposed: Mapping[str, StageOutput]) -> Iterator[tuple[Record, ...]]:
        """Yield, for each partition of queries, the file of every source."""
        return zip(*(output.parts("proposals") for output in proposed.values()), strict=True)


@dataclass(frozen=True)
class ReadProposals:
    """Reads the proposals of a partition: the columns of PAIR, and the ranks of every source.

    Attributes:
        folders: of every source.
    """

    folders: Mapping[str, StageFolder]

    def __call__(self, files: Mapping[str, Record]) -> pa.Table:
        """Read one partition."""
        return union({source: folder.read_table(files[source]) for source, folder in self.folders.items()})


def documents_in(read: ReadProposals, files: Record) -> Keys:
    """Return the keys of the documents that are proposed in a partition, each once."""
    return np.unique(to_numpy(read(files["proposals"]), "doc_key"))


class ScorePart:
    """All vectors that a partition of proposals wants -> its candidates."""

    def __init__(
        self,
        folder: StageFolder,
        read: ReadProposals,
        encoded: StageFolder,
        searched: StageFolder,
        geometry: InnerProduct,
    ) -> None:
        self.folder, self.read, self.encoded, self.searched = folder, read, encoded, searched
        self.geometry = geometry

    def __call__(self, bucket: Unit, arrived: pa.Table) -> Stats:
        """Score one partition."""
        proposed = self.read(bucket.args["proposals"])
        asked = Asked.of(
            self.encoded.read_table(bucket.args["queries"]), self.searched.read_table(bucket.args["positives"])
        )
        doc_key, text_key = (to_numpy(arrived, name) for name in ("key", "text_key"))
        row = first_index(doc_key, to_numpy(proposed, "doc_key"))
        here = np.flatnonzero(row >= 0)
        query = first_index(asked.keys, to_numpy(proposed, "query_key")[here])
        order = np.argsort(query, kind="stable")
        documents = Documents(doc_key, text_key, matrix_of(arrived.column("vector")), self.geometry)
        _, candidates = candidates_of(asked, documents, query[order], row[here][order])
        at = first_index(keys_of_pairs(proposed), keys_of_pairs(candidates))
        for source in self.read.folders:
            ranks = to_numpy(proposed, rank_column(source))[at]
            candidates = candidates.append_column(rank_column(source), pa.array(ranks, pa.int32()))
        file = self.folder.write_table(f"candidates/part-{bucket.name}.parquet", candidates)
        missing = proposed.num_rows - len(here)
        return {
            "file": {**file, "rows": candidates.num_rows},
            "rows_in": proposed.num_rows,
            "rows_out": candidates.num_rows,
            "dropped": {"not_in_corpus": missing} if missing else {},
        }


def proposing(proposers: Sequence[CandidateSource], searchers: SearchPool) -> list[Stage]:
    """Return the stages that propose, and the one that scores; none without proposers."""
    if not proposers:
        return []
    stages = {one.source: _stage_of(one, f"search/propose_{one.source}", searchers) for one in proposers}
    return [*stages.values(), ScoreProposals({source: one.name for source, one in stages.items()}, searchers)]


def _stage_of(proposer: CandidateSource, name: str, searchers: SearchPool) -> Stage:
    if isinstance(proposer, CorpusSampler):
        return ProposeFromCorpus(proposer, name, searchers.cache)
    if isinstance(proposer, Lexical):
        return ProposeByBM25(proposer, name, searchers.cache)
    if isinstance(proposer, Cluster):
        return ProposeCluster(proposer, name, searchers)
    if isinstance(proposer, SecondEncoder):
        return ProposeByEncoder(proposer, name, searchers)
    if isinstance(proposer, SameDocument):
        return ProposeSameDocument(proposer, name, searchers.cache)
    if isinstance(proposer, Proposer):
        return Propose(proposer, name)
    raise InputError(f"proposers: {proposer.proposer}: derive its class from Proposer or from CorpusSampler.")
