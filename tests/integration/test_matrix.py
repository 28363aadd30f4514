"""The same negatives wherever a run works, wherever its files lie, and whichever index it searches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.local.object_store import ObjectStore
from tests.integration.conftest import Collection, configuration, dataset, run

# Every list is probed and eight times as many candidates are scored exactly: codes lose nothing then.
INDEXES: dict[str, dict[str, Any]] = {
    "exact": {"index": {"factory": "exact", "shard_rows": 200}},
    "ivf_pq": {"index": {"factory": "IVF4,PQ8x4", "shard_rows": 200}, "search": {"nprobe": 4, "refine_factor": 8}},
}


@dataclass(frozen=True)
class Place:
    """Where sources and run directories lie, and what opens them."""

    root: str
    sections: dict[str, Any]


@pytest.fixture(scope="module", params=["file", "s3"])
def place(request: pytest.FixtureRequest, collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Place:
    if request.param == "file":
        return Place(str(tmp_path_factory.mktemp("place")), {"data": {"beir": str(collection.folder)}})
    store: ObjectStore = request.getfixturevalue("object_store")
    root = store.make_bucket("matrix")
    store.file_system().put(f"{collection.folder}/", f"{root}/beir/", recursive=True)
    options = store.storage_options()
    data = {"beir": f"{root}/beir", "storage_options": options}
    return Place(root, {"data": data, "storage_options": options})


@pytest.fixture(scope="module")
def reference(collection: Collection, static_model: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    folder = tmp_path_factory.mktemp("reference")
    run(configuration(folder, collection, static_model))
    return dataset(folder)


@pytest.mark.parametrize("index", INDEXES)
def test_the_negatives_are_the_same(
    place: Place, index: str, static_model: Path, reference: pa.Table, engine: str
) -> None:
    # Both indexes of a place and an engine share the vectors: the run directory is one.
    where = f"{place.root}/{engine}"
    # With a number of workers all of the work is done by them; else this process would do the little that there is.
    engines = {"name": engine, "workers": 2 if engine == "ray" else "auto"}
    result = run(configuration(where, None, static_model, **place.sections, **INDEXES[index], engine=engines))
    assert result["engine"] == engine
    fs, root = fsspec.core.url_to_fs(result["outputs"]["triplet"], **place.sections.get("storage_options", {}))
    mined = pa.concat_tables([pq.read_table(fs.open(file)) for file in sorted(fs.glob(f"{root}/*.parquet"))])
    assert mined.equals(reference)
