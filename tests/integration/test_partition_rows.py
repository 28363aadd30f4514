"""Partitions where `data.partition_rows` is left to `auto`: what the stages of prepare write."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.conftest import run
from tests.integration.vector_sources import vector_config

DOCUMENTS, QUERIES = 20_000, 2_500
MIB = 1 << 20


def sources(folder: Path, values: int) -> dict[str, Any]:
    """Texts of different lengths in no order, with vectors so long; each query judges one document."""
    generator = np.random.default_rng(3)
    for name, of, rows in (("corpus", "doc_id", DOCUMENTS), ("queries", "query_id", QUERIES)):
        texts = [f"{name} {n} " + "x" * int(size) for n, size in enumerate(generator.integers(0, 100, rows))]
        vectors = generator.standard_normal((rows, values)).astype(np.float32)
        ids = [f"{of[0]}{n}" for n in range(rows)]
        pq.write_table(pa.table({of: ids, "text": texts, "vector": list(vectors)}), folder / f"{name}.parquet")
    judged = {"query_id": [f"q{n}" for n in range(QUERIES)], "doc_id": [f"d{n}" for n in range(QUERIES)]}
    pq.write_table(pa.table(judged), folder / "judgements.parquet")
    vector = {"columns": {"vector": "vector"}}
    return {
        "corpus": {"path": str(folder / "corpus.parquet"), **vector},
        "queries": {"path": str(folder / "queries.parquet"), **vector},
        "judgements": str(folder / "judgements.parquet"),
    }


def rows_of(stage: Path, kind: str) -> list[int]:
    (manifest,) = stage.glob("*/_manifest.json")
    return [part["rows"] for part in json.loads(manifest.read_text())["parts"][kind]]


@pytest.mark.parametrize("values", [8, 512])
def test_auto_goes_by_the_size_of_rows(tmp_path: Path, values: int) -> None:
    run(vector_config(tmp_path / "run", sources(tmp_path, values)), until="prepare")
    documents = rows_of(tmp_path / "run" / "prepare" / "corpus", "documents")
    assert sum(documents) == DOCUMENTS
    if values == 8:  # under 300 bytes a row
        assert documents == [16_384, DOCUMENTS - 16_384]
    else:  # vectors of 2 KiB, and some 100 bytes beside each
        assert all(16 * MIB / 2_400 < rows < 16 * MIB / 2_048 for rows in documents[:-1])
        assert len(documents) == 3
    assert rows_of(tmp_path / "run" / "prepare" / "queries", "queries") == [1_024, 1_024, QUERIES - 2 * 1_024]
