"""Similarities that are distances, end to end: negatives, margins, proposals are those of a brute force in float64."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer

from operators.errors import InputError
from operators.keys import keys_of
from pipelines.run import mine
from tests.integration.conftest import Collection, configuration, dataset

Exact = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]

DOCUMENTS, QUERIES, DIMENSION = 150, 24, 8
MARGIN, LEAST_APART, WANTED = 0.1, 0.6, 3
DISTANCES: dict[str, dict[str, Any]] = {
    "euclidean": {"similarity": "euclidean"},
    "poincare": {"similarity": "poincare", "curvature": 0.5},
}
POSITIVES = {query: [query] if query % 3 else [query, query + QUERIES] for query in range(QUERIES)}


def places(seed: int, rows: int) -> Matrix:
    """Points within 1.1 of the centre, the more the farther out."""
    rng = np.random.default_rng(seed)
    held = rng.standard_normal((rows, DIMENSION))
    held *= 1.1 * rng.uniform(0.3, 1, (rows, 1)) / np.linalg.norm(held, axis=1, keepdims=True)
    return held.astype(np.float32)


def sources(folder: Path, documents: Matrix, queries: Matrix) -> dict[str, Any]:
    """Write a corpus and queries with vectors, and judgements; return the `data` section."""
    columns = {"columns": {"vector": "vector"}}
    data: dict[str, Any] = {"judgements": str(folder / "judgements.parquet"), "partition_rows": 16}
    for kind, name, vectors in (("corpus", "doc_id", documents), ("queries", "query_id", queries)):
        ids = [f"{name[0]}{row}" for row in range(len(vectors))]
        table = {name: ids, "text": [f"{kind} {one}" for one in ids], "vector": list(vectors)}
        pq.write_table(pa.table(table), folder / f"{kind}.parquet")
        data[kind] = {"path": str(folder / f"{kind}.parquet"), **columns}
    judged = [(f"q{query}", f"d{row}") for query, rows in POSITIVES.items() for row in rows]
    pq.write_table(
        pa.Table.from_pylist([{"query_id": q, "doc_id": d} for q, d in judged]), folder / "judgements.parquet"
    )
    return data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return sources(tmp_path_factory.mktemp("places"), places(0, DOCUMENTS), places(1, QUERIES))


def distances(kind: str, left: Matrix, right: Matrix) -> Exact:
    """By the textbook formulas, shape (left, right)."""
    one, other = left.astype(np.float64), right.astype(np.float64)
    squared = ((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=2)
    if kind == "euclidean":
        return np.asarray(np.sqrt(squared))
    c = DISTANCES[kind]["curvature"]
    inside = np.multiply.outer(1 - c * (one**2).sum(axis=1), 1 - c * (other**2).sum(axis=1))
    return np.asarray(np.arccosh(1 + 2 * c * squared / inside) / np.sqrt(c))


def expected(kind: str) -> dict[tuple[str, str], list[str]]:
    """The negatives of each (query, positive): the nearest behind the margin that are not near to a positive."""
    documents = places(0, DOCUMENTS)
    to_queries, apart = distances(kind, places(1, QUERIES), documents), distances(kind, documents, documents)
    negatives = {}
    for query, positives in POSITIVES.items():
        for positive in positives:
            fit = to_queries[query] >= to_queries[query, positive] + MARGIN
            fit &= apart[positives].min(axis=0) >= LEAST_APART
            fit[positives] = False
            nearest = [row for row in np.argsort(to_queries[query]) if fit[row]][:WANTED]
            negatives[f"q{query}", f"d{positive}"] = [f"d{row}" for row in nearest]
    return negatives


def settings(kind: str, data: Mapping[str, Any], **sections: Any) -> dict[str, Any]:  # noqa: ANN401
    select = {"num_negatives": WANTED, "absolute_margin": MARGIN, "max_positive_similarity": -LEAST_APART}
    return {
        "data": data,
        "encoder": {**DISTANCES[kind], "vector_dtype": "float32"},
        "index": {"factory": "exact", "shard_rows": 50},
        "search": {"k": 40},
        "select": {**select, "range_max": 40, **sections.pop("select", {})},
        **sections,
    }


def chosen(run: Path) -> dict[tuple[str, str], list[str]]:
    rows: dict[tuple[str, str], list[str]] = {}
    table = dataset(run).sort_by([("negative_score", "descending")])
    for row in table.to_pylist():
        rows.setdefault((row["query_id"], row["positive_id"]), []).append(row["negative_id"])
    return rows


@pytest.mark.parametrize("kind", DISTANCES)
def test_margins_and_limits_are_in_units_of_the_distance_on_every_engine(
    kind: str, data: dict[str, Any], tmp_path: Path, engine: str
) -> None:
    for name in dict.fromkeys([engine, "local"]):
        config = configuration(tmp_path / name, None, None, **settings(kind, data, engine={"name": name}))
        mined = mine(config, progress=False)
    assert dataset(tmp_path / engine).equals(dataset(tmp_path / "local"))
    wanted = expected(kind)
    assert chosen(tmp_path / engine) == {row: negatives for row, negatives in wanted.items() if negatives}
    assert mined.dropped["absolute_margin"] > 0
    assert mined.dropped["max_positive_similarity"] > 0
    assert mined.report["encoder"] == DISTANCES[kind]

    documents = places(0, DOCUMENTS)
    to_queries, apart = distances(kind, places(1, QUERIES), documents), distances(kind, documents, documents)
    number = {key: row for row, key in enumerate(keys_of(pa.array([f"d{row}" for row in range(DOCUMENTS)])).tolist())}
    asked = {key: row for row, key in enumerate(keys_of(pa.array([f"q{row}" for row in range(QUERIES)])).tolist())}
    for row in mined.output("select", "negatives").to_pylist():
        query, document = asked[row["query_key"]], number[row["doc_key"]]
        near = -apart[document, POSITIVES[query]]
        found = [
            row[name] for name in ("score", "positive_score", "max_positive_similarity", "mean_positive_similarity")
        ]
        exact = [-to_queries[query, document], -to_queries[query, number[row["positive_key"]]], near.max(), near.mean()]
        assert found == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("kind", DISTANCES)
def test_shards_codes_and_precision_choose_the_same(kind: str, data: dict[str, Any], tmp_path: Path) -> None:
    ways: dict[str, dict[str, Any]] = {
        "one shard": {"index": {"factory": "exact", "shard_rows": 1000}},
        "codes": {
            "index": {"factory": "IVF4,SQ8", "shard_rows": 50},
            "search": {"k": 40, "nprobe": 4, "refine_factor": 4},
        },
    }
    if kind == "euclidean":
        ways["float16"] = {"encoder": {"similarity": kind}}
    for name, sections in ways.items():
        mine(configuration(tmp_path / name, None, None, **{**settings(kind, data), **sections}), progress=False)
        found, wanted = chosen(tmp_path / name), expected(kind)
        same = sum(len(set(found.get(row, [])) & set(negatives)) for row, negatives in wanted.items())
        # Vectors in float16 are others, by their last digits.
        assert same >= sum(map(len, wanted.values())) * (0.95 if name == "float16" else 1), name


@pytest.mark.parametrize("kind", DISTANCES)
def test_neighbours_of_positives_are_the_nearest_by_distance(kind: str, data: dict[str, Any], tmp_path: Path) -> None:
    proposers = [{"proposer": "cluster", "limit": 5}]
    config = configuration(tmp_path, None, None, **settings(kind, data, proposers=proposers))
    proposed = mine(config, progress=False).output("search/propose_cluster", "proposals").to_pylist()
    documents = places(0, DOCUMENTS)
    apart = distances(kind, documents, documents)
    names = keys_of(pa.array([f"d{row}" for row in range(DOCUMENTS)])).tolist()
    for query, key in enumerate(keys_of(pa.array([f"q{row}" for row in range(QUERIES)])).tolist()):
        near = apart[POSITIVES[query]].min(axis=0)
        place = np.argsort(np.argsort(near))
        near[POSITIVES[query]] = np.inf
        ranked = sorted((row["rank"], row["doc_key"]) for row in proposed if row["query_key"] == key)
        # Positives, which are nearest to themselves, count in the ranks.
        assert ranked == [(place[row], names[row]) for row in np.argsort(near)[:5]]


def test_another_curvature_makes_other_scores_in_the_same_run_directory(data: dict[str, Any], tmp_path: Path) -> None:
    scores = []
    for curvature in (0.5, 0.25, 0.5):
        sections = settings("poincare", data, select={"absolute_margin": None, "max_positive_similarity": None})
        sections["encoder"] = {"similarity": "poincare", "curvature": curvature}
        mine(configuration(tmp_path, None, None, **sections), progress=False)
        scores.append(dataset(tmp_path)["negative_score"].to_numpy())
    assert np.array_equal(scores[0], scores[2])
    assert (scores[0] < scores[1]).all()  # the less curved, the nearer


def test_a_model_saved_with_euclidean_is_compared_by_distance(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    model = SentenceTransformer(modules=[SentenceTransformer(str(static_model), device="cpu")[0]], device="cpu")
    model.similarity_fn_name = "euclidean"  # of vectors that are not of length 1
    model.save(str(tmp_path / "model"))
    texts = list(collection.documents.values())
    asked = list(collection.queries.values())
    theirs = model.similarity(model.encode(asked), model.encode(texts)).numpy()
    encoder = {"dtype": "float32", "vector_dtype": "float32"}
    config = configuration(tmp_path / "run", collection, tmp_path / "model", encoder=encoder)
    assert mine(config, progress=False).report["encoder"]["similarity"] == "euclidean"
    documents, queries = list(collection.documents), list(collection.queries)
    rows = dataset(tmp_path / "run").to_pylist()
    ours = [row["negative_score"] for row in rows]
    assert ours == pytest.approx(
        [theirs[queries.index(row["query_id"]), documents.index(row["negative_id"])] for row in rows], abs=1e-3
    )
    for row in rows[:50]:
        query = queries.index(row["query_id"])
        positives = collection.judgements[row["query_id"]]
        best = [documents[n] for n in np.argsort(-theirs[query]) if documents[n] not in positives][:6]
        assert row["negative_id"] in best


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_given_vectors_too_long_for_finite_scores_are_refused(similarity: str, tmp_path: Path) -> None:
    documents, queries = places(0, DOCUMENTS), places(1, QUERIES)
    queries[5] *= 2e19 / np.linalg.norm(queries[5])
    sections = settings("euclidean", sources(tmp_path, documents, queries))
    sections["encoder"]["similarity"] = similarity
    with pytest.raises(InputError, match=r"vectors of a query .* a length, too large for float32\. Scale them down"):
        mine(configuration(tmp_path / "run", None, None, **sections), progress=False)


@pytest.mark.parametrize("side", ["corpus", "queries"])
def test_given_points_outside_of_the_ball_are_refused(side: str, tmp_path: Path) -> None:
    documents, queries = places(0, DOCUMENTS), places(1, QUERIES)
    (documents if side == "corpus" else queries)[5] *= 4
    config = configuration(tmp_path / "run", None, None, **settings("poincare", sources(tmp_path, documents, queries)))
    named = "document" if side == "corpus" else "query"
    with pytest.raises(InputError, match=rf"a {named} has a vector of length .*lower encoder\.curvature"):
        mine(config, progress=False)


def test_a_model_whose_vectors_are_outside_of_the_ball_is_refused_before_anything_is_prepared(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    config = configuration(
        tmp_path / "run", collection, static_model, encoder={"similarity": "poincare", "curvature": 4}
    )
    with pytest.raises(InputError, match=r"a document has a vector of length 1.*not inside the ball of radius 0\.5"):
        mine(config, progress=False)
    assert not list(tmp_path.glob("run/prepare/corpus/*"))


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ({"similarity": "poincare", "vector_dtype": "float16"}, "needs vector_dtype: float32"),
        ({"similarity": "poincare", "curvature": 0}, "greater than 0"),
        ({"similarity": "euclidean", "curvature": 2.0}, "curvature is that of similarity: poincare"),
        ({"curvature": 2.0}, "curvature is that of similarity: poincare"),
        ({"similarity": "manhattan"}, "euclidean"),
    ],
)
def test_settings_that_do_not_fit_are_refused(encoder: dict[str, Any], said: str, data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=said):
        configuration("run", None, None, data=data, encoder=encoder)


def test_hyperbolic_vectors_are_float32_and_others_float16_unless_set(data: dict[str, Any]) -> None:
    for similarity, dtype in (("poincare", "float32"), ("euclidean", "float16"), ("cosine", "float16")):
        config = configuration("run", None, None, data=data, encoder={"similarity": similarity})
        assert config.encoder.vector_dtype == dtype


def test_an_index_that_does_not_fit_lifted_vectors_is_refused_before_they_are_encoded(
    data: dict[str, Any], tmp_path: Path
) -> None:
    """8 values and the 6 that are added are 14, which PQ8 does not divide."""
    sections = {**settings("euclidean", data), "index": "IVF4,PQ8x4"}
    with pytest.raises(InputError, match="for vectors of 14 values"):
        mine(configuration(tmp_path, None, None, **sections), progress=False)
    assert not list(tmp_path.glob("encode/*"))


@pytest.mark.parametrize("kind", DISTANCES)
def test_a_draw_for_cosine_is_refused(kind: str, data: dict[str, Any], tmp_path: Path) -> None:
    sections = settings(kind, data)
    sections["select"] = {"sampling_strategy": "distance_weighted", "range_max": 40}
    with pytest.raises(InputError, match=rf"defined for cosine similarity, and this model compares by {kind}"):
        mine(configuration(tmp_path, None, None, **sections), progress=False)
