"""Another encoder for one side redoes what depends on that side, and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sentence_transformers import SentenceTransformer

from operators.schemas import vectors_column
from tests.conftest import save_static_model
from tests.integration.conftest import Collection, configuration, dataset, run
from tests.models import add_exports

QUERIES = 40


@pytest.fixture(scope="module")
def other_model(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_static_model(minilm, tmp_path_factory.mktemp("models") / "other", seed=1)


def vectors_of(model: Path, texts: list[str]) -> pa.Array:
    return vectors_column(SentenceTransformer(str(model), device="cpu").encode(texts).astype(np.float32))


def sources(folder: Path, collection: Collection, **given: Path) -> dict[str, Any]:
    """Write the collection as Parquet, with vectors of a model for the sides that are given; return `data`."""
    asked = dict(list(collection.queries.items())[:QUERIES])
    folder.mkdir(exist_ok=True)
    data: dict[str, Any] = {}
    for kind, identifier, texts in (("corpus", "doc_id", collection.documents), ("queries", "query_id", asked)):
        columns: dict[str, Any] = {identifier: list(texts), "text": list(texts.values())}
        if kind in given:
            columns["vector"] = vectors_of(given[kind], columns["text"])
        pq.write_table(pa.table(columns), folder / f"{kind}.parquet")
        data[kind] = {"path": str(folder / f"{kind}.parquet")}
        if kind in given:
            data[kind]["columns"] = {"vector": "vector"}
    judged = [(query, document) for query in asked for document in collection.judgements[query]]
    columns = {"query_id": [query for query, _ in judged], "doc_id": [document for _, document in judged]}
    pq.write_table(pa.table(columns), folder / "judgements.parquet")
    return {**data, "judgements": str(folder / "judgements.parquet")}


def files_of(run_directory: Path, *stages: str) -> dict[Path, int]:
    """The data files of stages, with the time at which they were written."""
    found = [path for stage in stages for path in (run_directory / stage).glob("*/[vst]*/**/*") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in found}


class Mining:
    """Runs into one run directory, with a look at what each wrote again."""

    def __init__(self, place: Path, data: dict[str, Any], index: str) -> None:
        self.place, self.data, self.index = place, data, {"factory": index, "shard_rows": 128}
        self.before: dict[Path, int] = {}

    def mine(self, model: Path, **encoder: Any) -> dict[str, Any]:  # noqa: ANN401 - of the configuration
        """Mine; return the facts of the stages. No file was written again, and the result is that of a new run."""
        stages = self._run("run", model, encoder)
        written = files_of(self.place / "run", "encode", "index")
        assert not [path for path, at in self.before.items() if written[path] != at]
        self.before = written
        self._run(f"anew-{len(list(self.place.iterdir()))}", model, encoder)
        anew = max(self.place.glob("anew-*"), key=lambda path: path.stat().st_mtime_ns)
        assert dataset(self.place / "run").equals(dataset(anew))
        return stages

    def _run(self, name: str, model: Path, encoder: dict[str, Any]) -> dict[str, Any]:
        config = configuration(
            self.place / name, None, model, data=self.data, encoder=encoder, index=self.index, select={"range_max": 20}
        )
        return dict(run(config)["stages"])


def found(stages: dict[str, Any]) -> tuple[int, int, int]:
    """How many rows were there already: documents and queries of encode, and documents of the index."""
    encoded = stages["encode"]["rows"]
    return encoded["corpus"]["rows_reused"], encoded["queries"]["rows_reused"], stages["index"]["rows_reused"]


@pytest.mark.parametrize("index", ["exact", "IVF8,PQ32x4fs"])
def test_another_model_of_the_queries_leaves_given_documents_and_the_index(
    collection: Collection, static_model: Path, other_model: Path, index: str, tmp_path: Path
) -> None:
    mining = Mining(tmp_path, sources(tmp_path / "sources", collection, corpus=static_model), index)
    first = mining.mine(static_model)
    assert found(first) == (0, 0, 0)
    second = mining.mine(other_model)
    assert found(second) == (500, 0, 500)
    assert not second["search"]["reused"]
    third = mining.mine(static_model)
    assert third["encode"]["reused"]
    assert third["search"]["reused"]
    assert len(list((tmp_path / "run" / "index").glob("*/trained/*"))) == (index != "exact")


def test_another_prompt_of_the_queries_leaves_encoded_documents_and_the_index(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    mining = Mining(tmp_path, sources(tmp_path / "sources", collection), "exact")
    mining.mine(static_model)
    second = mining.mine(static_model, query_prompt="what documents ")
    assert found(second) == (500, 0, 500)
    assert not second["search"]["reused"]
    assert found(mining.mine(static_model, query_prompt="what documents ", document_prompt="it says ")) == (
        0,
        QUERIES,
        0,
    )


def test_another_model_of_the_documents_leaves_given_queries(
    collection: Collection, static_model: Path, other_model: Path, tmp_path: Path
) -> None:
    mining = Mining(tmp_path, sources(tmp_path / "sources", collection, queries=static_model), "exact")
    mining.mine(static_model)
    second = mining.mine(other_model)
    assert found(second) == (0, QUERIES, 0)
    assert not second["search"]["reused"]


def test_what_given_vectors_depend_on_is_seen(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    mining = Mining(tmp_path, sources(tmp_path / "sources", collection, corpus=static_model), "exact")
    mining.mine(static_model)
    for changed in ({"similarity": "dot"}, {"vector_dtype": "float32"}):
        assert found(mining.mine(static_model, **changed)) == (0, 0, 0)
    assert found(mining.mine(static_model, dtype="float16")) == (500, 0, 500)


def test_vectors_that_came_are_no_encoded_ones(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    mining = Mining(tmp_path, sources(tmp_path / "sources", collection), "exact")
    mining.mine(static_model)
    mining.data = sources(tmp_path / "sources", collection, corpus=static_model)
    assert found(mining.mine(static_model)) == (0, QUERIES, 0)


def test_exports_beside_the_weights_change_nothing(collection: Collection, minilm: Path, tmp_path: Path) -> None:
    model = save_static_model(minilm, tmp_path / "model", seed=2)
    config = configuration(tmp_path / "run", None, model, data=sources(tmp_path / "sources", collection))
    run(config)
    assert len(add_exports(model)) > 5
    assert all(stage["reused"] for stage in run(config)["stages"].values())
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    assert found(run(config)["stages"]) == (0, 0, 0)
