"""Maximal marginal relevance: against the textbook, one candidate at a time, and exact whatever the batch."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.candidates.config import SelectConfig
from operators.candidates.draws import diverse
from operators.candidates.draws.diverse import Diverse, on_grid
from operators.candidates.filter import Filter, Mask
from operators.candidates.pairs import Pairs, pairs_of, with_vectors
from operators.candidates.select import Select
from operators.schemas import POSITIVE_DOCUMENT, vectors_column
from tests.unit.operators.tables import candidates, positives, priority_of

HERE = "tests.unit.operators.candidates.test_diverse"
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Near(Filter):
    """A filter that would read vectors."""

    reason = "near"
    needs = ("vector",)

    def drops(self, pairs: Pairs) -> Mask:
        return np.zeros(len(pairs), dtype=np.bool_)


def directions(rng: np.random.Generator, count: int, dimension: int) -> npt.NDArray[np.float32]:
    """Vectors of length 1; few, so that they are near one another, and some are copies or opposites."""
    vectors = rng.standard_normal((count, dimension)) * 0.3 + rng.standard_normal(dimension)
    vectors[rng.integers(count, size=count // 3)] = vectors[0]
    vectors[rng.integers(count, size=count // 8)] *= -1
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def pairs_with(lengths: list[int], vectors: npt.NDArray[Any], seed: int, *, ties: bool = True) -> Pairs:
    """Rows of these lengths; their documents are drawn from all, and scores are repeated."""
    rng = np.random.default_rng(seed)
    row = np.repeat(np.arange(len(lengths)), lengths)
    score = rng.uniform(-1, 1, len(row)).astype(np.float32)
    score = np.round(score, 1) if ties else score
    order = np.lexsort((-score, row))
    table = pa.table({"doc_key": rng.integers(len(vectors), size=len(row)), "score": score[order]})
    documents = pa.table({"doc_key": np.arange(len(vectors)), "vector": vectors_column(vectors)})
    judged = pa.table({"doc_key": np.arange(len(lengths))})
    return Pairs(
        row, np.arange(len(row)), with_vectors(table, documents), judged, np.zeros(len(lengths), dtype=np.float32)
    )


def textbook(score: Floats, vectors: npt.NDArray[Any], trade_off: float) -> list[int]:
    """The order in which one row is taken, by the formula, in float64 over whole numbers of 1 / 2048."""
    whole = np.rint(vectors.astype(np.float64) * 2048).astype(np.int64)
    similarity = (whole @ whole.T) / 2048**2
    taken: list[int] = []
    left = list(range(len(score)))
    while left:
        value = {
            one: trade_off * score[one] - (1 - trade_off) * max((similarity[one, other] for other in taken), default=0)
            for one in left
        }
        best = left[0] if not taken else max(left, key=lambda one: value[one])  # of equal ones the first
        taken.append(best)
        left.remove(best)
    return taken


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    lengths=st.lists(st.integers(1, 14), min_size=1, max_size=6),
    trade_off=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.75, 0.999]),
    dimension=st.sampled_from([1, 2, 5, 64]),
    dtype=st.sampled_from([np.float16, np.float32]),
    at_once=st.sampled_from([1, 3_000, 1 << 20]),
    seed=st.integers(0, 10_000),
)
def test_the_order_is_that_of_the_textbook_however_batches_are_cut(
    lengths: list[int], trade_off: float, dimension: int, dtype: type, at_once: int, seed: int
) -> None:
    """Of one byte at a time all rows are long: their similarities are computed for what is taken alone."""
    vectors: npt.NDArray[Any] = directions(np.random.default_rng(seed), 12, dimension).astype(dtype)
    pairs = pairs_with(lengths, vectors, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diverse, "BYTES_AT_ONCE", at_once)
        priority = priority_of(Diverse(strategy="diverse", trade_off=trade_off), pairs)
    score, document = pairs["score"].astype(np.float64), pairs["doc_key"]
    for number in range(len(lengths)):
        here = np.flatnonzero(pairs.row == number)
        expected = textbook(score[here], vectors[document[here]], trade_off)
        assert np.argsort(-priority[here]).tolist() == expected


def test_batches_and_other_rows_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a dimension at which libraries add up in blocks, and windows at which they take other ways."""
    lengths = np.random.default_rng(3).integers(1, 130, 60).tolist()
    pairs = pairs_with(lengths, directions(np.random.default_rng(2), 500, 384), 4, ties=False)
    draw = Diverse(strategy="diverse")
    whole = priority_of(draw, pairs)
    monkeypatch.setattr(diverse, "BYTES_AT_ONCE", 700_000)
    assert np.array_equal(priority_of(draw, pairs), whole)
    monkeypatch.setattr(diverse, "BYTES_AT_ONCE", 1)
    assert np.array_equal(priority_of(draw, pairs), whole)
    alone = np.flatnonzero(pairs.row == 17)
    assert np.array_equal(priority_of(draw, pairs.take(alone)), whole[alone])


