"""What tuning says of an effort is what a search with that effort finds."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from operators.vectors.index import IndexChoice, build_codes, train
from operators.vectors.nearest import Effort, nearest
from operators.vectors.search import SearchConfig, depth_for
from operators.vectors.shard import Shard
from operators.vectors.tune import Space, Tuned, nprobes_to_try, refine_factors_to_try, trial, tune
from tests.unit.operators.tables import shard_of

Matrix = npt.NDArray[np.float32]
DIMENSION = 32
ROWS = 4000


def clustered(rows: int, seed: int) -> Matrix:
    centres = np.random.default_rng(0).standard_normal((40, DIMENSION))
    rng = np.random.default_rng(seed)
    points = centres[rng.integers(0, 40, rows)] + 0.6 * rng.standard_normal((rows, DIMENSION))
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module", params=["IVF32,PQ16x4fs", "IVF32,SQ8", "PQ16x4", "PCAR32,IVF32,PQ16x4"])
def shards(request: pytest.FixtureRequest) -> list[Shard]:
    vectors = clustered(ROWS, 1)
    trained = train(IndexChoice(factory=request.param, train_rows=0, why=""), vectors)
    keys = np.arange(ROWS)
    return [
        shard_of(vectors[rows], keys[rows], keys[rows], build_codes(trained, [vectors[rows]]))
        for rows in np.array_split(keys, 2)
    ]


@pytest.fixture(scope="module")
def queries() -> Matrix:
    return clustered(60, 2)


def tuned(shards: list[Shard], queries: Matrix, config: SearchConfig) -> Tuned:
    tried = [trial(shard, queries, config) for shard in shards]
    lists = 0 if shards[0].inverted is None else shards[0].inverted.nlist
    space = Space(
        nprobes=nprobes_to_try(config, lists),
        refine_factors=refine_factors_to_try(config),
        depth=depth_for(config.k),
        queries=len(queries),
        documents=ROWS,
        shards=len(shards),
        dimension=DIMENSION,
    )
    return tune(config, [table for table, _ in tried], [scanned for _, scanned in tried], space)


def recall_of(shards: list[Shard], queries: Matrix, k: int, effort: Effort) -> float:
    """The recall of a real search of all shards, against all documents compared."""
    vectors = np.concatenate([shard.vectors for shard in shards]).astype(np.float32)
    best = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :k]
    depth = depth_for(k)
    found = [shard.doc_key[nearest(shard, queries, depth, effort)] for shard in shards]
    hits = [len(set(one.tolist()) & {int(key) for rows in found for key in rows[i]}) / k for i, one in enumerate(best)]
    return float(np.mean(hits))


@pytest.mark.parametrize(("nprobe", "refine_factor"), [(1, 1), (1, 4), (4, 1), (4, 4), (32, 2)])
def test_the_recall_that_is_told_is_the_one_that_a_search_has(
    shards: list[Shard], queries: Matrix, nprobe: int, refine_factor: int
) -> None:
    config = SearchConfig(k=20, nprobe=nprobe, refine_factor=refine_factor)
    told = tuned(shards, queries, config)
    assert told.effort.refine_factor == refine_factor
    assert told.recall == pytest.approx(recall_of(shards, queries, 20, told.effort), abs=0.004)  # ties aside


def test_the_effort_that_is_chosen_reaches_the_target_and_no_cheaper_one_does(
    shards: list[Shard], queries: Matrix
) -> None:
    config = SearchConfig(k=20, recall_target=0.9)
    told = tuned(shards, queries, config)
    assert told.reached
    if told.effort.exact:
        assert told.recall == 1
        return
    assert recall_of(shards, queries, 20, told.effort) >= 0.9
    less: dict[str, Any] = {"nprobe": max(told.effort.nprobe // 2, 1), "refine_factor": told.effort.refine_factor}
    if told.effort.nprobe > 1:
        assert tuned(shards, queries, SearchConfig(k=20, recall_target=0.9, **less)).below < 0.9


def test_a_target_that_set_values_do_not_reach_is_told_with_what_would(shards: list[Shard], queries: Matrix) -> None:
    told = tuned(shards, queries, SearchConfig(k=20, nprobe=1, refine_factor=1, recall_target=0.999))
    assert not told.reached
    assert not told.effort.exact
    assert "what would" in told.why


def test_codes_that_cannot_reach_the_target_are_left_aside(shards: list[Shard], queries: Matrix) -> None:
    told = tuned(shards, queries, SearchConfig(k=20, recall_target=1.0))
    assert told.reached
    assert told.recall == 1
