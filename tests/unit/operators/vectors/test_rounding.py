"""No product errs by more than its bound: vectors made to err most, and those that a search for worse ones finds."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from operators.vectors.blocks import Bfloat16Blocks, Float32Blocks
from operators.vectors.nearest import nearest_exact
from operators.vectors.rounding import in_bfloat16, lengths_of
from operators.vectors.shard import Shard
from operators.vectors.similarity import score_pairs
from operators.vectors.top_k import Pairs, TopK
from tests.unit.operators.tables import shard_of

Matrix = npt.NDArray[np.float32]

DIMENSIONS = [1, 2, 7, 64, 778, 4096]
# Both lie in the middle between two numbers of bfloat16; the first is rounded down, the second up.
DOWN, UP = 1 + 2.0**-8, 1 + 3 * 2.0**-8


def shard_with(vectors: Any) -> Shard:  # noqa: ANN401
    keys = np.arange(len(vectors))
    return shard_of(vectors, keys, keys)


def all_pairs(queries: Matrix, shard: Shard, device: str) -> Pairs:
    """The bounds of all scores: as many rows are wanted as there are."""
    best = TopK(queries, shard, np.full(len(queries), len(shard.doc_key)))
    multiply = Float32Blocks(queries, shard, best) if device == "cpu" else Bfloat16Blocks(device, queries, shard, best)
    multiply(0, len(shard.doc_key))
    parts = [best.held, *best.pending]
    return Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("query", "row", "low", "high")))


def share_of_bound(queries: Matrix, shard: Shard, device: str) -> npt.NDArray[np.float64]:
    """How much of its bound the error of each product is, of shape (queries, rows): above 1 it does not hold."""
    pairs = all_pairs(queries, shard, device)
    assert len(pairs.query) == len(queries) * len(shard.doc_key)
    exact = np.einsum("ij,ij->i", queries[pairs.query].astype(float), shard.vectors[pairs.row].astype(float))
    scores = score_pairs(queries, pairs.query, shard.vectors, pairs.row)
    share = np.zeros((len(queries), len(shard.doc_key)))
    bounded = np.isfinite(pairs.low)  # what may overflow has no bound, and is scored in any case
    low, high = (np.where(bounded, side, 0).astype(float) for side in (pairs.low, pairs.high))
    middle, half = (low + high) / 2, (high - low) / 2
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.maximum(np.abs(scores - middle), np.abs(exact - middle))
    some = bounded & (off > 0)
    share[pairs.query[some], pairs.row[some]] = off[some] / np.maximum(half[some], 1e-300)
    return share


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_errors_that_all_add_up_stay_within_the_bound(dimension: int, device: str) -> None:
    rng = np.random.default_rng(dimension)
    values: Any = rng.choice([DOWN, UP, 1.0, -DOWN, 65504.0, 2.0**-20, 0.0], (40, dimension))
    values[:4] = np.array([DOWN, UP, -DOWN, -UP])[:, None]
    shard = shard_with(np.concatenate([values, rng.standard_normal((40, dimension))]).astype(np.float16))
    assert share_of_bound(shard.vectors.astype(np.float32), shard, device).max() <= 1


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_search_for_worse_vectors_finds_none_that_break_the_bound(dimension: int) -> None:
    """Hill climbing: the pair that uses most of its bound is kept, and changed in many ways, for sixty rounds."""
    rng = np.random.default_rng(dimension)
    query, document = np.full((2, 1, dimension), DOWN, np.float32)
    worst = 0.0
    for _ in range(60):
        queries, documents = (changed(one, rng) for one in (query, document))
        share = share_of_bound(queries, shard_with(documents), "cpu:0")
        at = np.unravel_index(np.argmax(share), share.shape)
        query, document, worst = queries[at[0]][None], documents[at[1]][None], max(worst, float(share.max()))
    assert 0.3 < worst <= 1  # a bound that is never nearly reached would be too wide


def changed(vector: Matrix, rng: np.random.Generator) -> Matrix:
    """The vector, and 15 with some of its values changed: to others, to what is rounded most, in size or in sign."""
    many = np.repeat(vector, 16, axis=0)
    some = rng.random(many.shape) < rng.choice([0.02, 0.2, 1.0], (16, 1))
    size = 2.0 ** rng.integers(-6, 7, many.shape)
    other = rng.choice([DOWN, UP, -DOWN, -UP, 1.0, 1.99], many.shape) * size
    other = np.where(rng.random((16, 1)) < 0.3, rng.standard_normal(many.shape), other)
    some[0] = False
    return np.asarray(np.where(some, other, many), dtype=np.float32)


@given(
    arrays.arrays(np.float32, (6, 3), elements=st.floats(-(2.0**60), 2.0**60, width=32)),
    arrays.arrays(np.float32, (9, 3), elements=st.floats(-(2.0**60), 2.0**60, width=32)),
)
def test_the_bound_holds_for_any_values(queries: Matrix, documents: Matrix) -> None:
    """Smallest and largest values side by side; what float32 itself loses below 2**-126 is allowed for."""
    for device in ("cpu", "cpu:0"):
        assert share_of_bound(queries, shard_with(documents), device).max() <= 1


@pytest.mark.parametrize("dimension", [64, 778, 2048])
@pytest.mark.parametrize("length", [1.0, 0.01, 300.0])
def test_the_true_best_is_found_behind_many_that_are_rounded_up(dimension: int, length: float) -> None:
    """The best is rounded down with its part of the query, and hundreds that score a little less are rounded up."""
    half = dimension // 2
    fewer = int(half * (DOWN / UP) ** 2 - 1e-9)
    query = np.concatenate([np.full(half, DOWN), np.full(half, UP)])[None].astype(np.float32)
    documents = np.zeros((600, dimension), np.float16)
    documents[:, half : half + fewer] = UP
    documents[411] = np.concatenate([np.full(half, DOWN), np.zeros(half)])
    scores = documents.astype(float) @ query[0]
    assert np.argmax(scores) == 411
    shard = shard_with(documents.astype(np.float32) * np.float32(length))
    _, row = nearest_exact(shard, query, np.array([1]), "cpu:0", 100)
    assert row.tolist() == [411]


@given(arrays.arrays(np.float32, (5, 4), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_lengths_are_not_below_the_true_ones_and_rounding_is_that_of_torch(values: Matrix) -> None:
    import torch

    rounded = torch.from_numpy(values).bfloat16().float().numpy()
    assert np.array_equal(in_bfloat16(values), rounded)
    true = [np.linalg.norm(side.astype(float), axis=1) for side in (values, values.astype(float) - rounded)]
    lengths = lengths_of(values).astype(float)
    assert (lengths >= np.stack(true) * (1 - 1e-15)).all()
    assert (lengths <= np.stack(true) * (1 + 1e-6) + 1e-44).all()
