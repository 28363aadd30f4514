"""Tune the search: compare operating points with exact search on a sample of queries, and take the cheapest that does.

A quarter of the sample tells which operating points find more than every cheaper one. The rest tests these, from the
one that finds most downwards, until one does not reach the target with 95 % certainty; the last that did is taken. The
order of the tests does not depend on what is tested with, so all of them together err in at most 5 % of samples (fixed
sequence testing; Angelopoulos et al., "Learn then Test", Annals of Applied Statistics 19(2), 2025, section 4.1). A
sample that is all queries leaves nothing uncertain: then all of it chooses and measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.schemas import concat, to_numpy
from operators.segments import rank_within, starts_of
from operators.vectors.certainty import is_above, lower_bound
from operators.vectors.costs import COSTS, DIMENSION
from operators.vectors.nearest import OperatingPoint, depth_for, nearest_exact, set_nprobe
from operators.vectors.order import argsort_ranked
from operators.vectors.search import SearchConfig
from operators.vectors.shard import Shard
from operators.vectors.similarity import score_pairs

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

Tried = tuple[
    float, OperatingPoint, npt.NDArray[np.float64]
]  # what an operating point costs, and the recall of each query

SAMPLE = 512
WATCHED = 4  # one in so many of the sample chooses what is tested with the others
SEED = 7  # of the random order in which the queries of a sample are looked at
PROPOSED_AT_ONCE = 2**21
NPROBES = (1, 4, 8, 16, 32, 64, 128, 256)
REFINE_FACTORS = (1, 2, 4, 8, 16)
# Where the target is missed, exact search may take this many times the work of the best operating point.
EXACT_AT_MOST = 100

TRIALS = pa.schema(
    {
        "query": pa.int32(),  # number in the sample
        "score": pa.float32(),  # of one of the nearest documents in this shard, by exact search
        "doc_key": pa.int64(),
        "place": pa.list_(pa.int32()),  # where the codes propose it, for each nprobe that was tried; -1 for nowhere
    }
)


@dataclass(frozen=True)
class Tuned:
    """The operating point that was chosen.

    Attributes:
        point: for every shard.
        k: how many nearest documents are meant.
        recall: of the `k` nearest documents, measured on those of the sample that did not choose; 1 for exact search.
        below: the recall that is reached with 95 % certainty: the target where it was reached by a choice.
        queries: in the sample.
        why: in words.
        reached: whether `below` is at least the target.
    """

    point: OperatingPoint
    k: int
    recall: float
    below: float
    queries: int
    why: str
    reached: bool


def nprobes_to_try(config: SearchConfig, shard_lists: int) -> list[int]:
    """Return the values of nprobe to try: the one that is set, or steps up to all lists."""
    if not shard_lists:
        return [0]
    if config.nprobe != "auto":
        return [min(config.nprobe, shard_lists)]
    return [nprobe for nprobe in NPROBES if nprobe <= shard_lists]


def refine_factors_to_try(config: SearchConfig) -> list[int]:
    """Return the refine factors to try: the one that is set, or steps."""
    return list(REFINE_FACTORS) if config.refine_factor == "auto" else [config.refine_factor]


def probe(shard: Shard, queries: Matrix, config: SearchConfig) -> tuple[pa.Table, list[int]]:
    """Search a shard exactly and by its codes: the places (schema TRIALS), and the codes scanned at each nprobe.

    Args:
        shard: with codes.
        queries: the sample, float32 of shape (queries, dimension).
        config: what is set and what is to be tuned.
    """
    rows_in_shard = len(shard.doc_key)
    query, row = nearest_exact(shard, queries, np.full(len(queries), config.k))
    true = row.reshape(len(queries), -1)
    proposed = min(depth_for(config.k) * max(refine_factors_to_try(config)), rows_in_shard)
    places, scanned = [], []
    for nprobe in nprobes_to_try(config, 0 if shard.inverted is None else shard.inverted.nlist):
        set_nprobe(shard, nprobe)
        places.append(_proposed_at(shard, queries, true, proposed))
        scanned.append(_scanned(shard, queries, nprobe))
    lists = pa.ListArray.from_arrays(
        pa.array(np.arange(len(query) + 1, dtype=np.int32) * len(places)),
        pa.array(np.stack(places, axis=1).ravel().astype(np.int32)),
    )
    score = shard.geometry.scores(score_pairs(queries, query, shard.vectors, row))
    columns = [query.astype(np.int32), score, shard.doc_key[row], lists]
    return pa.table(columns, schema=TRIALS), scanned


def _proposed_at(shard: Shard, queries: Matrix, true: Ints, proposed: int) -> Ints:
    """Return the place of each true row among those that the codes propose for its query, flat."""
    if not proposed:
        return np.zeros(0, dtype=np.int64)
    codes: Any = shard.codes
    size = max(PROPOSED_AT_ONCE // proposed, 1)
    parts = [slice(start, start + size) for start in range(0, len(queries), size)]
    found = [_places(true[part], np.asarray(codes.search(queries[part], proposed)[1])) for part in parts]
    return np.concatenate(found)


def _places(true: Ints, found: Ints) -> Ints:
    """Return where each true row stands among those found for its query, -1 where it does not, flat."""
    width = int(max(true.max(initial=0), found.max(initial=0))) + 1
    owner = np.arange(len(true))[:, None] * width
    is_row = (found >= 0).ravel()
    keys, place = (owner + found).ravel()[is_row], np.tile(np.arange(found.shape[1]), len(found))[is_row]
    order = np.argsort(keys, kind="stable")
    wanted = (owner + true).ravel()
    at = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    return np.where(keys[order[at]] == wanted, place[order[at]], -1) if len(keys) else np.full(len(wanted), -1)


def _scanned(shard: Shard, queries: Matrix, nprobe: int) -> int:
    inverted = shard.inverted
    if inverted is None:
        return len(queries) * len(shard.doc_key)
    before = queries if shard.codes is inverted else _transformed(shard.codes, queries)
    lists = np.asarray(inverted.quantizer.search(before, max(nprobe, 1))[1])
    sizes = np.array([inverted.invlists.list_size(i) for i in range(inverted.nlist)])
    return int(sizes[lists[lists >= 0]].sum())


def _transformed(codes: Any, queries: Matrix) -> Matrix:  # noqa: ANN401 - faiss is untyped
    chain: Any = faiss.downcast_index(codes)
    if isinstance(chain, faiss.IndexPreTransform):
        transforms: Any = chain.chain
        for number in range(transforms.size()):
            queries = transforms.at(number).apply(queries)
    return queries


def tune(
    config: SearchConfig, trials: Sequence[pa.Table], scanned: Sequence[Sequence[int]], space: "ParameterSpace"
) -> Tuned:
    """Choose the cheapest operating point whose recall reaches the target, or the best there is.

    Args:
        config: the target, and what is set.
        trials: of every shard (schema TRIALS), of one sample.
        scanned: codes scanned in every shard, for every nprobe.
        space: what was tried, and on how much.
    """
    table = concat(trials, TRIALS)
    query, place = to_numpy(table, "query").astype(np.int64), _matrix(table)
    order = argsort_ranked(query, to_numpy(table, "score"), to_numpy(table, "doc_key"))
    kept = order[rank_within(query[order]) < config.k]
    query, place = query[kept], place[kept]
    starts = starts_of(query)
    counts = np.diff(np.append(starts, len(query)))
    codes = np.sum(np.asarray(scanned, dtype=np.float64), axis=0) / space.queries
    exact_cost = COSTS.compare * space.documents * space.dimension / DIMENSION
    tried = []
    for at, nprobe in enumerate(space.nprobes):
        for refine in space.refine_factors:
            hit = (place[:, at] >= 0) & (place[:, at] < refine * space.depth)
            recalls = np.add.reduceat(hit, starts) / counts
            cost = _cost(space, nprobe, float(codes[at]), refine)
            tried.append((cost, OperatingPoint(nprobe, refine), recalls))
    return choose_operating_point(config, tried, exact_cost, space)


@dataclass(frozen=True)
class ParameterSpace:
    """What was tried: which operating points, how deep, and over how much."""

    nprobes: Sequence[int]
    refine_factors: Sequence[int]
    depth: int
    queries: int
    population: int  # of queries, of which `queries` are a random sample
    documents: int
    shards: int
    dimension: int


def _matrix(table: pa.Table) -> npt.NDArray[np.int32]:
    flat = table.column("place").combine_chunks().flatten().to_numpy()
    return np.asarray(flat).reshape(table.num_rows, -1)


def _cost(space: ParameterSpace, nprobe: int, codes: float, refine: int) -> float:
    refined = space.shards * refine * space.depth
    by_dimension = (codes * COSTS.scan_code + refined * COSTS.refine) * space.dimension / DIMENSION
    return space.shards * nprobe * COSTS.visit_list + by_dimension


def choose_operating_point(
    config: SearchConfig, tried: Sequence[Tried], exact_cost: float, space: ParameterSpace
) -> Tuned:
    """Choose among operating points whose recalls of each query in the sample are known, shape (queries,) each."""
    points, watched = _worth_testing(tried, space)
    tested = points[0]
    reached = False
    for one in points:
        if not is_above(one[2], watched, space.population, config.recall_target):
            break
        tested, reached = one, True
    cost, point, recalls = tested
    recall = float(recalls[watched:].mean()) if len(recalls) < space.population else float(recalls.mean())
    below = lower_bound(recalls, watched, space.population)
    if reached and len(points) > 1 and len(recalls) < space.population:
        below = config.recall_target  # what the tests are certain of; a bound of the chosen one alone would say more
    tuned = config.nprobe == "auto" and config.refine_factor == "auto"
    exact = Tuned(OperatingPoint(exact=True), config.k, 1.0, 1.0, space.queries, "", reached=True)
    if reached and (cost < exact_cost or not tuned):
        saved = f"about {exact_cost / cost:.1f} times less work than exact search"
        why = f"the cheapest of {len(tried)} operating points, {saved}"
        return Tuned(point, config.k, recall, below, space.queries, why, reached=True)
    if reached:
        less = f"comparing every vector is less work than what reaches recall {config.recall_target} by the codes"
        return replace(exact, why=less)
    if tuned and exact_cost <= EXACT_AT_MOST * cost:
        return replace(
            exact, why=f"of the codes no more than recall {below:.3f} is certain, so every vector is compared"
        )
    what_would = "`index: exact`, codes that keep more (SQ8), a larger search.nprobe and search.refine_factor (or auto)"
    why = f"the target of {config.recall_target} is not certain; what would reach it: {what_would}, or a lower target"
    return Tuned(point, config.k, recall, below, space.queries, why, reached=False)


def _worth_testing(tried: Sequence[Tried], space: ParameterSpace) -> tuple[list[Tried], int]:
    """Return the operating points that find more than every cheaper one, the one that finds most first, and who looked.

    The recalls of each are in the random order in which they are tested; the first ones, as many as are returned,
    chose. Of a sample of all queries, all choose.
    """
    order = np.random.default_rng(SEED).permutation(space.queries)
    watched = space.queries // WATCHED if space.queries < space.population else space.queries
    kept: list[Tried] = []
    most = -1.0
    for cost, point, recalls in sorted(tried, key=lambda one: one[0]):
        recall = float(recalls[order[: max(watched, 1)]].mean())
        if recall > most:
            kept.append((cost, point, recalls[order]))
            most = recall
    return kept[::-1], watched
