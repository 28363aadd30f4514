"""Candidates beside those of the search: scored as the search scores, filtered alike, drawn by their source."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer

from operators.candidates.proposer import Proposer
from operators.keys import keys_of
from operators.schemas import to_numpy
from pipelines.run import mine
from tests.integration.conftest import Collection, configuration, dataset, write_collection

HERE = "tests.integration.test_proposers"
JUDGED = 5


class Judged(Proposer):
    """Proposes all that was judged, positives too, then a document that is not in the corpus."""

    def __call__(self, queries: pa.Table, judgements: pa.Table) -> pa.Table:
        keys = to_numpy(queries, "query_key")
        nowhere = pa.table({"query_key": keys, "doc_key": np.full(len(keys), 7)})
        return pa.concat_tables([judgements.select(["query_key", "doc_key"]), nowhere])


PROPOSERS = ["explicit", {"proposer": f"{HERE}:Judged", "source": "judged"}]
DRAWS = [
    {"strategy": "top", "num_negatives": 1, "source": "explicit"},
    {"strategy": "random", "num_negatives": 2, "source": "search"},
    {"strategy": "top", "num_negatives": 1},
]


@pytest.fixture(scope="module")
def judged(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """The collection; every query has documents from far away in the corpus that are judged not to be relevant."""
    judgements = {
        query: {**of_query, **{f"d{(250 + 40 * more + n) % 500}": 0 for more in range(JUDGED)}}
        for n, (query, of_query) in enumerate(collection.judgements.items())
    }
    folder = tmp_path_factory.mktemp("judged") / "beir"
    return write_collection(folder, collection.documents, collection.queries, judgements)


@pytest.fixture(scope="module")
def scores(judged: Collection, static_model: Path) -> npt.NDArray[np.float32]:
    """The similarity of every query and document."""
    model = SentenceTransformer(str(static_model), device="cpu")
    asked, texts = (
        model.encode(list(one.values()), normalize_embeddings=True) for one in (judged.queries, judged.documents)
    )
    return np.asarray(asked @ texts.T)


def test_proposals_are_scored_filtered_and_drawn(
    judged: Collection, scores: npt.NDArray[np.float32], static_model: Path, tmp_path: Path, engine: str
) -> None:
    sections = {"proposers": PROPOSERS, "select": {"draws": DRAWS, "range_max": 50}}
    runs = {
        name: mine(
            configuration(tmp_path / name, judged, static_model, **sections, engine={"name": name}), progress=False
        )
        for name in dict.fromkeys([engine, "local"])
    }
    mined = runs[engine]
    assert dataset(tmp_path / engine).equals(dataset(tmp_path / "local"))

    queries, documents = (pa.array(list(one)) for one in (judged.queries, judged.documents))
    query_at = {key: n for n, key in enumerate(keys_of(queries).tolist())}
    doc_at = {key: n for n, key in enumerate(keys_of(documents).tolist())}
    positives = [{doc for doc, score in of.items() if score > 0} for of in judged.judgements.values()]
    negatives = [{doc for doc, score in of.items() if score <= 0} for of in judged.judgements.values()]

    chosen = mined.output("select", "negatives").to_pylist()
    rows = len({(row["query_key"], row["positive_key"]) for row in chosen})
    assert rows == sum(map(len, positives)), "every row got something"
    for row in chosen:
        q, d = query_at[row["query_key"]], doc_at[row["doc_key"]]
        assert row["score"] == pytest.approx(scores[q, d], abs=2e-3)
        assert documents[d].as_py() not in positives[q]
        was_judged = documents[d].as_py() in negatives[q]
        assert [source in row["sources"] for source in ("explicit", "judged")] == [was_judged, was_judged]
        assert ("search" in row["sources"]) == (row["rank"] >= 0)
    best = {
        q: max(scores[q, int(doc.removeprefix("d"))] for doc in of) for q, of in enumerate(negatives)
    }  # of what was judged not to be relevant
    found: dict[tuple[int, int], list[float]] = {}
    for row in chosen:
        if "explicit" in row["sources"]:
            found.setdefault((row["query_key"], row["positive_key"]), []).append(row["score"])
    assert len(found) == rows
    assert all(max(of) == pytest.approx(best[query_at[q]], abs=2e-3) for (q, _), of in found.items())

    assert mined.dropped["not_in_corpus"] == len(queries)
    assert mined.report["proposed"]["explicit"] == sum(map(len, negatives))
    assert mined.report["proposed"]["scored"] == sum(map(len, [*positives, *negatives]))


def test_without_proposers_nothing_is_scored_again(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    mined = mine(configuration(tmp_path, collection, static_model), until="select", progress=False)
    assert set(mined.stages["search"]["sides"]) == {"all", "short"}
    assert set(map(tuple, mined.output("select", "negatives")["sources"].to_pylist())) == {("search",)}


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"proposers": ["explict"]}, "Did you mean 'explicit'"),
        ({"proposers": ["explicit", "explicit"]}, "there are two sources 'explicit'"),
        ({"proposers": [{"proposer": "explicit", "source": "a/b"}]}, "source"),
        ({"select": {"draws": [{"strategy": "top", "source": "explicit"}]}}, "no proposer has the source 'explicit'"),
    ],
)
def test_wrong_sources_are_refused_at_start(sections: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=said):
        configuration(tmp_path, None, Path("model"), **{"data": {"beir": "folder"}, **sections})


def test_candidates_of_another_system_join(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    """The example of CONTRIBUTING.md."""
    pairs = {"query_id": ["q0", "q0", "q5"], "doc_id": ["d400", "d401", "d402"]}
    pq.write_table(pa.table(pairs), tmp_path / "found.parquet")
    proposer = {"proposer": "tests.examples.from_file:FromFile", "path": str(tmp_path / "found.parquet")}
    config = configuration(
        tmp_path / "run",
        collection,
        static_model,
        proposers=[proposer],
        select={"draws": [{"strategy": "top", "num_negatives": 2, "source": "FromFile"}]},
    )
    negatives = mine(config, until="select", progress=False).output("select", "negatives")
    wanted = dict(zip(keys_of(pa.array(pairs["doc_id"])).tolist(), keys_of(pa.array(pairs["query_id"])), strict=True))
    assert set(negatives["doc_key"].to_pylist()) == set(wanted)
    assert all(wanted[row["doc_key"]] == row["query_key"] for row in negatives.to_pylist())
