"""Candidates from the documents of the positives: first which documents these are, then what else is in them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.candidates.proposers.same_document import SameDocument
from operators.candidates.sources import keys_of_pairs, ranked_proposals, seeds_of
from operators.keys import Keys, keys_of, pair_keys, uniform
from operators.schemas import to_numpy
from operators.segments import count_before, first_of_each, in_sorted, join_sorted, join_sorted_in_blocks
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.runtime.shuffle import Shuffle
from pipelines.runtime.stage import Summary
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.search.lacking import lacking
from pipelines.text.stages.search.proposer_stage import ProposerStage
from pipelines.text.stages.wanted import WANTED, OpenWanted, wanted_by

Mask = npt.NDArray[np.bool_]

# A passage, and the key of the document that it is from.
PASSAGES = pa.schema({"doc_key": pa.int64(), "source_key": pa.int64()})
# Temporary: the documents of the positives of each query, and which partitions want which documents.
SOURCES, WANTED_SOURCES = "sources", "wanted_sources"
# Pairs of a query and a passage joined at a time: some 100 bytes for each.
PAIRS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class ProposeSameDocument(ProposerStage):
    """Partitions of documents and judgements -> partitions of proposals (PROPOSALS).

    Attributes:
        proposer: its settings.
        name: of the stage.
        cache: where workers keep copies of what is wanted.
    """

    proposer: SameDocument
    cache: Cache

    inputs = ("prepare/corpus", "prepare/queries")

    def run(self, execution: Execution) -> Summary:
        """Find the documents of the positives, and what else is in them."""
        folder, (corpus, prepared) = execution.folder, (execution.inputs[name] for name in self.inputs)
        judged = prepared.parts("judgements")
        most = sum(part["rows"] for part in judged)
        passages = [Unit(f"{i:05d}", part) for i, part in enumerate(corpus.parts("documents"))]

        wanted = wanted_by(execution, "sources", judged, partial(positives_in, prepared.folder), most)
        route = partial(RoutePassages, folder, corpus.folder, self, wanted, WANTED)
        buckets = [Unit(f"{i:05d}", {"judgements": part}) for i, part in enumerate(judged)]
        naming = partial(NameSources, folder, prepared.folder)
        named = execution.shuffle("sources", Shuffle(route, passages, naming, buckets, PASSAGES))

        files = [one["file"] for one in named]
        sources = wanted_by(execution, "propose", files, partial(sources_in, folder), most, WANTED_SOURCES)
        route = partial(RoutePassages, folder, corpus.folder, self, sources, WANTED_SOURCES)
        buckets = [
            Unit(bucket.name, {**bucket.args, "sources": file}) for bucket, file in zip(buckets, files, strict=True)
        ]
        proposing = partial(ProposePassages, folder, prepared.folder, self.proposer)
        stats = execution.shuffle("propose", Shuffle(route, passages, proposing, buckets, PASSAGES))
        rows_out = sum(one["rows_out"] for one in stats)
        return Summary(
            rows_in=most,
            rows_out=rows_out,
            facts={} if rows_out else {"lacking": lacking(execution, self.proposer)},
            parts={"proposals": [one["file"] for one in stats]},
            temporary=[SOURCES, WANTED, WANTED_SOURCES],
        )


def positives_in(prepared: StageFolder, judgements: Record) -> Keys:
    """Return the keys of the documents that a partition judges positive, each once."""
    return np.unique(to_numpy(_positive(prepared, judgements), "doc_key"))


def sources_in(folder: StageFolder, file: Record) -> Keys:
    """Return the keys of the documents that the positives of a partition are from, each once."""
    return np.unique(to_numpy(folder.read_table(file), "source_key"))


def _positive(prepared: StageFolder, judgements: Record) -> pa.Table:
    table = prepared.read_table(judgements, ["query_key", "doc_key", "relevance"])
    return table.filter(pc.greater(table.column("relevance"), pa.scalar(0, pa.float32()))).drop(["relevance"])


class RoutePassages:
    """One partition of passages -> those that are wanted, by their own key or that of their document."""

    def __init__(
        self,
        folder: StageFolder,
        corpus: StageFolder,
        stage: ProposeSameDocument,
        files: Sequence[Record],
        kind: str,
    ) -> None:
        self.corpus, self.proposer = corpus, stage.proposer
        self.by, self.wanted = kind, OpenWanted(folder, files, stage.cache, kind)

    def __call__(self, unit: Unit) -> Iterator[tuple[Keys, pa.Table]]:
        """Route one partition."""
        documents = self.corpus.read_table(unit.args, ["doc_key", "metadata"])
        name = self.proposer.documents_of(documents.column("metadata"))
        known = documents.filter(pc.is_valid(name))
        source = keys_of(pc.drop_null(name))
        passages = pa.table([known.column("doc_key"), source], schema=PASSAGES)
        for part, row in self.wanted.among(to_numpy(passages, "doc_key" if self.by == WANTED else "source_key")):
            yield part, passages.take(pa.array(row))


@dataclass(frozen=True)
class NameSources:
    """The positives of a partition -> the documents that they are from, for each query."""

    folder: StageFolder
    prepared: StageFolder

    def __call__(self, bucket: Unit, arrived: pa.Table) -> Stats:
        """Name those of one partition."""
        positive = _positive(self.prepared, bucket.args["judgements"])
        arrived = arrived.sort_by("doc_key")
        row, found = join_sorted(to_numpy(positive, "doc_key"), to_numpy(arrived, "doc_key"))
        query, source = to_numpy(positive, "query_key")[row], to_numpy(arrived, "source_key")[found]
        kept = first_of_each(query, source)
        table = pa.table({"query_key": query[kept], "source_key": source[kept]})
        return {
            "file": self.folder.write_table(f"{SOURCES}/part-{bucket.name}.arrow", table),
            "rows_out": table.num_rows,
        }


@dataclass(frozen=True)
class ProposePassages:
    """All passages of the documents that a partition's positives are from -> proposals for its queries."""

    folder: StageFolder
    prepared: StageFolder
    proposer: SameDocument

    def __call__(self, bucket: Unit, arrived: pa.Table) -> Stats:
        """Propose for one partition."""
        sources = self.folder.read_table(bucket.args["sources"])
        positive = _positive(self.prepared, bucket.args["judgements"])
        arrived = arrived.sort_by("source_key")
        table = sample_of(self.proposer, sources, arrived, keys_of_pairs(positive))
        file = self.folder.write_table(f"proposals/part-{bucket.name}.parquet", table)
        return {"file": {**file, "rows": table.num_rows}, "rows_out": table.num_rows}


