"""The choice of an index holds what FAISS needs, and what is built can be searched by row."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from operators.errors import InputError
from operators.schemas import VectorDType
from operators.vectors.factory import EXACT, check_factory
from operators.vectors.index import IndexChoice, IndexConfig, Task, add, begin_flat, choose, empty_flat, save, train
from tests.unit.operators.tables import codes_of

DIMENSION = 16


def vectors(rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(rows).standard_normal((rows, DIMENSION)).astype(np.float32)


def small(documents: int) -> Task:
    return Task(documents, 10, DIMENSION, 1_000_000)


def task(documents: int, queries: int = 10_000, shard_rows: int = 1_000_000) -> Task:
    return Task(documents, queries, 384, shard_rows)


@pytest.mark.parametrize(("documents", "queries"), [(5_183, 807), (27_413, 12_889), (1_000_000, 1_000), (10_000, 1)])
def test_auto_compares_every_document_where_that_is_little_work_and_says_so(documents: int, queries: int) -> None:
    choice = choose(IndexConfig(), task(documents, queries))
    assert choice.factory == EXACT
    assert f"{documents:,} documents" in choice.why


def test_auto_compares_every_document_where_building_an_index_takes_longer() -> None:
    choice = choose(IndexConfig(), task(100_000_000, 500))
    assert choice.factory == EXACT
    assert "building" in choice.why


def test_auto_compares_more_on_a_gpu() -> None:
    asked = task(1_000_000, 100_000)
    assert choose(IndexConfig(), asked).factory != EXACT
    assert choose(IndexConfig(), replace(asked, device="cuda")).factory == EXACT


@pytest.mark.parametrize("documents", [1_000_000, 10_000_000, 1_000_000_000])
def test_auto_divides_a_large_corpus_into_lists_that_faiss_can_train(documents: int) -> None:
    choice = choose(IndexConfig(), task(documents, 100_000))
    index: Any = faiss.index_factory(384, choice.factory, faiss.METRIC_INNER_PRODUCT)
    assert index.nlist == 2048  # of the size of a shard, not of the corpus: a shard is searched by itself
    assert 39 * index.nlist <= choice.train_rows <= documents  # below 39 points a list FAISS warns


@pytest.mark.parametrize(
    ("factory", "needed"),
    [
        ("IVF16,Flat", 16),
        ("IVF16,SQ8", 16),
        ("IVF16_HNSW8,SQ8", 16),
        ("PQ4x4", 16),
        ("IVF8,PQ4x4fs", 16),
        ("IVF24,PQ4x4", 24),
        ("OPQ2,PQ2x4", 256),
    ],
)
def test_as_few_documents_as_can_be_trained_on_are_taken_and_fewer_are_refused(factory: str, needed: int) -> None:
    config = IndexConfig(factory=factory)
    choice = choose(config, small(needed))
    train(choice, vectors(choice.train_rows))
    with pytest.raises(InputError, match=rf"{factory} needs at least {needed} documents .* there are {needed - 1}\."):
        choose(config, small(needed - 1))
    with pytest.raises(RuntimeError, match=f"at least as large as number of clusters .{needed}"):
        faiss.index_factory(DIMENSION, factory, faiss.METRIC_INNER_PRODUCT).train(vectors(needed - 1))


def test_a_training_sample_too_small_for_the_index_is_refused() -> None:
    with pytest.raises(InputError, match=r"index\.train_rows: IVF16,Flat needs at least 16"):
        choose(IndexConfig(factory="IVF16,Flat", train_rows=15), small(1000))
    assert choose(IndexConfig(factory="IVF16,Flat", train_rows=16), small(1000)).train_rows == 16


def test_what_faiss_cannot_train_is_refused_with_the_way_out() -> None:
    choice = IndexChoice(factory="IVF4,RQ4x6", train_rows=0, why="")
    with pytest.raises(InputError, match=r"cannot train 'IVF4,RQ4x6' on 20 vectors .*train_rows"):
        train(choice, vectors(20))


@pytest.mark.parametrize("factory", ["nonsense", "IVF16,PQ7", "IVF16,PQ4+8"])
def test_a_factory_string_that_faiss_cannot_make_is_refused_with_the_way_out(factory: str) -> None:
    with pytest.raises(InputError, match=r"(cannot make|is no factory string) .*Use auto, exact"):
        choose(IndexConfig(factory=factory), small(1000))


def test_a_factory_string_is_checked_before_any_dimension_is_known() -> None:
    for known in ("auto", "exact", "IVF4096,PQ48", "OPQ48,IVF4096,PQ48x4fs", "HNSW32", "PQ97", "IVF16,PQ194x4fs"):
        check_factory(known)
    with pytest.raises(InputError, match="nonsense"):
        check_factory("nonsense")


def test_ids_are_rows_and_building_a_shard_leaves_the_trained_index_empty() -> None:
    trained = train(IndexChoice(factory="IVF4,Flat", train_rows=0, why=""), vectors(200))
    for rows in (50, 30):
        shard = vectors(rows)
        index = codes_of(trained, np.array_split(shard, 3))
        index.nprobe = 4
        assert index.ntotal == rows
        nearest = index.search(shard / np.linalg.norm(shard, axis=1, keepdims=True), rows)[1]
        assert np.array_equal(nearest, np.argsort(-(shard / np.linalg.norm(shard, axis=1)[:, None]) @ shard.T, axis=1))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_a_flat_index_written_in_pieces_is_the_file_that_faiss_writes(
    tmp_path: Path, dtype: VectorDType, rows: int
) -> None:
    values = vectors(rows).astype(dtype)
    index = empty_flat(values.shape[1], dtype)
    add(index, values)
    save(index, tmp_path / "whole.faiss")
    assert begin_flat(values.shape[1], dtype, rows) + values.tobytes() == (tmp_path / "whole.faiss").read_bytes()
