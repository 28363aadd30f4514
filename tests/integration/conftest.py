"""What integration tests share: small collections of real text, and the engines."""

import json
import sysconfig
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from infra.local.object_store import ObjectStore, temporary_object_store
from pipelines.quickstart import docstring_pairs
from pipelines.run import mine
from pipelines.runtime.config import RunConfig
from pipelines.text.config import Config
from tests.conftest import save_static_model
from tests.models import save_model

ENGINES = ["local", "ray", "beam"]


@dataclass(frozen=True)
class Collection:
    """A BEIR folder with what was written into it."""

    folder: Path
    documents: dict[str, str]
    queries: dict[str, str]
    judgements: dict[str, dict[str, int]]


def write_collection(
    folder: Path, documents: dict[str, str], queries: dict[str, str], judgements: dict[str, dict[str, int]]
) -> Collection:
    """Write a BEIR folder; every document carries a number as metadata."""
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": i, "title": "", "text": text, "number": n} for n, (i, text) in enumerate(documents.items())]
    asked = [{"_id": i, "text": text, "metadata": {"source": i}} for i, text in queries.items()]
    for name, rows in (("corpus", corpus), ("queries", asked)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lines = [f"{q}\t{d}\t{score}\n" for q, judged in judgements.items() for d, score in judged.items()]
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    return Collection(folder, documents, queries, judgements)


@pytest.fixture(scope="session")
def docstrings() -> list[dict[str, str]]:
    """Real pairs of a summary line and the rest of its documentation, without repetitions."""
    pairs = {pair["positive"]: pair for pair in docstring_pairs(Path(sysconfig.get_paths()["stdlib"]))}
    return list(islice({pair["query"]: pair for pair in pairs.values()}.values(), 500))


@pytest.fixture(scope="session")
def collection(docstrings: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """500 documents and 200 queries with one to three positives."""
    documents = {f"d{n}": pair["positive"] for n, pair in enumerate(docstrings)}
    queries = {f"q{n}": pair["query"] for n, pair in enumerate(docstrings[:200])}
    judgements = {f"q{n}": {f"d{n + more}": 1 for more in range(1 + n % 3)} for n in range(len(queries))}
    judgements["q7"]["d300"] = 0
    return write_collection(tmp_path_factory.mktemp("collection") / "beir", documents, queries, judgements)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Every engine in turn: one suite of tests for all."""
    if request.param == "ray":
        request.getfixturevalue("ray_session")
    return str(request.param)


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.slow)])
def engine_in_time(request: pytest.FixtureRequest) -> str:
    """Every engine in turn, where a run on Ray takes a quarter of a minute and shows little more: that one is slow."""
    if request.param == "ray":
        request.getfixturevalue("ray_session")
    return str(request.param)


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """A real S3 server for all tests of the session that want one."""
    with temporary_object_store() as store:
        yield store


@pytest.fixture
def bucket(object_store: ObjectStore) -> str:
    """The URI of an empty bucket."""
    return object_store.make_bucket(f"test-{uuid.uuid4().hex[:12]}")


def configuration(run: Path | str, collection: Collection | None, model: Path | None, **sections: Any) -> Config:  # noqa: ANN401
    """Make a configuration; small partitions, so that there are several of everything."""
    data: dict[str, Any] = {"beir": str(collection.folder)} if collection is not None else {}
    raw: dict[str, Any] = {
        "run": str(run),
        "data": {**data, "partition_rows": 64, **sections.pop("data", {})},
        "encoder": {**({"model": str(model)} if model else {}), **sections.pop("encoder", {})},
        "search": {"k": 50, **sections.pop("search", {})},
        "select": {"range_max": 50, **sections.pop("select", {})},
        "engine": {"name": "local", **sections.pop("engine", {})},
        **sections,
    }
    return Config.model_validate(raw)


def run(config: RunConfig, first: str | None = None, until: str | None = None) -> dict[str, Any]:
    """Mine, and return what the command prints."""
    return mine(config, first=first, until=until).to_dict()


def write_configuration(folder: Path, config: Config) -> Path:
    """Write a configuration for the command line, `config.yaml`."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def with_vectors(
    collection: Collection, static_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The sources of the collection with vectors as a column: what follows encoding, without waiting for encoders."""
    from sentence_transformers import SentenceTransformer  # takes seconds, which most tests do without

    folder = tmp_path_factory.mktemp("vectors")
    encoder = SentenceTransformer(str(static_model), device="cpu")
    data: dict[str, Any] = {"judgements": str(folder / "judgements.parquet")}
    for kind, name, texts in (("corpus", "doc_id", collection.documents), ("queries", "query_id", collection.queries)):
        columns = {
            name: list(texts),
            "text": list(texts.values()),
            "vector": list(encoder.encode(list(texts.values()))),
        }
        pq.write_table(pa.table(columns), folder / f"{kind}.parquet")
        data[kind] = {"path": str(folder / f"{kind}.parquet"), "columns": {"vector": "vector"}}
    judged = [(q, d, score) for q, judged in collection.judgements.items() for d, score in judged.items()]
    columns = dict(zip(("query_id", "doc_id", "score"), map(list, zip(*judged, strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "judgements.parquet")
    return data


@pytest.fixture(scope="session")
def second_model(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another length of vectors than the model of the run, and prompts of its own."""
    return save_model("static with prompts", minilm, tmp_path_factory.mktemp("models") / "second")


@pytest.fixture(scope="session")
def third_model(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_static_model(minilm, tmp_path_factory.mktemp("models") / "third", seed=1)


@pytest.fixture
def config_file(collection: Collection, static_model: Path, tmp_path: Path) -> Path:
    """A small configuration for the local engine; its run directory is `run` beside it."""
    return write_configuration(tmp_path, configuration(tmp_path / "run", collection, static_model))


def dataset(run: Path, layout: str = "triplet") -> pa.Table:
    """Read the training data of a run."""
    files = sorted((run / "dataset" / layout).glob("*.parquet"))
    assert files, f"no training data in {run}"
    return pq.read_table(files)


def stored_dataset(fs: Any, run: str, place: Path) -> pa.Table:  # noqa: ANN401 - fsspec is untyped
    """Copy the training data of a run in a store, as its record lists it, and read it."""
    folder = place / "dataset" / "triplet"
    folder.mkdir(parents=True)
    for file in json.loads(fs.cat_file(f"{run}/dataset.json"))["files"]:
        fs.get_file(f"{run}/{file['path']}", str(folder / Path(file["path"]).name))
    return dataset(place)