@pytest.mark.parametrize("dimension", [3, 384, 4_096])
def test_products_are_exact_in_any_order(dimension: int) -> None:
    """The largest sums are those of a vector with itself, all of whose values are rounded up."""
    rng = np.random.default_rng(0)
    vectors = np.vstack([directions(rng, 50, dimension), np.full((1, dimension), dimension**-0.5, np.float32)])
    grid = on_grid(vectors, np.arange(len(vectors)))
    exact = grid.astype(np.int64) @ grid.astype(np.int64).T
    shuffled = grid[:, rng.permutation(dimension)]
    assert np.array_equal(grid @ grid.T, exact)
    assert np.array_equal(shuffled @ shuffled.T, exact)
    assert np.array_equal(np.cumsum(grid * grid, axis=1, dtype=np.float32)[:, -1], exact.diagonal())
    rounding = (dimension**0.5 + dimension / 4 / 2048) / 2048  # at most, by Cauchy and Schwarz
    assert exact / 2048**2 == pytest.approx(vectors.astype(np.float64) @ vectors.T.astype(np.float64), abs=rounding)


def test_vectors_that_would_not_be_exact_are_refused() -> None:
    for wrong in (np.full((1, 4), 1.0), np.full((1, 4), np.nan)):
        with pytest.raises(ValueError, match="vectors of length 1 are wanted"):
            on_grid(wrong.astype(np.float32), np.array([0]))
    assert on_grid(np.zeros((1, 4), np.float32), np.array([0])).tolist() == [[0.0] * 4]


def selected(vectors: npt.NDArray[np.float32], scores: list[float], **config: Any) -> list[int]:  # noqa: ANN401
    """The places of what is chosen for one row, in the order of the scores."""
    found = [{"query_key": 1, "doc_key": 10 + place, "score": score} for place, score in enumerate(scores)]
    documents = pa.table({"doc_key": 10 + np.arange(len(vectors)), "vector": vectors_column(vectors)})
    table = with_vectors(candidates(found), documents)
    selection = Select(SelectConfig.model_validate(config))(
        table, positives([{"query_key": 1, "doc_key": 9, "score": 1.0}])
    )
    return [row["doc_key"] - 10 for row in selection.negatives.to_pylist()]


