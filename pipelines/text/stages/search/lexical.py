"""Candidates by BM25: documents inverted in shards, the frequencies of all shards added up, and shards searched."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from operators.candidates.proposers.lexical import Lexical
from operators.keys import Keys
from operators.lexical.bm25 import FOUND, TERMS, Asked, Corpus, ScoreShard, frequencies, merged, shard_of
from operators.lexical.tokenize import Tokenize
from operators.schemas import PROPOSALS, to_numpy
from operators.segments import rank_within
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.runtime.shuffle import Shuffle
from pipelines.runtime.stage import Summary
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.mapped import mapped
from pipelines.text.stages.search.proposer_stage import ProposerStage

# Temporary: the shards, the frequencies, and what each shard found.
SHARDS, FREQUENCIES, FOUND_IN_SHARDS = "shards", "frequencies", "found"
# A shard is made in memory: a document of 200 terms takes some 10 KB then.
DOCUMENTS_PER_SHARD = 100_000
BYTES_PER_SHARD = 128 << 20
# 16 bytes each, mapped.
TERMS_PER_BUCKET = 4_000_000


@dataclass(frozen=True)
class ProposeByBM25(ProposerStage):
    """Partitions of documents and queries -> partitions of proposals (PROPOSALS).

    Attributes:
        proposer: its settings.
        name: of the stage.
        cache: where workers keep copies of the shards.
    """

    proposer: Lexical
    cache: Cache

    inputs = ("prepare/corpus", "prepare/queries")

    def warnings(self, manifest: Mapping[str, Any]) -> list[str]:
        """Warn of queries that share no word with any document."""
        return [] if manifest["rows_out"] else [f"{self.proposer.source}: no query shares a term with a document"]

    def run(self, execution: Execution) -> Summary:
        """Invert the documents, add up the frequencies, score the queries, and merge what the shards found."""
        folder, (corpus, prepared) = execution.folder, (execution.inputs[name] for name in self.inputs)
        shards = [Unit(f"{i:05d}", {"documents": some}) for i, some in enumerate(shards_of(corpus.parts("documents")))]
        inverted = execution.map("invert", partial(InvertDocuments, folder, corpus.folder, self.proposer), shards)
        known = Corpus(sum(one["rows_out"] for one in inverted), sum(one["terms"] for one in inverted))
        count = math.ceil(max(sum(one["different_terms"] for one in inverted), 1) / TERMS_PER_BUCKET)
        units = [Unit(shard.name, one["files"]["terms"]) for shard, one in zip(shards, inverted, strict=True)]
        buckets = [Unit(f"{i:05d}", {}) for i in range(count)]
        adding = partial(AddFrequencies, folder)
        added = execution.shuffle("add", Shuffle(partial(RouteTerms, folder, count), units, adding, buckets, TERMS))
        bm25 = BM25(self.proposer, known, [one["file"] for one in added], self.cache)
        queries = prepared.parts("queries")
        todo = [
            Unit(f"{s:05d}-{q:05d}", {"shard": one["files"], "queries": part, "file": f"{s:05d}/part-{q:05d}.arrow"})
            for s, one in enumerate(inverted)
            for q, part in enumerate(queries)
        ]
        scoring = partial(ScorePart, folder, prepared.folder, bm25)
        scored = execution.map("score", scoring, todo)
        parts = [
            Unit(f"{q:05d}", {"queries": part, "found": [one["file"] for one in scored[q :: len(queries)]]})
            for q, part in enumerate(queries)
        ]
        proposed = execution.map("merge", partial(MergeFound, folder, prepared.folder, self.proposer.limit), parts)
        return Summary(
            rows_in=sum(one["rows_in"] for one in proposed),
            rows_out=sum(one["rows_out"] for one in proposed),
            facts={"terms": known.terms, "different_terms": sum(one["rows_out"] for one in added)},
            parts={"proposals": [one["file"] for one in proposed]},
            temporary=[SHARDS, FREQUENCIES, FOUND_IN_SHARDS],
        )


def shards_of(parts: Sequence[Record]) -> Iterator[list[Record]]:
    """Yield the partitions of each shard."""
    held: list[Record] = []
    for part in parts:
        rows, size = (sum(one[key] for one in [*held, part]) for key in ("rows", "bytes"))
        if held and (rows > DOCUMENTS_PER_SHARD or size > BYTES_PER_SHARD):
            yield held
            held = []
        held.append(part)
    if held:
        yield held


class InvertDocuments:
    """Some partitions of documents -> a shard."""

    def __init__(self, folder: StageFolder, corpus: StageFolder, proposer: Lexical) -> None:
        self.folder, self.corpus, self.tokenize = folder, corpus, Tokenize(proposer.tokenizer)

    def __call__(self, unit: Unit) -> Stats:
        """Invert one shard."""
        tables = [self.corpus.read_table(part, ["doc_key", "text"]) for part in unit.args["documents"]]
        documents = pa.concat_tables(tables)
        terms = self.tokenize(documents.column("text"))
        made = dict(zip(("postings", "terms", "lengths"), shard_of(to_numpy(documents, "doc_key"), terms), strict=True))
        files = {
            name: self.folder.write_table(f"{SHARDS}/{unit.name}/{name}.arrow", table) for name, table in made.items()
        }
        return {
            "files": files,
            "rows_out": documents.num_rows,
            "terms": len(terms.key),
            "different_terms": made["terms"].num_rows,
        }


class RouteTerms:
    """The terms of a shard -> to the buckets of their keys."""

    def __init__(self, folder: StageFolder, buckets: int) -> None:
        self.folder, self.buckets = folder, buckets

    def __call__(self, unit: Unit) -> Iterator[tuple[Keys, pa.Table]]:
        """Route one shard."""
        terms = self.folder.read_table(unit.args)
        yield to_numpy(terms, "term") % self.buckets, terms


@dataclass(frozen=True)
class AddFrequencies:
    """The terms of all shards in a bucket -> how many documents have each."""

    folder: StageFolder

    def __call__(self, bucket: Unit, terms: pa.Table) -> Stats:
        """Add up one bucket."""
        table = frequencies(terms)
        file = self.folder.write_table(f"{FREQUENCIES}/part-{bucket.name}.arrow", table)
        return {"file": file, "rows_out": table.num_rows}


@dataclass(frozen=True)
class BM25:
    """What scoring needs beside a shard and queries.

    Attributes:
        proposer: the settings.
        corpus: all documents.
        frequencies: the files of all terms.
        cache: where workers keep copies.
    """

    proposer: Lexical
    corpus: Corpus
    frequencies: Sequence[Record]
    cache: Cache


class ScorePart:
    """A shard and a partition of queries -> the best documents of the shard."""

    def __init__(self, folder: StageFolder, prepared: StageFolder, bm25: BM25) -> None:
        self.folder, self.prepared, self.bm25 = folder, prepared, bm25
        self.tokenize = Tokenize(bm25.proposer.tokenizer)
        self.held, self.held_shard = ExitStack(), ExitStack()
        self.tables = mapped(folder, FREQUENCIES, bm25.frequencies, bm25.cache, self.held)
        self.path: str | None = None

    def __call__(self, unit: Unit) -> Stats:
        """Score one partition."""
        queries = self.prepared.read_table(unit.args["queries"], ["query_key", "text"])
        asked = Asked.of(self.tokenize(queries.column("text")), self.bm25.corpus, self.tables)
        shard = self._open(unit.args["shard"])
        found = shard(to_numpy(queries, "query_key"), asked, self.bm25.proposer.limit)
        file = self.folder.write_table(f"{FOUND_IN_SHARDS}/{unit.args['file']}", found)
        return {"file": file, "rows_out": found.num_rows}

    def _open(self, files: Mapping[str, Record]) -> ScoreShard:
        """Open a shard; it stays open until a unit wants another one."""
        path = PurePath(files["postings"]["path"]).parent.as_posix()
        if self.path != path:
            self.held_shard.close()
            wanted = [files[name] for name in ("postings", "terms", "lengths")]
            postings, terms, lengths = mapped(self.folder, path, wanted, self.bm25.cache, self.held_shard)
            settings = self.bm25.proposer
            self.shard = ScoreShard((postings, terms, lengths), self.bm25.corpus, settings.k1, settings.b)
            self.path = path
        return self.shard


@dataclass(frozen=True)
class MergeFound:
    """What all shards found for a partition of queries -> its proposals."""

    folder: StageFolder
    prepared: StageFolder
    limit: int

    def __call__(self, unit: Unit) -> Stats:
        """Merge one partition."""
        keys = to_numpy(self.prepared.read_table(unit.args["queries"], ["query_key"]), "query_key")
        found = merged(self.folder.read_tables(unit.args["found"]) or [FOUND.empty_table()], keys, self.limit)
        rank = rank_within(to_numpy(found, "query_key"))
        proposed = found.select(["query_key", "doc_key"]).append_column("rank", pa.array(rank, pa.int32()))
        file = self.folder.write_table(f"proposals/part-{unit.name}.parquet", proposed.cast(PROPOSALS))
        return {"file": {**file, "rows": proposed.num_rows}, "rows_in": len(keys), "rows_out": proposed.num_rows}
