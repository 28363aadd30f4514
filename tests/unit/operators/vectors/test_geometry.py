"""Lifted vectors: their inner products are the distances of a brute force, in float64, and search stays exact."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.candidates.proposers.encoder import EncoderOfSource
from operators.errors import InputError
from operators.schemas import VectorDType, Vectors
from operators.vectors import top_k as top_k_module
from operators.vectors.encoder import EncoderConfig, Side
from operators.vectors.geometry import AS_THEY_ARE, Euclidean, InnerProduct, Poincare
from operators.vectors.index import IndexChoice, train
from operators.vectors.nearest import OperatingPoint, nearest, nearest_exact
from operators.vectors.precision import in_float32, in_precision
from operators.vectors.shard import Shard
from operators.vectors.similarity import candidate_similarities, score_pairs
from tests.unit.operators.tables import codes_of, shard_of

Exact = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]

DEVICES = ["cpu", "cpu:0"]  # the second goes through torch, as a GPU does
UNIT = 2.0**-24  # the unit roundoff of float32
GEOMETRIES = [Euclidean(), Poincare(), Poincare(0.25), Poincare(40.0), Poincare(1e-8), Poincare(1e3)]


def points(geometry: InnerProduct, seed: int, rows: int, dimension: int, farthest: float = 0.95) -> Matrix:
    """Points at all distances from the origin, in the ball where there is one."""
    rng = np.random.default_rng(seed)
    held = rng.standard_normal((rows, dimension))
    held /= np.linalg.norm(held, axis=1, keepdims=True)
    radius = farthest / np.sqrt(geometry.curvature) if isinstance(geometry, Poincare) else 3.0
    return (held * radius * rng.uniform(0, 1, (rows, 1)) ** (1 / dimension)).astype(np.float32)


def distances(geometry: InnerProduct, left: Matrix, right: Matrix) -> Exact:
    """The distance of every two points by its textbook formula, in float64: shape (left, right)."""
    one, other = left.astype(np.float64), right.astype(np.float64)
    squared = ((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=2)
    if not isinstance(geometry, Poincare):
        return np.asarray(np.sqrt(squared))
    c = geometry.curvature
    inside = (1 - c * (one**2).sum(axis=1))[:, None] * (1 - c * (other**2).sum(axis=1))[None, :]
    above = 2 * c * squared / inside  # arccosh(1 + above), which loses nothing where that is small
    return np.asarray(np.log1p(above + np.sqrt(above * (above + 2))) / np.sqrt(c))


def products(queries: Vectors, documents: Vectors) -> Matrix:
    """The product of every two vectors, as the search computes it."""
    i, j = (side.ravel() for side in np.indices((len(queries), len(documents))))
    return score_pairs(queries, i, documents, j).reshape(len(queries), len(documents))


@given(
    seed=st.integers(0, 2**32 - 1),
    dimension=st.sampled_from([1, 3, 8, 100]),
    length=st.sampled_from([3e-4, 0.003, 0.05, 1.0, 5.0, 30.0]),
    dtype=st.sampled_from(["float16", "float32"]),
)
def test_products_of_euclidean_lifts_are_half_the_squared_distances(
    seed: int, dimension: int, length: float, dtype: VectorDType
) -> None:
    rng = np.random.default_rng(seed)
    queries, documents = (
        (length / np.sqrt(dimension) * rng.standard_normal((rows, dimension))).astype(np.float32) for rows in (4, 9)
    )
    documents[0] = queries[0]
    lifted = Euclidean().queries(queries, dtype), Euclidean().documents(documents, dtype)
    assert lifted[0].dtype == lifted[1].dtype == np.dtype(dtype)
    found = products(*lifted)
    kept = [in_float32(in_precision(side, dtype)) for side in (queries, documents)]
    exact = distances(Euclidean(), *kept)
    lengths = [np.linalg.norm(side.astype(np.float64), axis=1) for side in kept]
    # What a sum in float32 may be off by, and float16 by its smallest number times s/r on either side.
    allowed = (dimension + 8) * UNIT * np.add.outer(lengths[0], lengths[1]) ** 2 + 2.0**-33 * (dtype == "float16")
    assert (np.abs(found + exact**2 / 2) <= allowed).all()
    assert (
        np.abs(Euclidean().scores(found).astype(np.float64) ** 2 - exact**2) <= 2 * allowed + 2**-22 * exact**2
    ).all()


def test_long_vectors_in_float16_lose_nothing_that_matters() -> None:
    """Neighbours at a distance of about 1 to 4 of vectors that are 30 long."""
    rng = np.random.default_rng(0)
    queries = (30 / np.sqrt(384) * rng.standard_normal((20, 384))).astype(np.float32)
    steps = rng.uniform(1, 4, (20, 1)) / np.sqrt(384) * rng.standard_normal((20, 384))
    documents = (queries + steps).astype(np.float32)
    scores = Euclidean().scores(
        products(Euclidean().queries(queries, "float16"), Euclidean().documents(documents, "float16"))
    )
    exact = distances(Euclidean(), queries.astype(np.float16), documents.astype(np.float16))
    assert np.abs(scores + exact).max() < 1e-3
    assert np.isinf(Euclidean().documents(100 * documents, "float16")[:, -6]).all()  # refused by who keeps them


@pytest.mark.parametrize(
    ("geometry", "dimension", "length", "dtypes", "lowest"),
    [
        (Euclidean(), 384, 1.0, ("float16", "float32"), -0.001),
        (Euclidean(), 384, 30.0, ("float16", "float32"), -0.03),
        (Euclidean(), 384, 0.001, ("float32",), -1e-6),
        (Euclidean(), 384, 0.001, ("float16",), -2e-5),
        (Poincare(), 64, 0.001, ("float32",), -2e-6),
        (Poincare(), 64, 0.9, ("float32",), -0.01),
        (Poincare(), 64, 0.99, ("float32",), -0.1),
        (Poincare(), 64, 0.999, ("float32",), -0.7),
    ],
)
def test_equal_vectors_score_as_the_page_on_precision_says(
    geometry: InnerProduct, dimension: int, length: float, dtypes: tuple[VectorDType, ...], lowest: float
) -> None:
    held = np.random.default_rng(0).standard_normal((2000, dimension))
    held = (length * held / np.linalg.norm(held, axis=1, keepdims=True)).astype(np.float32)
    each = np.arange(2000)
    for dtype in dtypes:
        pairs = score_pairs(geometry.queries(held, dtype), each, geometry.documents(held, dtype), each)
        assert lowest <= geometry.scores(pairs).min() < lowest / 10


def test_a_euclidean_score_is_that_of_sentence_transformers() -> None:
    from sentence_transformers.util import euclidean_sim

    queries, documents = points(Euclidean(), 1, 6, 20), points(Euclidean(), 2, 30, 20)
    lifted = Euclidean().queries(queries, "float32"), Euclidean().documents(documents, "float32")
    theirs = euclidean_sim(queries, documents).numpy()
    assert np.allclose(Euclidean().scores(products(*lifted)), theirs, atol=1e-5)


@given(
    seed=st.integers(0, 2**32 - 1),
    dimension=st.sampled_from([1, 2, 8, 50]),
    curvature=st.sampled_from([1e-8, 0.01, 1.0, 7.0, 1e3]),
    farthest=st.sampled_from([3e-4, 0.1, 0.9, 0.999]),
)
def test_products_of_points_of_the_hyperboloid_are_the_distances_of_the_ball(
    seed: int, dimension: int, curvature: float, farthest: float
) -> None:
    geometry = Poincare(curvature)
    queries, documents = (
        points(geometry, seed, 4, dimension, farthest),
        points(geometry, seed + 1, 9, dimension, farthest),
    )
    documents[0] = queries[0]
    lifted = geometry.queries(queries, "float32"), geometry.documents(documents, "float32")
    found, exact = products(*lifted), distances(geometry, queries, documents)
    # No more than relative errors of what is added up: nothing of it is as large as 1 where the points are close to 0.
    allowed = 4 * (dimension + 8) * UNIT * (np.abs(lifted[0]).astype(np.float64) @ np.abs(lifted[1]).T)
    above = 2 * np.sinh(np.sqrt(curvature) * exact / 2) ** 2  # cosh, less 1
    assert (np.abs(found + above) <= allowed).all()
    highest, lowest = (2 * np.arcsinh(np.sqrt(np.maximum(one, 0) / 2)) for one in (above + allowed, above - allowed))
    distance = -geometry.scores(found) * np.sqrt(curvature)
    assert ((distance <= highest * (1 + 1e-6)) & (distance >= lowest * (1 - 1e-6))).all()


def shares_of_nearest(geometry: InnerProduct, held: Matrix, asked: Matrix, dtype: VectorDType) -> float:
    """How many of the 10 nearest by the exact distance of what is kept are the best 10 by score."""
    found = geometry.scores(products(geometry.queries(asked, dtype), geometry.documents(held, dtype)))
    exact = distances(geometry, *(in_float32(in_precision(side, dtype)) for side in (asked, held)))
    best = [np.argsort(-found, axis=1, kind="stable")[:, :10], np.argsort(exact, axis=1, kind="stable")[:, :10]]
    return float(np.mean([len(np.intersect1d(*rows)) / 10 for rows in zip(*best, strict=True)]))


LENGTHS = [3e-4, 0.001, 0.003, 0.05, 1.0, 30.0]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_nearest_are_found_whatever_the_length_of_vectors(length: float, dtype: VectorDType) -> None:
    rng = np.random.default_rng(0)
    held, asked = ((length / np.sqrt(32) * rng.standard_normal((rows, 32))).astype(np.float32) for rows in (2000, 20))
    assert shares_of_nearest(Euclidean(), held, asked, dtype) >= 0.99


@pytest.mark.parametrize("curvature", [1e-8, 1e-3, 1.0, 1e3])
@pytest.mark.parametrize("length", LENGTHS)
def test_the_nearest_of_the_ball_are_found_whatever_the_length_of_vectors(length: float, curvature: float) -> None:
    rng, geometry = np.random.default_rng(0), Poincare(curvature)
    held, asked = (rng.standard_normal((rows, 16)) for rows in (2000, 20))
    longest = min(length, 0.95 / np.sqrt(curvature))
    held, asked = (
        (longest * one * rng.uniform(0.5, 1, (len(one), 1)) / np.linalg.norm(one, axis=1, keepdims=True))
        for one in (held, asked)
    )
    assert shares_of_nearest(geometry, held.astype(np.float32), asked.astype(np.float32), "float32") >= 0.99


def test_clusters_of_an_index_are_of_the_vectors_and_not_of_what_is_added() -> None:
    """Vectors 30 long in float16, of 100 groups: what the lift rounds off must not decide where a vector is put."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((100, 64))
    drawn = centres[rng.integers(0, 100, 5050)] + 0.6 * rng.standard_normal((5050, 64))
    held = (30 * drawn / np.linalg.norm(drawn, axis=1).mean()).astype(np.float32)
    documents = Euclidean().documents(held[:5000], "float16")
    queries = in_float32(Euclidean().queries(held[5000:], "float16"))
    codes = codes_of(train(IndexChoice(factory="IVF64,Flat", train_rows=0, why=""), documents), [documents])
    shard = replace(keyed(Euclidean(), documents, codes=codes), doc_key=np.arange(5000))
    found, exact = (
        set(zip(*(one.tolist() for one in pairs), strict=True))
        for pairs in (
            nearest(shard, queries, np.full(50, 10), OperatingPoint(nprobe=8, refine_factor=1)),
            nearest_exact(shard, queries, np.full(50, 10)),
        )
    )
    assert len(found & exact) >= 0.9 * len(exact)


