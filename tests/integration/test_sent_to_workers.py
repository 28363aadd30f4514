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
QUERIES = 128  # in 32 partitions: 4 KB

Sizes = dict[str, int]


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> Sizes:
    """How many bytes the work of each step is, beside its units."""
    found = Sizes()
    does = LocalEngine.map

    def sized(engine: LocalEngine, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        found[step] = len(cloudpickle.dumps(make))
        does(engine, step, make, units, pool)

    monkeypatch.setattr(LocalEngine, "map", sized)
    return found


def sent(sizes: Sizes, place: Path, factory: str, documents: int, queries: int = 24) -> Sizes:
    sizes.clear()
    data = vector_sources(place / f"sources-{documents}-{queries}", documents=documents, queries=queries)
    index = {"factory": factory, "shard_rows": documents // SHARDS}
    search = {"k": 20, "max_k": 80}
    select = {"num_negatives": 20}  # some are short, and searched deeper
    folder = place / f"run-{documents}-{queries}"
    run("mine", vector_config(folder, {**data, "partition_rows": 4}, index=index, search=search, select=select))
    return dict(sizes)


@pytest.mark.parametrize("factory", ["exact", "IVF4,SQ8"])
def test_more_partitions_of_documents_send_a_worker_no_more(tmp_path: Path, sizes: Sizes, factory: str) -> None:
    few, many = (sent(sizes, tmp_path, factory, documents) for documents in (FEW, MANY))
    assert few.keys() == many.keys()
    assert {"search/all/search-20", "search/short/search-80"} <= few.keys()
    more = {step: size - few[step] for step, size in many.items()}
    assert {step: size for step, size in more.items() if size > DIGITS} == {}


def test_more_partitions_of_queries_send_a_worker_no_more(tmp_path: Path, sizes: Sizes) -> None:
    few, many = (sent(sizes, tmp_path, "exact", 2 * QUERIES, queries) for queries in (QUERIES // 8, QUERIES))
    assert few.keys() == many.keys()
    assert {"search/short/short-20", "search/short/search-80"} <= few.keys()
    more = {step: size - few[step] for step, size in many.items()}
    assert {step: size for step, size in more.items() if size > DIGITS} == {}
