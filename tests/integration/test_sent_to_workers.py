"""What a worker is sent beside its units does not grow with the corpus: it is sent again with each batch of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ray import cloudpickle

from pipelines.runtime import shuffle
from pipelines.runtime.engines import Pool, Unit, Work
from pipelines.runtime.engines.local import LocalEngine
from tests.integration.conftest import run
from tests.integration.vector_sources import vector_config, vector_sources

FEW, MANY = 1_024, 2_048  # documents, in four times fewer partitions: a shuffle has 256 groups at most
SHARDS = 4
DIGITS = 1_000  # bytes: the ends of 256 ranges, counts and names are longer numbers; 256 partitions are 33 KB
QUERIES = 128  # in 32 partitions: 4 KB
SOURCE_FILE = 300  # bytes of a source file beside its path, which whoever reads is sent of each
TO_READERS = {"prepare/corpus/read"}


@dataclass
class Sent:
    """What the workers of each step of a run were sent, in bytes, and how many files of routed rows there were then."""

    bytes: dict[str, int] = field(default_factory=dict)
    routed: dict[str, int] = field(default_factory=dict)


def sent(place: Path, data: dict[str, Any], documents: int, factory: str = "exact") -> Sent:
    """Mine in a folder and look at all that an engine is given."""
    seen, does, folder = Sent(), LocalEngine.map, place / "run"

    def sized(engine: LocalEngine, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        seen.bytes[step] = len(cloudpickle.dumps(make))
        seen.routed[step] = len(list(folder.glob(f"{step.rpartition('/')[0]}/*/routed/*/*.arrow")))
        does(engine, step, make, units, pool)

    index = {"factory": factory, "shard_rows": documents // SHARDS}
    search = {"k": 20, "max_k": 80}
    select = {"num_negatives": 20}  # some are short, and searched deeper
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalEngine, "map", sized)
        run(vector_config(folder, data, index=index, search=search, select=select))
    assert {"search/all/search-20", "search/short/search-80"} <= seen.bytes.keys()
    return seen


def more(few: Sent, many: Sent) -> dict[str, int]:
    """Return by how many bytes more the workers of each step were sent; steps with a few digits more are left out."""
    assert few.bytes.keys() == many.bytes.keys()
    grown = {step: size - few.bytes[step] for step, size in many.bytes.items()}
    return {step: size for step, size in grown.items() if size > DIGITS}


@pytest.mark.parametrize("factory", ["exact", "IVF4,SQ8"])
def test_more_partitions_of_documents_send_a_worker_no_more(tmp_path: Path, factory: str) -> None:
    seen = []
    for documents in (FEW, MANY):
        data = {**vector_sources(tmp_path / f"sources-{documents}", documents=documents), "partition_rows": 4}
        seen.append(sent(tmp_path / f"mined-{documents}", data, documents, factory))
    assert more(*seen) == {}


def test_more_partitions_of_queries_send_a_worker_no_more(tmp_path: Path) -> None:
    seen = []
    for queries in (QUERIES // 8, QUERIES):
        data = vector_sources(tmp_path / f"sources-{queries}", documents=2 * QUERIES, queries=queries)
        seen.append(sent(tmp_path / f"mined-{queries}", {**data, "partition_rows": 4}, 2 * QUERIES))
    assert more(*seen) == {}


def test_more_source_files_send_more_to_their_readers_alone(tmp_path: Path) -> None:
    seen, files = [], (4, 64)
    for count in files:
        data = vector_sources(tmp_path / f"{count}", documents=FEW)
        corpus, folder = pq.read_table(data["corpus"]["path"]), tmp_path / f"{count}" / "corpus"
        folder.mkdir()
        for number in range(count):
            rows = FEW // count
            pq.write_table(corpus.slice(number * rows, rows), folder / f"{number:03d}.parquet")
        data["corpus"]["path"] = str(folder / "*.parquet")
        seen.append(sent(tmp_path / f"mined-{count}", data, FEW))
    of_file = SOURCE_FILE + len(str(tmp_path / "64" / "corpus" / "000.parquet"))
    grown = more(*seen)
    assert grown.keys() <= TO_READERS
    assert all(size <= (files[1] - files[0]) * of_file for size in grown.values())


def test_more_files_of_routed_rows_send_a_worker_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one for each 32 MiB of rows, whatever the number of units (docs/adr/0008)."""
    seen = []
    for size in (32 << 20, 1_000):
        monkeypatch.setattr(shuffle, "ROUTED_BYTES", size)
        monkeypatch.setattr("pipelines.text.stages.prepare_corpus.DOCUMENTS_PER_BUCKET", FEW // shuffle.GROUPS)
        monkeypatch.setattr("pipelines.text.stages.read_documents.KEYS_PER_FILE", 4)  # so that many units route
        data = {**vector_sources(tmp_path / f"sources-{size}", documents=FEW), "partition_rows": 4}
        seen.append(sent(tmp_path / f"mined-{size}", data, FEW))
    few, many = seen
    assert max(count - few.routed[step] for step, count in many.routed.items()) > 30
    assert more(few, many) == {}