@pytest.mark.parametrize("geometry", [AS_THEY_ARE, Euclidean()])
def test_vectors_have_finite_scores_or_are_infinite(geometry: InnerProduct) -> None:
    held = np.outer([1e18, 4.6e18, 2e19, 1.0], [0.6, 0.8]).astype(np.float32)
    documents, queries = geometry.documents(held, "float32"), geometry.queries(-held, "float32")
    assert np.isfinite(documents).all(axis=1).tolist() == [True, True, False, True]
    fit = [0, 1, 3]
    assert np.isfinite(geometry.scores(products(queries[fit], documents[fit]))).all()


@pytest.mark.parametrize("curvature", [0.04, 1.0, 9.0])
def test_the_distance_from_the_centre_is_its_closed_form(curvature: float) -> None:
    """2 artanh(sqrt(c) r) / sqrt(c)."""
    radii = np.linspace(0, 0.9, 10) / np.sqrt(curvature)
    geometry, centre = Poincare(curvature), np.zeros((1, 3), np.float32)
    documents = np.outer(radii, [0.6, 0.0, -0.8]).astype(np.float32)
    found = products(geometry.queries(centre, "float32"), geometry.documents(documents, "float32"))
    assert np.allclose(
        -geometry.scores(found)[0], 2 * np.arctanh(np.sqrt(curvature) * radii) / np.sqrt(curvature), rtol=1e-5
    )


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_document_becomes_a_query(geometry: InnerProduct) -> None:
    held = points(geometry, 3, 12, 7)
    documents = geometry.documents(held, "float32")
    assert np.array_equal(geometry.as_queries(documents), geometry.queries(held, "float32"))
    assert documents.shape == (12, 7 + geometry.added)
    assert np.array_equal(documents, geometry.documents(held, "float32"))  # not changed on the way