def test_of_near_copies_one_is_taken_before_a_second_of_any() -> None:
    """Three groups of three near copies, whose best members score 0.9, 0.8 and 0.7."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.eye(3, 16), 3, axis=0) + rng.normal(0, 0.01, (9, 16))
    vectors = (groups / np.linalg.norm(groups, axis=1, keepdims=True)).astype(np.float32)
    scores = [0.9, 0.89, 0.88, 0.8, 0.79, 0.78, 0.7, 0.69, 0.68]
    assert selected(vectors, scores, sampling_strategy="diverse", num_negatives=3) == [0, 3, 6]
    assert selected(vectors, scores, sampling_strategy="top", num_negatives=3) == [0, 1, 2]
    mostly_score = [{"strategy": "diverse", "trade_off": 0.85, "num_negatives": 3}]
    assert selected(vectors, scores, draws=mostly_score) == [0, 1, 3], "0.606 of a copy is above 0.595 of the last"


@pytest.mark.parametrize("count", [1, 3, 7, 12])
def test_with_a_trade_off_of_1_it_is_top(count: int) -> None:
    vectors = directions(np.random.default_rng(8), 12, 6)
    scores = [0.9, 0.9, 0.8, 0.8, 0.8, 0.5, 0.4, 0.4, 0.1, 0.1, -0.2, -0.3]
    draws = [{"strategy": "diverse", "trade_off": 1.0, "num_negatives": count}]
    assert selected(vectors, scores, draws=draws) == list(range(count))
    assert selected(vectors, scores, draws=[{"strategy": "top", "num_negatives": count}]) == list(range(count))


def test_it_goes_on_in_its_order_where_another_draw_has_taken() -> None:
    """Its order is that of all: what the draw before took is passed over, and still counts as taken."""
    vectors = directions(np.random.default_rng(5), 10, 6)
    scores = np.linspace(0.9, 0.2, 10).tolist()
    whole = np.argsort(textbook(np.array(scores, np.float32).astype(np.float64), vectors, 0.5))  # the turn of each
    draws = [{"strategy": "top", "num_negatives": 2}, {"strategy": "diverse", "num_negatives": 3}]
    wanted = {0, 1, *[one for one in np.argsort(whole).tolist() if one > 1][:3]}
    assert set(selected(vectors, scores, draws=draws)) == wanted


def test_rows_of_one_query_have_their_vectors_in_common_and_positives_have_none() -> None:
    found = [
        {"query_key": q, "doc_key": d, "score": 0.5, "positive_kind": kind}
        for q, d, kind in ((1, 7, 0), (1, 8, 1), (2, 8, 0))
    ]
    documents = pa.table({"doc_key": [8, 7], "vector": vectors_column(np.eye(2, dtype=np.float16))})
    judged = positives([{"query_key": q, "doc_key": d, "score": 1.0} for q, d in ((1, 8), (1, 9), (2, 9))])
    pairs = pairs_of(with_vectors(candidates(found), documents), judged)
    vectors, row = pairs.vectors
    assert vectors.dtype == np.float16
    assert vectors[row].tolist() == [[0, 1], [1, 0], [0, 1], [1, 0], [1, 0]]
    kept = np.flatnonzero(pairs["positive_kind"] != POSITIVE_DOCUMENT)
    without = with_vectors(candidates(found), documents.slice(1))
    assert pairs_of(without.filter(pa.array([True, False, False])), judged).vectors[1].tolist() == [0, 0]
    with pytest.raises(LookupError, match="no vector"):
        _ = pairs_of(without, judged).vectors
    with pytest.raises(LookupError, match="Name 'vector' in `needs`"):
        _ = pairs_of(candidates(found), judged).vectors
    with pytest.raises(LookupError, match="vector"):
        _ = pairs["vector"]
    assert pairs.take(kept).vectors[1].tolist() == [1, 1, 0]


def test_nothing_to_draw_from_is_no_error() -> None:
    documents = pa.table({"doc_key": pa.array([], pa.int64()), "vector": vectors_column(np.zeros((0, 4), np.float32))})
    table = with_vectors(candidates([]), documents)
    for of in (table, table.filter(pa.array([], pa.bool_()))):
        pairs = pairs_of(of, positives([{"query_key": 1, "doc_key": 9, "score": 1.0}]))
        assert len(priority_of(Diverse(strategy="diverse"), pairs)) == 0


def test_it_wants_the_whole_window_and_vectors() -> None:
    config = SelectConfig(sampling_strategy="diverse")
    assert config.reads_vectors
    assert config.needed == 100
    assert not SelectConfig().reads_vectors
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValidationError, match="trade_off"):
            SelectConfig.model_validate({"draws": [{"strategy": "diverse", "trade_off": wrong}]})
    with pytest.raises(ValidationError, match="Near reads 'vector', which is for draws alone"):
        SelectConfig.model_validate({"filters": [f"{HERE}:Near"]})
