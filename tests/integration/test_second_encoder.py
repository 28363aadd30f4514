"""A second encoder proposes what it finds nearest: as brute force with its vectors does, wherever it runs."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sentence_transformers import SentenceTransformer

from benchmarks.potion import POTION, potion_folder
from operators.keys import keys_of
from operators.schemas import POSITIVE_DOCUMENT, to_numpy
from operators.segments import first_index
from pipelines.results import Mined
from pipelines.run import mine
from pipelines.runtime.plan import describe
from pipelines.runtime.session import build
from tests.integration.conftest import (
    Collection,
    configuration,
    dataset,
    write_collection,
)
from tests.models import QUERY

LIMIT = 7
SECOND = {"proposer": "encoder", "source": "second", "limit": LIMIT, "vector_dtype": "float32"}
CODES = "IVF8,PQ24x4fs"
ORDER = [("query_id", "ascending"), ("positive_id", "ascending"), ("negative_id", "ascending")]


@pytest.fixture(scope="module")
def potion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real static encoder of 128 dimensions."""
    if not POTION.is_dir():
        pytest.skip(f"{POTION} lies beside the project on some machines only")
    return potion_folder(tmp_path_factory.mktemp("models") / "potion")


def second(model: Path, **settings: Any) -> dict[str, Any]:  # noqa: ANN401 - of the configuration
    return {**SECOND, "model": str(model), **settings}


def similarities(model: Path, collection: Collection) -> npt.NDArray[np.float32]:
    """The cosine of every query and document by a model, float32 of shape (queries, documents)."""
    encoder = SentenceTransformer(str(model), device="cpu")
    asked = encoder.encode_query(list(collection.queries.values()), normalize_embeddings=True)
    texts = encoder.encode_document(list(collection.documents.values()), normalize_embeddings=True)
    return np.asarray(asked @ texts.T)


def proposed(mined: Mined, collection: Collection, source: str = "second") -> dict[str, list[int]]:
    """What a source proposes: query -> the numbers of documents, in the order of their ranks."""
    table = mined.output(f"search/propose_{source}", "proposals")
    table = table.sort_by([("query_key", "ascending"), ("rank", "ascending")])
    queries = dict(zip(keys_of(pa.array(list(collection.queries))).tolist(), collection.queries, strict=True))
    place = {key: n for n, key in enumerate(keys_of(pa.array(list(collection.documents))).tolist())}
    found: dict[str, list[int]] = {}
    for row in table.to_pylist():
        of_query = found.setdefault(queries[row["query_key"]], [])
        of_query.append(place[row["doc_key"]])
    return found


def check_nearest(found: dict[str, list[int]], scores: npt.NDArray[np.float32], collection: Collection) -> None:
    """Compare proposals with the best of all documents that are not judged positive, but for ties and rounding."""
    assert found.keys() == collection.queries.keys()
    names = list(collection.documents)
    for of_query, query in zip(scores.copy(), collection.queries, strict=True):
        documents = found[query]
        own = [names.index(name) for name, score in collection.judgements[query].items() if score > 0]
        of_query[own] = -np.inf
        assert of_query[documents] == pytest.approx(np.sort(of_query)[::-1][:LIMIT], abs=2e-6)
        assert len(set(documents)) == LIMIT


@pytest.mark.parametrize("model", ["second_model", "potion"])
def test_proposals_are_those_of_brute_force_with_its_own_vectors(
    collection: Collection,
    static_model: Path,
    model: str,
    tmp_path: Path,
    engine_in_time: str,
    request: pytest.FixtureRequest,
) -> None:
    folder = request.getfixturevalue(model)
    many = {**collection.judgements, "q3": {f"d{n}": 1 for n in range(0, 120, 2)}}  # these shift nobody else's window
    judged = write_collection(tmp_path / "beir", collection.documents, collection.queries, many)
    settings = second(folder, dtype="float32", index={"factory": "exact", "shard_rows": 128})
    config = configuration(
        tmp_path / "run", judged, static_model, proposers=[settings], engine={"name": engine_in_time}
    )
    mined = mine(config, until="select", progress=False)
    check_nearest(proposed(mined, judged), similarities(folder, judged), judged)
    # Scored by the encoder of the run, whatever the second one thinks of them.
    candidates = mined.output("search/proposed", "candidates")
    row, column = (
        first_index(np.asarray(keys_of(pa.array(list(ids)))), to_numpy(candidates, name))
        for name, ids in (("query_key", judged.queries), ("doc_key", judged.documents))
    )
    of_run = similarities(static_model, judged)[row, column]
    assert to_numpy(candidates, "score") == pytest.approx(of_run, abs=2e-3)  # kept in float16
    assert len(of_run) == LIMIT * len(judged.queries)


def test_two_encoders_beside_that_of_the_run_give_the_same_on_every_engine(
    collection: Collection, static_model: Path, second_model: Path, third_model: Path, tmp_path: Path, engine: str
) -> None:
    sections: dict[str, Any] = {
        "proposers": [
            second(second_model, limit=20, index={"factory": CODES, "shard_rows": 256}),
            second(third_model, limit=20, source="third", query_prompt="what documents "),
        ],
        "select": {
            "draws": [
                {"strategy": "disagreement", "num_negatives": 2, "sources": ["search", "second"]},
                {"strategy": "disagreement", "num_negatives": 1, "sources": ["second", "third"]},
                {"strategy": "top", "num_negatives": 1, "source": "third"},
            ],
            "range_max": 20,
        },
    }
    for name in dict.fromkeys((engine, "local")):
        config = configuration(tmp_path / name, collection, static_model, **sections, engine={"name": name})
        mined = mine(config, progress=False)
    assert dataset(tmp_path / engine).equals(dataset(tmp_path / "local"))
    left = {path.name for path in (tmp_path / engine / "search").glob("propose_*/*/*") if path.is_dir()}
    assert left == {"_units", "proposals"}, "what was temporary is gone"

    report = mined.report["proposers"]
    assert {name: one["model"] for name, one in report.items()} == {
        "second": str(second_model),
        "third": str(third_model),
    }
    assert report["second"]["search"]["recall"]["recall"] >= 0.95
    assert report["second"]["index"]["factory"] == CODES
    assert report["third"]["search"]["recall"] is None
    assert report["third"]["encoder"]["prompts"]["query"] == "what documents "
    assert mined.report["encoder"]["prompts"]["query"] == ""
    page = (tmp_path / engine / "report" / "report.html").read_text(encoding="utf-8")
    assert f"Search of second: {second_model}, recall@20 " in page
    assert f"Search of third: {third_model}, exact." in page


