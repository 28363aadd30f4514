"""configs/recipe.yaml on SciFact with documents of another domain: shares, a cap, and the same rows on every engine."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.results import Mined
from pipelines.run import mine
from pipelines.text.config import Config
from tests.integration.conftest import ENGINES, dataset

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
OTHERS = 3_000
CAP = 3  # no document of so small a set serves 50 rows


@pytest.fixture(scope="module")
def data(scifact: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """SciFact as the recipe wants it: contradicted claims are judged negatives, Vaswani's documents another domain."""
    folder = tmp_path_factory.mktemp("recipe")
    corpus = [{**json.loads(line), "domain": "science"} for line in lines_of(scifact / "corpus.jsonl")]
    others = [json.loads(line) for line in lines_of(scifact.with_name("vaswani") / "corpus.jsonl")[:OTHERS]]
    corpus += [{**one, "_id": f"v{one['_id']}", "domain": "electronics"} for one in others]
    asked = [json.loads(line) for line in lines_of(scifact / "queries.jsonl")]
    contradicted = {
        (one["_id"], doc)
        for one in asked
        for doc, evidence in one["metadata"].items()
        if all(part["label"] == "CONTRADICT" for part in evidence)
    }
    judged = [line.split("\t") for line in lines_of(scifact / "qrels" / "train.tsv")[1:]]
    rows: dict[str, list[dict[str, Any]]] = {
        "corpus": [
            {"doc_id": one["_id"], "text": f"{one['title']} {one['text']}", "domain": one["domain"]} for one in corpus
        ],
        "queries": [{"query_id": one["_id"], "text": one["text"], "domain": "science"} for one in asked],
        "judgements": [
            {"query_id": query, "doc_id": doc, "score": int((query, doc) not in contradicted)}
            for query, doc, _ in judged
        ],
    }
    for name, some in rows.items():
        text = "".join(json.dumps(row) + "\n" for row in some)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return {name: str(folder / f"{name}.jsonl") for name in rows}


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def mined_with(data: dict[str, str], model: Path, run: Path, engine: str, **select: Any) -> Mined:  # noqa: ANN401
    recipe = yaml.safe_load((ROOT / "configs" / "recipe.yaml").read_text(encoding="utf-8"))
    sections = {"run": str(run), "data": data, "encoder": {"model": str(model)}, "engine": {"name": engine}}
    select = {**recipe["select"], **select}
    return mine(Config.model_validate({**recipe, **sections, "select": select}), progress=False)


def test_the_recipe_gives_its_shares_under_its_cap_on_every_engine(
    data: dict[str, str], static_model: Path, ray_session: None, tmp_path: Path
) -> None:
    runs = {
        engine: mined_with(data, static_model, tmp_path / engine, engine, max_rows_per_document=CAP)
        for engine in ENGINES
    }
    tables = {engine: dataset(tmp_path / engine, "labeled-list") for engine in ENGINES}
    assert tables["ray"].equals(tables["local"])
    assert tables["beam"].equals(tables["local"])

    mined = runs["local"]
    rows = mined.output("select", "negatives").to_pylist()
    pairs = mined.report["pairs"]
    assert pairs["pairs"] > 500
    by_draw = Counter(row["draw"] for row in rows)
    wanted = {"top (1)": 1, "top (2)": 3, "top (3)": 2, "random (4)": 1, "random (5)": 1, "random (6)": 8}
    assert by_draw.keys() == wanted.keys()
    assert all(by_draw[draw] <= count * pairs["pairs"] for draw, count in wanted.items())
    assert by_draw["random (4)"] > 0.9 * pairs["pairs"]
    # Short are rows whose positive scores so low that the margin leaves next to nothing of any source.
    select = yaml.safe_load((ROOT / "configs" / "recipe.yaml").read_text(encoding="utf-8"))["select"]
    unfilled = mined_with(data, static_model, tmp_path / "local", "local", draws=select["draws"][:-1])
    assert pairs["short_rows"] < 0.1 * pairs["pairs"] < unfilled.report["pairs"]["short_rows"]
    sources = {"top (1)": "explicit", "top (2)": "search", "top (3)": "lexical", "random (4)": "cross_domain"}
    assert all(source in row["sources"] for row in rows for draw, source in sources.items() if row["draw"] == draw)
    assert max(Counter(row["doc_key"] for row in rows).values()) == CAP

    labels = tables["local"].to_pylist()
    other = sum(doc.startswith("v") for row in labels for doc in row["document_ids"])
    assert other >= by_draw["random (4)"]
    free = mined_with(data, static_model, tmp_path / "local", "local", max_rows_per_document=None)
    uses = Counter(row["doc_key"] for row in free.output("select", "negatives").to_pylist())
    assert max(uses.values()) > CAP
