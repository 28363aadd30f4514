"""What a worker is sent beside its units does not grow with the corpus: it is sent again with each batch of them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ray import cloudpickle

from pipelines.engines import Pool, Unit, Work
from pipelines.engines.local import LocalEngine
from pipelines.run import run
from tests.integration.vector_sources import vector_config, vector_sources

FEW, MANY = 1_024, 2_048  # documents, in four times fewer partitions: a shuffle has 256 groups at most
SHARDS = 4
DIGITS = 1_000  # bytes: the ends of 256 ranges, counts and names are longer numbers; 256 partitions are 33 KB


@pytest.mark.parametrize("factory", ["exact", "IVF4,SQ8"])
def test_more_partitions_of_documents_send_a_worker_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factory: str
) -> None:
    sizes: dict[int, dict[str, int]] = {}
    does = LocalEngine.map

    def sized(engine: LocalEngine, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        sizes[documents][step] = len(cloudpickle.dumps(make))
        does(engine, step, make, units, pool)

    monkeypatch.setattr(LocalEngine, "map", sized)
    for documents in (FEW, MANY):
        sizes[documents] = {}
        data = {**vector_sources(tmp_path / f"sources-{documents}", documents=documents), "partition_rows": 4}
        index = {"factory": factory, "shard_rows": documents // SHARDS}
        search = {"k": 20, "max_k": 80}
        select = {"num_negatives": 20}  # some are short, and searched deeper
        run("mine", vector_config(tmp_path / f"run-{documents}", data, index=index, search=search, select=select))
    assert sizes[FEW].keys() == sizes[MANY].keys()
    assert {"search/all/search-20", "search/short/search-80"} <= sizes[FEW].keys()
    more = {step: size - sizes[FEW][step] for step, size in sizes[MANY].items()}
    assert {step: size for step, size in more.items() if size > DIGITS} == {}
