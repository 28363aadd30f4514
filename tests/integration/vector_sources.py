"""A small collection with vectors, so that a run takes a fraction of a second and needs no model."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.text.config import Config

DOCUMENTS, QUERIES, DIMENSION = 120, 24, 8


def vector_sources(
    folder: Path, seed: int = 0, documents: int = DOCUMENTS, groups: int = 0, queries: int = QUERIES
) -> dict[str, Any]:
    """Write a corpus, queries and judgements with vectors, and return the `data` section for them.

    With groups, alike documents stand side by side. There are twice as many documents as queries, or more.
    """
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    vectors = generator.standard_normal((documents, DIMENSION)).astype(np.float32)
    if groups:
        centres = generator.standard_normal((groups, DIMENSION)).astype(np.float32)
        vectors = 0.3 * vectors + centres[np.arange(documents) * groups // documents]
    corpus = {
        "doc_id": [f"d{n}" for n in range(documents)],
        "text": [f"document {n // 2 if n % 10 == 1 else n}" for n in range(documents)],
        "vector": list(vectors),
    }
    asked = {
        "query_id": [f"q{n}" for n in range(queries)],
        "text": [f"question {n}" for n in range(queries)],
        "vector": list(generator.standard_normal((queries, DIMENSION)).astype(np.float32)),
    }
    judged = {"query_id": [f"q{n}" for n in range(queries)], "doc_id": [f"d{2 * n}" for n in range(queries)]}
    for name, table in (("corpus", corpus), ("queries", asked), ("judgements", judged)):
        pq.write_table(pa.table(table), folder / f"{name}.parquet")
    columns = {"columns": {"vector": "vector"}}
    return {
        "corpus": {"path": str(folder / "corpus.parquet"), **columns},
        "queries": {"path": str(folder / "queries.parquet"), **columns},
        "judgements": str(folder / "judgements.parquet"),
        "partition_rows": 16,
    }


def vector_config(run: Path | str, data: dict[str, Any], **sections: Any) -> Config:  # noqa: ANN401 - of Config
    """A configuration for the local engine in which every stage has several units."""
    raw: dict[str, Any] = {
        "run": str(run),
        "data": data,
        "index": {"factory": "exact", "shard_rows": 50},
        "search": {"k": 20},
        "select": {"range_max": 20, "num_negatives": 3, "max_score": 0.9, **sections.pop("select", {})},
        "engine": {"name": "local"},
        **sections,
    }
    return Config.model_validate(raw)
