"""The real model on the real collection: its published figure, and the same negatives from every engine."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.text.config import Config
from pipelines.text.evaluation import evaluate
from tests.integration.conftest import ENGINES, dataset, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

NAMES = ["query_id", "positive_id", "negative_id"]


def scifact_configuration(folder: Path, **sections: Any) -> Config:  # noqa: ANN401
    return Config.model_validate({"run": str(folder), "select": {"relative_margin": 0.05}, **sections})


def test_all_minilm_l6_v2_on_scifact_reaches_its_published_ndcg(scifact: Path, minilm: Path, tmp_path: Path) -> None:
    data, encoder = {"beir": str(scifact)}, {"model": str(minilm)}
    config = scifact_configuration(tmp_path, data=data, encoder=encoder, engine={"name": "local"})
    evaluated = evaluate(config, "test")
    assert evaluated["queries"] == 300
    assert evaluated["measures"]["ndcg@10"] == pytest.approx(0.645, abs=0.005)  # all-MiniLM-L6-v2 in the MTEB table


@pytest.fixture(scope="module")
def encoded(
    scifact: Path, minilm: Path, ray_session: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A run with encoding on each engine."""
    folders = {engine: tmp_path_factory.mktemp(engine) for engine in ENGINES}
    for engine, folder in folders.items():
        data, encoder = {"beir": str(scifact)}, {"model": str(minilm)}
        run(scifact_configuration(folder, data=data, encoder=encoder, engine={"name": engine}))
    return folders


@pytest.mark.parametrize("engine", ["ray", "beam"])
def test_every_engine_encodes_and_mines_the_same_negatives(encoded: dict[str, Path], engine: str) -> None:
    expected, found = (
        {tuple(row.values()) for row in dataset(encoded[one]).select(NAMES).to_pylist()} for one in ("local", engine)
    )
    assert len(expected & found) / len(expected) >= 0.999


@pytest.fixture(scope="module")
def vectors(encoded: dict[str, Path], scifact: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The vectors of the local run, as columns of the sources."""
    folder, local = tmp_path_factory.mktemp("vectors"), encoded["local"]
    (manifest,) = local.glob("encode/*/_manifest*.json")
    parts = json.loads(manifest.read_text())["parts"]
    data: dict[str, Any] = {}
    for kind, encoded_as, key, name in (
        ("corpus", "documents", "doc_key", "doc_id"),
        ("queries", "queries", "query_key", "query_id"),
    ):
        by_key = pa.concat_tables(
            [pa.ipc.open_file(manifest.parent / part["path"]).read_all() for part in parts[encoded_as]]
        ).select(["key", "vector"])
        texts = pq.read_table(sorted(local.glob(f"prepare/{kind}/*/{encoded_as}/**/*.parquet")))
        row = {one: number for number, one in enumerate(by_key.column("key").to_pylist())}
        vector = by_key.column("vector").take([row[one] for one in texts.column(key).to_pylist()])
        pq.write_table(texts.select([name, "text"]).append_column("vector", vector), folder / f"{kind}.parquet")
        data[kind] = {"path": str(folder / f"{kind}.parquet"), "columns": {"vector": "vector"}}
    columns = {"query_id": "query-id", "doc_id": "corpus-id"}
    data["judgements"] = {"path": str(scifact / "qrels" / "train.tsv"), "columns": columns}
    return {**data, "on_dangling": "drop"}  # judgements of documents that stand for another under their text


def test_with_shared_vectors_every_engine_gives_the_same_rows_and_scores(
    vectors: dict[str, Any], encoded: dict[str, Path], tmp_path: Path
) -> None:
    rows = {}
    for engine in ENGINES:
        run(scifact_configuration(tmp_path / engine, data=vectors, engine={"name": engine}))
        rows[engine] = dataset(tmp_path / engine)
    assert rows["local"].num_rows > 3000
    assert rows["ray"].equals(rows["local"])
    assert rows["beam"].equals(rows["local"])
    columns = [*NAMES, "negative_score"]
    assert rows["local"].select(columns).equals(dataset(encoded["local"]).select(columns))