@pytest.mark.parametrize("geometry", GEOMETRIES)
@given(product=st.floats(-(2.0**126), 4.0, width=32), steps=st.integers(1, 1000))
def test_what_is_below_the_floor_has_a_lower_score(geometry: InnerProduct, product: float, steps: int) -> None:
    given_ = np.array([product], np.float32)
    floor = geometry.floor(given_)
    below = np.nextafter(floor, np.float32(-np.inf))
    assert floor <= given_
    assert not np.isfinite(below) or geometry.scores(below) < geometry.scores(given_)
    less = (given_ - np.float32(steps) * np.spacing(np.abs(given_))).astype(np.float32)
    assert geometry.scores(less) <= geometry.scores(given_)


@pytest.mark.parametrize("side", ["document", "query"])
@pytest.mark.parametrize(("curvature", "length"), [(1.0, 1.0), (1.0, 3.0), (4.0, 0.51)])
def test_points_outside_of_the_ball_are_refused_with_the_side_and_the_remedy(
    side: Side, curvature: float, length: float
) -> None:
    held = np.array([[0.1, 0.2], [0.0, length]], np.float32)
    geometry = Poincare(curvature)
    with pytest.raises(InputError, match=rf"^a {side} has a vector of length {length:g}.*ball of radius"):
        (geometry.queries if side == "query" else geometry.documents)(held, "float32")
    wanted: dict[str, Any] = {"model": "m", "similarity": "poincare", "curvature": curvature}
    for config, section in (
        (EncoderConfig(**wanted), "encoder"),
        (EncoderOfSource(**wanted, source="far"), "proposers.far"),
    ):
        with pytest.raises(
            InputError, match=rf"^{section}\.similarity: .*a {side} .*lower {section}\.curvature"
        ) as said:
            config.lifted(held, side)
        assert "\n" not in str(said.value)


