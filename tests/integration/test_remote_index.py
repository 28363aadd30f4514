"""What preparing, training and building read from an object store: keys, about the sample, and every vector once."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.local.object_store import ObjectStore
from infra.local.reads import counted_reads
from operators.schemas import vectors_column
from tests.integration.conftest import dataset, run, stored_dataset
from tests.integration.vector_sources import vector_config, vector_sources

ROWS, DIMENSION, SAMPLE = 2000, 32, 200


def test_training_reads_its_sample_and_building_each_vector_once(
    object_store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    data = vector_sources(tmp_path / "sources")
    random = np.random.default_rng(0)
    for kind, name in (("corpus", "doc_id"), ("queries", "query_id")):
        texts = pq.read_table(tmp_path / "sources" / f"{kind}.parquet").select([name, "text"])
        if kind == "corpus":
            names = {name: [f"d{n}" for n in range(ROWS)], "text": [f"document {n}" for n in range(ROWS)]}
            texts = pa.table(names)
        vectors = vectors_column(random.standard_normal((texts.num_rows, DIMENSION)).astype(np.float32))
        pq.write_table(texts.append_column("vector", vectors), tmp_path / "sources" / f"{kind}.parquet")
    options = {
        "index": {"factory": "IVF8,PQ8x4", "shard_rows": 900, "train_rows": SAMPLE},
        "data": {**data, "partition_rows": 128},
        "search": {"k": 20, "nprobe": 8, "refine_factor": 4},
    }
    stored = vector_config(
        f"{bucket}/run",
        **options,
        storage_options=object_store.storage_options(),
        engine={"name": "local", "cache": str(tmp_path / "cache")},
    )
    with counted_reads() as reads:
        run(stored, until="prepare")
    assert [read.key for read in reads if "/keys/" in read.key]
    assert not [read.key for read in reads if "/documents/" in read.key]  # what repeats is found by the keys
    run(stored, until="encode")
    with counted_reads() as reads:
        run(stored, until="index")
    of_vectors = [read for read in reads if "/vectors/" in read.key]
    sample = sum(read.size for read in of_vectors if read.ranged)
    assert SAMPLE * DIMENSION * 2 <= sample <= 2 * SAMPLE * DIMENSION * 2
    whole = Counter(read.key for read in of_vectors if not read.ranged)
    assert len(whole) == -(-ROWS // 128)
    assert set(whole.values()) == {1}
    run(stored)
    run(vector_config(tmp_path / "here", **options))
    assert stored_dataset(object_store.file_system(), f"{bucket}/run".removeprefix("s3://"), tmp_path / "copy").equals(
        dataset(tmp_path / "here")
    )