def sample_of(proposer: SameDocument, sources: pa.Table, passages: pa.Table, positive: Keys) -> pa.Table:
    """Return the passages of the documents of each query with the smallest random numbers: schema PROPOSALS.

    Args:
        proposer: its settings.
        sources: the queries with the documents that they ask for (`query_key`, `source_key`).
        passages: schema PASSAGES, ascending by `source_key`.
        positive: the keys of the pairs of query and passage that are left out.
    """
    asked, doc_key = to_numpy(sources, "query_key"), to_numpy(passages, "doc_key")
    positive, best = np.sort(positive), [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.bool_))]
    pairs = join_sorted_in_blocks(to_numpy(sources, "source_key"), to_numpy(passages, "source_key"), PAIRS_AT_ONCE)
    for row, found in pairs:
        query, document = asked[row], doc_key[found]
        best.append(_first(proposer, query, document, in_sorted(pair_keys(query, document), positive)))
    return ranked_proposals(*_first(proposer, *map(np.concatenate, zip(*best, strict=True))), proposer.limit)


def _first(proposer: SameDocument, query: Keys, document: Keys, own: Mask) -> tuple[Keys, Keys, Mask]:
    """Keep the `limit` smallest random numbers of each query, ascending, each once, and whether it is `own`."""
    drawn = uniform(*seeds_of(proposer.seed, proposer.source), query, document)
    order = np.lexsort((drawn, query))
    order = order[first_of_each(query[order], document[order])]
    query, document, own = query[order], document[order], own[order]
    kept = own | (count_before(~own, query) < proposer.limit)
    return query[kept], document[kept], own[kept]