@pytest.mark.parametrize("geometry", [Euclidean(), Poincare()])
def test_similarities_to_positives_are_scores_before_their_mean_is_taken(geometry: InnerProduct) -> None:
    documents, positives = points(geometry, 4, 9, 5), points(geometry, 5, 6, 5)
    queries = points(geometry, 6, 2, 5)
    candidate_query, positive_query = np.array([0] * 5 + [1] * 4), np.array([0, 0, 1, 1, 1, 1])
    score, highest, mean = candidate_similarities(
        (geometry.documents(documents, "float32"), np.arange(9)),
        (in_float32(geometry.queries(queries, "float32")), candidate_query),
        (geometry.documents(positives, "float32"), positive_query),
        geometry,
    )
    to_positives, to_queries = -distances(geometry, documents, positives), -distances(geometry, queries, documents)
    for row, query in enumerate(candidate_query):
        own = to_positives[row, positive_query == query]
        assert score[row] == pytest.approx(to_queries[query, row], abs=1e-4)
        assert highest[row] == pytest.approx(own.max(), abs=1e-4)
        assert mean[row] == pytest.approx(own.mean(), abs=1e-4)


def keyed(geometry: InnerProduct, vectors: Vectors, seed: int = 0, codes: Any = None) -> Shard:  # noqa: ANN401
    keys = np.random.default_rng(seed).permutation(len(vectors)).astype(np.int64)
    return replace(shard_of(vectors, keys, keys, codes), geometry=geometry)


def best_by_score(shard: Shard, queries: Matrix, count: int) -> list[set[int]]:
    """The keys of the best, by every score and then by key."""
    scores = shard.geometry.scores(products(queries, shard.vectors))
    return [set(shard.doc_key[np.lexsort((shard.doc_key, -one))[:count]].tolist()) for one in scores]