@pytest.mark.parametrize("source", [None, "second"])
def test_disagreement_of_two_encoders_takes_what_one_ranks_first_and_the_other_does_not(
    collection: Collection, static_model: Path, third_model: Path, tmp_path: Path, source: str | None
) -> None:
    """Without a source the best 60 by the run's own scores are in the window: those that its search found."""
    draw = {"strategy": "disagreement", "num_negatives": 3, "sources": ["search", "second"], "source": source}
    config = configuration(
        tmp_path / "run",
        collection,
        static_model,
        proposers=[second(third_model, limit=30)],
        select={"draws": [draw], "range_max": 60},
        search={"k": 60},
        index="exact",
    )
    mined = mine(config, until="select", progress=False)
    positive = set(pairs_of(mined.output("search/all", "positives", ["query_key", "doc_key"])))
    alone = configuration(
        tmp_path / "alone",
        collection,
        third_model,
        search={"k": 30},
        select={"range_max": 30},
        index="exact",
        encoder={"vector_dtype": "float32"},
    )
    of_third = mine(alone, until="search", progress=False)
    ours, theirs = (ranks_of(one.output("search/all", "candidates")) for one in (mined, of_third))
    negatives = mined.output("select", "negatives")
    taken: dict[int, set[int]] = {}
    for query, document in pairs_of(negatives):
        taken.setdefault(query, set()).add(document)

    def disputed(pair: tuple[int, int]) -> float:
        first, other = (1 / (ranks[pair] + 1) if pair in ranks else 0.0 for ranks in (ours, theirs))
        return abs(first - other)

    assert taken.keys() == {query for query, _ in ours}
    for query, documents in taken.items():
        window = {pair for pair in (ours if source is None else theirs) if pair[0] == query} - positive
        chosen = {(query, document) for document in documents}
        assert chosen <= window
        assert min(map(disputed, chosen)) >= max(map(disputed, window - chosen)) - 1e-12
    sources = {tuple(row) for row in negatives["sources"].to_pylist()}
    assert sources == {("search", "second"), ("search",) if source is None else ("second",)}


def ranks_of(table: pa.Table) -> dict[tuple[int, int], int]:
    return dict(zip(pairs_of(table), to_numpy(table, "rank").tolist(), strict=True))


def pairs_of(table: pa.Table) -> list[tuple[int, int]]:
    return list(zip(to_numpy(table, "query_key").tolist(), to_numpy(table, "doc_key").tolist(), strict=True))


def test_the_model_of_the_run_proposes_what_its_search_finds_and_disagrees_about_nothing(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    """The same model twice ranks every document the same, wherever positives are in the ranking."""
    draw = {"strategy": "disagreement", "sources": ["search", "second"], "num_negatives": 2, "source": "second"}
    config = configuration(
        tmp_path,
        collection,
        static_model,
        index="exact",
        proposers=[second(static_model, vector_dtype="float16", limit=30)],
        select={"draws": [draw], "range_max": 30},
        search={"k": 30},
    )
    mined = mine(config, until="select", progress=False)
    searched = mined.output("search/all", "candidates").filter(pc.field("positive_kind") != POSITIVE_DOCUMENT)
    ours, theirs = ranks_of(searched), ranks_of(mined.output("search/propose_second", "proposals"))
    assert ours == theirs
    assert max(ours.values()) >= 30, "positives are among and above them"
    # It disputes nothing, so the best that pass the filters are taken.
    top = configuration(
        tmp_path,
        collection,
        static_model,
        index="exact",
        proposers=config.proposers,
        select={"num_negatives": 2, "range_max": 30},
        search={"k": 30},
    )
    taken = pairs_of(mined.output("select", "negatives"))
    assert taken == pairs_of(mine(top, until="select", progress=False).output("select", "negatives"))


def test_vectors_that_came_are_not_those_of_the_second_encoder(
    collection: Collection, with_vectors: dict[str, Any], second_model: Path, tmp_path: Path
) -> None:
    """Their length is another one; the second encoder encodes the texts that came with them."""
    config = configuration(tmp_path, None, None, data=with_vectors, proposers=[second(second_model, dtype="float32")])
    mined = mine(config, until="select", progress=False)
    found = proposed(mined, collection)
    check_nearest(found, similarities(second_model, collection), collection)
    assert "prepare/model" not in mined.stages


def test_the_plan_names_what_the_second_encoder_uses(
    collection: Collection, static_model: Path, second_model: Path, tmp_path: Path
) -> None:
    plan = describe(build(configuration(tmp_path, collection, static_model, proposers=[second(second_model)])))
    assert plan["prepare/model"]["needs"] == "cosine, no prompts"
    assert QUERY in plan["prepare/model_second"]["needs"]
    assert "bytes x dimension" in plan["search/encode_second"]["needs"]
    assert list(plan)[:2] == ["prepare/model_second", "prepare/model"], "the model that encodes first is tried last"
