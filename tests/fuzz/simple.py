"""A collection that is the same each time, with its vectors given: for cases of other things than sources."""

from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.collection import Collection, Document, Judgement, Query
from tests.fuzz.generate import DIMENSION, Content, content, kept
from tests.fuzz.interpret import AnyOf

YEARS = (None, 1999, 2001)


def simple_config(folder: Path, documents: int = 30, queries: int = 8, *, relative: bool = False) -> dict[str, Any]:
    """Write the collection as Parquet files, and return a configuration for it, maybe for use in that folder alone."""
    random = Random("simple")
    held = _content(documents, queries)
    sources = folder / "sources"
    sources.mkdir(parents=True)
    vectors = pa.list_(pa.float32(), DIMENSION)
    for kind, name, items in (("corpus", "doc_id", held.documents), ("queries", "query_id", held.queries)):
        columns = {
            name: [item.name for item in items],
            "text": [item.text for item in items],
            "year": [random.choice(YEARS) for _ in items],
            "vector": pa.array([item.raw for item in items], vectors),
        }
        pq.write_table(pa.table(columns), sources / f"{kind}.parquet")
    judged = [(one.query_id, one.doc_id, int(one.score)) for one in held.judgements]
    columns = dict(zip(("query_id", "doc_id", "score"), map(list, zip(*judged, strict=True)), strict=True))
    pq.write_table(pa.table(columns), sources / "judgements.parquet")
    there = Path("sources") if relative else sources
    return {
        "run": "run" if relative else str(folder / "run"),
        "data": {
            "corpus": {"path": str(there / "corpus.parquet"), "columns": {"vector": "vector"}},
            "queries": {"path": str(there / "queries.parquet"), "columns": {"vector": "vector"}},
            "judgements": str(there / "judgements.parquet"),
            "on_dangling": "drop",
            "partition_rows": 10,
        },
        "encoder": {"similarity": "dot"},
        "search": {"k": 10},
        "select": {"num_negatives": 2, "range_max": 8, "relative_margin": 0.125},
        "engine": {"name": "local"},
    }


def simple_collection(documents: int = 30, queries: int = 8) -> Collection:
    """Return what is in the files; of the metadata, what may be."""
    years = AnyOf([None if year is None else {"year": year} for year in YEARS])
    held = _content(documents, queries)
    return Collection(
        [Document(item.name, item.text, years, kept(item.raw, "dot")) for item in held.documents],
        [Query(item.name, item.text, years, kept(item.raw, "dot")) for item in held.queries],
        [Judgement(one.query_id, one.doc_id, one.score) for one in held.judgements],
    )


def _content(documents: int, queries: int) -> Content:
    random = Random("collection")
    while True:
        held = content(random, "dot")
        if len(held.documents) >= documents and len(held.queries) >= queries:
            return held