def found_by(shard: Shard, queries: Matrix, count: int, device: str) -> list[set[int]]:
    query, row = nearest_exact(shard, queries, np.full(len(queries), count), device, 100)
    return [set(shard.doc_key[row[query == one]].tolist()) for one in range(len(queries))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("geometry", "dtype", "length"),
    [
        (Euclidean(), "float16", 30.0),
        (Euclidean(), "float32", 1.0),
        (Euclidean(), "float32", 300.0),
        (Poincare(), "float32", 0.9999),
    ],
)
def test_search_stays_exact_where_lifted_values_are_large(
    geometry: InnerProduct, dtype: VectorDType, length: float, device: str
) -> None:
    rng = np.random.default_rng(7)
    drawn = rng.standard_normal((1500, 24))
    drawn *= length * rng.uniform(0.97, 1, (1500, 1)) / np.linalg.norm(drawn, axis=1, keepdims=True)
    held = drawn.astype(np.float32)
    shard = keyed(geometry, geometry.documents(held[:1400], dtype))
    queries = in_float32(geometry.queries(held[1400:1430], dtype))
    assert found_by(shard, queries, 20, device) == best_by_score(shard, queries, 20)


@settings(max_examples=200)
@pytest.mark.parametrize("device", DEVICES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.sampled_from([80, 300]), count=st.integers(1, 40))
@pytest.mark.parametrize(("geometry", "close"), [(Euclidean(), (-5000.0, 2.0**-23)), (Poincare(), (-1e30, 2.0**-20))])
def test_products_that_differ_and_have_one_score_are_cut_by_key(
    geometry: InnerProduct, close: tuple[float, float], device: str, seed: int, rows: int, count: int
) -> None:
    """Documents whose products with the query (1, 0) are so close that scores in float32 hardly tell them apart."""
    products = (close[0] * (1 + close[1] * np.random.default_rng(seed).integers(0, 50, rows))).astype(np.float32)
    shard = keyed(geometry, np.column_stack([products, np.ones(rows)]).astype(np.float32), seed % 100)
    query, scores = np.array([[1, 0]], np.float32), geometry.scores(products)
    assert len(np.unique(scores)) < len(np.unique(products))
    best = set(shard.doc_key[np.lexsort((shard.doc_key, -scores))[:count]].tolist())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_k_module, "A_FEW", 0)
        patch.setattr(top_k_module, "HELD_AT_MOST", 1)
        assert found_by(shard, query, count, device) == [best]
        kept: set[int] = set()
        for half in np.array_split(np.arange(rows), 2):
            piece = shard_of(shard.vectors[half], shard.doc_key[half], shard.doc_key[half])
            kept |= found_by(replace(piece, geometry=geometry), query, count, device)[0]
    assert best <= kept


def test_an_index_of_hyperbolic_points_finds_the_nearest_of_the_ball() -> None:
    """In 8 dimensions: exact search ranks as a brute force in float64 does, and an IVF index finds nearly all of it."""
    geometry = Poincare()
    held, asked = points(geometry, 8, 6000, 8, 0.98), points(geometry, 9, 50, 8, 0.98)
    documents, queries = geometry.documents(held, "float32"), in_float32(geometry.queries(asked, "float32"))
    codes = codes_of(train(IndexChoice(factory="IVF32,Flat", train_rows=0, why=""), documents), [documents])
    shard = replace(keyed(geometry, documents, codes=codes), doc_key=np.arange(6000))
    wanted = np.full(50, 50)
    exact = -distances(geometry, asked, held)
    query, row = nearest_exact(shard, queries, wanted)
    scores = geometry.scores(products(queries, documents))
    assert np.abs(scores - exact).max() < 2e-3
    for one in range(50):
        cut = np.partition(exact[one], -50)[-50]
        here = row[query == one]
        assert (exact[one, here] >= cut - 2e-3).all()
        assert set(np.flatnonzero(exact[one] > cut + 2e-3).tolist()) <= set(here.tolist())
        ranked = exact[one, here[np.argsort(-scores[one, here])]]
        assert (np.diff(ranked) <= 2e-3).all()
    by_codes = nearest(shard, queries, wanted, OperatingPoint(nprobe=16, refine_factor=1))
    recall = len(np.intersect1d(query * 6000 + row, by_codes[0] * 6000 + by_codes[1])) / len(row)
    assert recall > 0.95
