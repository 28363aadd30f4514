"""The recall that tuning states is the recall of a search, with the stated confidence."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from operators.vectors import tune as tune_module
from operators.vectors.costs import COSTS
from operators.vectors.index import IndexChoice, train
from operators.vectors.nearest import OperatingPoint, depth_for, nearest
from operators.vectors.search import SearchConfig
from operators.vectors.shard import Shard
from operators.vectors.tune import (
    NPROBES,
    REFINE_FACTORS,
    SAMPLE,
    ParameterSpace,
    Tried,
    Tuned,
    choose_operating_point,
    nprobes_to_try,
    probe,
    refine_factors_to_try,
    tune,
)
from tests.unit.operators.tables import codes_of, shard_of

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
        shard_of(vectors[rows], keys[rows], keys[rows], codes_of(trained, [vectors[rows]]))
        for rows in np.array_split(keys, 2)
    ]


@pytest.fixture(scope="module")
def queries() -> Matrix:
    return clustered(60, 2)


@pytest.fixture
def codes_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were a thousand times as many documents to compare."""
    monkeypatch.setattr(tune_module, "COSTS", replace(COSTS, compare=1000 * COSTS.compare))


def tuned(shards: list[Shard], queries: Matrix, config: SearchConfig, population: int | None = None) -> Tuned:
    tried = [probe(shard, queries, config) for shard in shards]
    lists = 0 if shards[0].inverted is None else shards[0].inverted.nlist
    space = ParameterSpace(
        nprobes=nprobes_to_try(config, lists),
        refine_factors=refine_factors_to_try(config),
        depth=depth_for(config.k),
        queries=len(queries),
        population=population or len(queries),
        documents=ROWS,
        shards=len(shards),
        dimension=DIMENSION,
    )
    return tune(config, [table for table, _ in tried], [scanned for _, scanned in tried], space)


def recall_of(shards: list[Shard], queries: Matrix, k: int, point: OperatingPoint) -> float:
    """The recall of a real search of all shards, against all documents compared."""
    vectors = np.concatenate([shard.vectors for shard in shards]).astype(np.float32)
    best = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :k]
    hits = np.zeros(len(queries))
    for shard in shards:
        query, row = nearest(shard, queries, np.full(len(queries), k), point)
        hits += np.bincount(query, (best[query] == shard.doc_key[row][:, None]).any(axis=1), len(queries))
    return float(np.mean(hits / k))


@pytest.mark.parametrize(("nprobe", "refine_factor"), [(1, 1), (1, 4), (4, 1), (4, 4), (32, 2)])
def test_the_stated_recall_is_the_recall_of_a_search(
    shards: list[Shard], queries: Matrix, nprobe: int, refine_factor: int
) -> None:
    config = SearchConfig(k=20, nprobe=nprobe, refine_factor=refine_factor)
    result = tuned(shards, queries, config)
    assert result.point.refine_factor == refine_factor
    assert result.recall == pytest.approx(recall_of(shards, queries, 20, result.point), abs=0.004)  # ties aside


def test_the_chosen_operating_point_reaches_the_target_for_all_queries(shards: list[Shard], codes_pay: None) -> None:
    everyone = clustered(3000, 2)
    sample = everyone[np.random.default_rng(0).permutation(3000)[:SAMPLE]]
    result = tuned(shards, sample, SearchConfig(k=20, recall_target=0.8), population=3000)
    assert result.reached
    assert not result.point.exact
    assert result.below == 0.8
    true = recall_of(shards, everyone, 20, result.point)
    assert 0.8 <= true < 1
    assert abs(result.recall - true) < 0.02


def test_no_operating_point_with_less_effort_reaches_the_target(
    shards: list[Shard], queries: Matrix, codes_pay: None
) -> None:
    result = tuned(shards, queries, SearchConfig(k=20, recall_target=0.99))
    assert result.reached
    assert not result.point.exact
    chosen = {"nprobe": max(result.point.nprobe, 1), "refine_factor": result.point.refine_factor}
    less = [
        {**chosen, name: max(value for value in tried if value < chosen[name])}
        for name, tried in (("nprobe", NPROBES), ("refine_factor", REFINE_FACTORS))
        if chosen[name] > tried[0]
    ]
    assert less
    for one in less:
        assert not tuned(shards, queries, SearchConfig(k=20, recall_target=0.99, **one)).reached


def test_a_deeper_search_is_tuned_for_its_own_depth(shards: list[Shard], queries: Matrix, codes_pay: None) -> None:
    if shards[0].inverted is None:
        pytest.skip("without lists, every depth compares all codes")
    shallow, deep = (tuned(shards, queries, SearchConfig(k=k, recall_target=0.95)) for k in (10, 400))
    assert deep.k == 400
    assert recall_of(shards, queries, 400, deep.point) >= 0.95 > recall_of(shards, queries, 400, shallow.point)


def test_a_target_out_of_reach_names_values_that_would_reach_it(shards: list[Shard], queries: Matrix) -> None:
    result = tuned(shards, queries, SearchConfig(k=20, nprobe=1, refine_factor=1, recall_target=0.999))
    assert not result.reached
    assert not result.point.exact
    assert "what would" in result.why


def test_codes_that_cannot_reach_the_target_are_left_aside(shards: list[Shard], queries: Matrix) -> None:
    result = tuned(shards, queries, SearchConfig(k=20, recall_target=1.0))
    assert result.reached
    assert result.recall == 1


def recalls_of_efforts(rng: np.random.Generator, means: list[float], queries: int) -> list[npt.NDArray[np.float64]]:
    """Recalls as searches have them: mostly 1, many a little less, some of .3; those of a query go together."""
    hard = rng.random(queries)
    return [
        np.select([hard < share / 4, hard < share, hard < 3 * share], [0.3, 0.7, 0.9], 1.0)
        for share in ((1 - mean) / 0.575 for mean in means)  # .25 * .7 + .75 * .3 + 2 * .1 = .6, less what is cut off
    ]


@pytest.mark.parametrize("population", [600, 3000, 50_000])
@pytest.mark.parametrize("means", [[0.949], [0.9, 0.93, 0.945, 0.949, 0.951, 0.953, 0.96, 0.97, 0.98], [0.999, 0.9999]])
def test_no_more_than_one_in_twenty_statements_of_recall_is_wrong(means: list[float], population: int) -> None:
    """Whatever was chosen, its recall over all queries is not below what is stated, in 95 % of 2,000 samples."""
    rng = np.random.default_rng(population)
    everyone = recalls_of_efforts(rng, means, population)
    config = SearchConfig(recall_target=0.95)
    space = ParameterSpace([], [], 0, SAMPLE, population, 0, 0, 0)
    true = {OperatingPoint(nprobe=i): float(recalls.mean()) for i, recalls in enumerate(everyone)}
    wrong, trials = 0, 2000
    for _ in range(trials):
        sample = rng.choice(population, SAMPLE, replace=False)
        tried: list[Tried] = [(i + 1.0, OperatingPoint(nprobe=i), one[sample]) for i, one in enumerate(everyone)]
        result = choose_operating_point(config, tried, 1e9, space)
        wrong += not result.point.exact and true[result.point] < result.below - 1e-9
    assert wrong / trials <= 0.05
