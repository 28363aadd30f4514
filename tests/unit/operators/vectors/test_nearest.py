"""The nearest are those of the highest scores, then of the smallest keys, in blocks of any size, on any device."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.schemas import Vectors
from operators.vectors import blocks as blocks_module
from operators.vectors import top_k as top_k_module
from operators.vectors.index import IndexChoice, train
from operators.vectors.nearest import OperatingPoint, nearest, nearest_exact
from operators.vectors.shard import Shard
from operators.vectors.similarity import score_pairs
from tests.unit.operators.tables import codes_of, shard_of

Ints = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]

DEVICES = ["cpu", "cpu:0"]  # the second goes through torch, as a GPU does


def keyed(vectors: Any, seed: int, codes: Any = None) -> Shard:  # noqa: ANN401
    keys = np.random.default_rng(seed).permutation(len(vectors)).astype(np.int64)
    return shard_of(vectors, keys, keys, codes)


def brute_force(shard: Shard, queries: Matrix, wanted: Ints) -> list[list[int]]:
    """The keys of the best, by every score and then by key."""
    rows = np.arange(len(shard.doc_key))
    best = []
    for query, count in enumerate(wanted):
        score = score_pairs(queries, np.full(len(rows), query), shard.vectors, rows)
        best.append(shard.doc_key[np.lexsort((shard.doc_key, -score))[:count]].tolist())
    return best


def keys_found(shard: Shard, queries: Matrix, found: tuple[Ints, Ints]) -> list[list[int]]:
    """The keys of what was found, ordered as the brute force does it."""
    query, row = found
    score = score_pairs(queries, query, shard.vectors, row)
    order = np.lexsort((shard.doc_key[row], -score, query))
    return [shard.doc_key[row[order][query[order] == i]].tolist() for i in range(len(queries))]


@st.composite
def vectors(draw: st.DrawFn, rows: int, dimension: int, rng: np.random.Generator) -> Vectors:
    """Whole numbers with many equal scores, copies, all equal, of very different lengths, or about equal."""
    kind = draw(st.sampled_from(["whole", "copies", "equal", "lengths", "close", "zero"]))
    precision: type = draw(st.sampled_from([np.float16, np.float32]))
    if kind == "whole":
        return rng.integers(-2, 3, (rows, dimension)).astype(precision)
    few = rng.standard_normal((3, dimension))
    if kind == "copies":
        return few[rng.integers(0, 3, rows)].astype(precision)
    if kind == "equal":
        return np.repeat(few[:1], rows, axis=0).astype(precision)
    if kind == "zero":
        return np.zeros((rows, dimension), precision)
    if kind == "lengths":
        return (rng.standard_normal((rows, dimension)) * 10.0 ** rng.integers(-4, 3, (rows, 1))).astype(precision)
    return (few[:1] * (1 + 1e-3 * rng.standard_normal((rows, dimension)))).astype(precision)


@st.composite
def searches(draw: st.DrawFn) -> tuple[Shard, Matrix, Ints]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, dimension = draw(st.integers(1, 300)), draw(st.sampled_from([1, 2, 3, 8, 33]))
    shard = keyed(draw(vectors(rows, dimension, rng)), draw(st.integers(0, 99)))
    queries = np.asarray(draw(vectors(draw(st.integers(1, 6)), dimension, rng)), dtype=np.float32)
    return shard, queries, rng.integers(1, draw(st.integers(2, 60)), len(queries))


@pytest.mark.parametrize("device", DEVICES)
@given(search=searches(), rows_at_once=st.sampled_from([7, 64, 1000]), held=st.sampled_from([0, 2**16]))
def test_the_nearest_are_those_of_all_compared_whatever_the_block(
    device: str, search: tuple[Shard, Matrix, Ints], rows_at_once: int, held: int
) -> None:
    shard, queries, wanted = search
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_k_module, "A_FEW", held)
        patch.setattr(blocks_module, "PRODUCTS_AT_ONCE", {"cpu": 100, "cuda": 100})
        found = nearest_exact(shard, queries, wanted, device, rows_at_once)
    assert keys_found(shard, queries, found) == brute_force(shard, queries, wanted)


@given(search=searches(), pieces=st.integers(1, 6))
@pytest.mark.parametrize("device", DEVICES)
def test_the_nearest_of_all_shards_are_among_those_of_each(
    device: str, search: tuple[Shard, Matrix, Ints], pieces: int
) -> None:
    shard, queries, wanted = search
    kept: list[set[int]] = [set() for _ in queries]
    for rows in np.array_split(np.arange(len(shard.doc_key)), pieces):
        piece = shard_of(shard.vectors[rows], shard.doc_key[rows], shard.text_key[rows])
        for query, row in zip(*nearest_exact(piece, queries, wanted, device), strict=True):
            kept[query].add(int(piece.doc_key[row]))
    for query, best in enumerate(brute_force(shard, queries, wanted)):
        assert set(best) <= kept[query]


@pytest.mark.parametrize("factory", ["IVF4,SQ8", "PQ4x4", "IVF4,PQ4x4fs", "SQ4"])
@pytest.mark.parametrize("refine_factor", [1, 3, 100])
def test_of_what_codes_propose_the_score_and_then_the_key_decide(factory: str, refine_factor: int) -> None:
    """Hundreds of copies: more equal scores at the cut than FAISS is asked to spare."""
    rng = np.random.default_rng(0)
    held = rng.integers(-3, 4, (12, 16)).astype(np.float32)[rng.integers(0, 12, 900)]
    codes = codes_of(train(IndexChoice(factory=factory, train_rows=0, why=""), held), [held])
    shard, queries = keyed(held, 1, codes), rng.integers(-3, 4, (20, 16)).astype(np.float32)
    wanted = rng.integers(1, 60, 20)
    query, row = nearest(shard, queries, wanted, OperatingPoint(nprobe=4, refine_factor=refine_factor))
    proposed = codes.search(queries, min(96 * refine_factor, 900))[1]  # 59 and a few more, in steps of 32
    for number in range(20):
        rows = proposed[number][proposed[number] >= 0]
        score = score_pairs(queries, np.full(len(rows), number), shard.vectors, rows)
        best = rows[np.lexsort((shard.doc_key[rows], -score))[: wanted[number]]]
        assert set(row[query == number].tolist()) == set(best.tolist())


@pytest.mark.parametrize("device", DEVICES)
def test_a_great_many_equal_scores_take_no_more_memory_than_few(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    most: list[int] = []
    monkeypatch.setattr(top_k_module, "A_FEW", 1000)
    monkeypatch.setattr(blocks_module, "PRODUCTS_AT_ONCE", {"cpu": 10_000, "cuda": 10_000})
    sort = top_k_module.TopK.sort

    def watched(best: top_k_module.TopK) -> None:
        most.append(len(best.held.query) + sum(len(pairs.query) for pairs in best.pending))
        sort(best)

    monkeypatch.setattr(top_k_module.TopK, "sort", watched)
    shard = keyed(np.ones((20_000, 4), np.float16), 0)
    queries, wanted = np.ones((30, 4), np.float32), np.full(30, 10)
    query, row = nearest_exact(shard, queries, wanted, device, 5_000)
    assert shard.doc_key[row].reshape(30, 10).max() == 9
    assert (query == np.repeat(np.arange(30), 10)).all()
    assert max(most) <= 4 * 300 + 1000 + 2 * 10_000


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-30, 1e-20, 1e18, 1e19, 1e20, 1e38])
def test_vectors_whose_products_vanish_or_overflow_are_compared_by_their_scores(device: str, scale: float) -> None:
    rng = np.random.default_rng(1)
    with np.errstate(over="ignore"):
        held = np.clip(rng.standard_normal((300, 5)) * scale, -3e38, 3e38).astype(np.float32)
        queries = np.clip(rng.standard_normal((4, 5)) * min(scale, 1e19), -3e38, 3e38).astype(np.float32)
    shard, wanted = keyed(np.abs(held), 2), np.full(4, 20)
    queries = np.abs(queries)  # so that a score is infinite at worst, and never NaN
    found = nearest_exact(shard, queries, wanted, device, 50)
    assert keys_found(shard, queries, found) == brute_force(shard, queries, wanted)
