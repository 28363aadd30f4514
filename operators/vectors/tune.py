"""Tune the search: try a sample of queries at several efforts against exact search, and take the cheapest that does."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.schemas import concat, numbers
from operators.segments import rank_within, starts_of
from operators.vectors.nearest import Effort, nearest_exact, set_nprobe
from operators.vectors.precision import in_float32
from operators.vectors.search import SearchConfig, depth_for
from operators.vectors.shard import Shard

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

Tried = tuple[float, Effort, npt.NDArray[np.float64]]  # what an effort costs, and the recall of each query

SAMPLE = 128
NPROBES = (1, 4, 8, 16, 32, 64, 128, 256)
REFINE_FACTORS = (1, 2, 4, 8, 16)
# The recall of a sample is only so sure: one-sided, 95 %.
ERRORS_BELOW = 1.645
# What a step costs, in nanoseconds on two cores for 384 dimensions (benchmarks/vectors.md); the ratios count.
COMPARE, VISIT_LIST, SCAN_CODE, REFINE = 4.0, 500.0, 1.5, 60.0
# Exact search as the way out of a missed target may take so many times the work of the best effort.
EXACT_AT_MOST = 100

TRIALS = pa.schema(
    {
        "query": pa.int32(),  # number in the sample
        "score": pa.float32(),  # of one of the nearest documents in this shard, by exact search
        "place": pa.list_(pa.int32()),  # where the codes propose it, for each nprobe that was tried; -1 for nowhere
    }
)


@dataclass(frozen=True)
class Tuned:
    """The effort that was chosen.

    Attributes:
        effort: for every shard.
        recall: of the `k` nearest documents, measured on the sample; 1 for exact search.
        below: the recall that is reached with 95 % certainty, given the size of the sample.
        queries: in the sample.
        why: in words.
        reached: whether `below` is at least the target.
    """

    effort: Effort
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


def trial(shard: Shard, queries: Matrix, config: SearchConfig) -> tuple[pa.Table, list[int]]:
    """Search a shard exactly and by its codes: the places (schema TRIALS), and the codes scanned at each nprobe.

    Args:
        shard: with codes.
        queries: the sample, float32 of shape (queries, dimension).
        config: what is set and what is to be tuned.
    """
    rows_in_shard = len(shard.doc_key)
    depth = min(depth_for(config.k), rows_in_shard)
    true = nearest_exact(queries, shard.vectors, depth)
    query = np.repeat(np.arange(len(queries)), depth)
    proposed = min(depth * max(refine_factors_to_try(config)), rows_in_shard)
    places, scanned = [], []
    codes: Any = shard.codes
    for nprobe in nprobes_to_try(config, 0 if shard.inverted is None else shard.inverted.nlist):
        set_nprobe(shard, nprobe)
        found = np.asarray(codes.search(queries, proposed)[1])
        places.append(_places(true, found))
        scanned.append(_scanned(shard, queries, nprobe))
    lists = pa.ListArray.from_arrays(
        pa.array(np.arange(len(query) + 1, dtype=np.int32) * len(places)),
        pa.array(np.stack(places, axis=1).ravel().astype(np.int32)),
    )
    score = np.einsum("ij,ij->i", queries[query], in_float32(shard.vectors[true.ravel()]))
    return pa.table({"query": query.astype(np.int32), "score": score, "place": lists}, schema=TRIALS), scanned


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


def tune(config: SearchConfig, trials: Sequence[pa.Table], scanned: Sequence[Sequence[int]], space: "Space") -> Tuned:
    """Choose the cheapest effort whose recall reaches the target, or the best there is.

    Args:
        config: the target, and what is set.
        trials: of every shard (schema TRIALS), of one sample.
        scanned: codes scanned in every shard, for every nprobe.
        space: what was tried, and on how much.
    """
    table = concat(trials, TRIALS)
    query, place = numbers(table, "query"), _matrix(table)
    order = np.lexsort((-numbers(table, "score"), query))
    kept = order[rank_within(query[order]) < config.k]
    query, place = query[kept], place[kept]
    starts = starts_of(query)
    counts = np.diff(np.append(starts, len(query)))
    codes = np.sum(np.asarray(scanned, dtype=np.float64), axis=0) / space.queries
    exact_cost = COMPARE * space.documents * space.dimension / 384
    tried = []
    for at, nprobe in enumerate(space.nprobes):
        for refine in space.refine_factors:
            hit = (place[:, at] >= 0) & (place[:, at] < refine * space.depth)
            recalls = np.add.reduceat(hit, starts) / counts
            cost = _cost(space, nprobe, float(codes[at]), refine)
            tried.append((cost, Effort(nprobe, refine), recalls))
    return _cheapest(config, tried, exact_cost, space.queries)


@dataclass(frozen=True)
class Space:
    """What was tried: which efforts, how deep, and over how much."""

    nprobes: Sequence[int]
    refine_factors: Sequence[int]
    depth: int
    queries: int
    documents: int
    shards: int
    dimension: int


def _matrix(table: pa.Table) -> npt.NDArray[np.int32]:
    flat = table.column("place").combine_chunks().flatten().to_numpy()
    return np.asarray(flat).reshape(table.num_rows, -1)


def _cost(space: Space, nprobe: int, codes: float, refine: int) -> float:
    dimensions = space.dimension / 384
    lists = space.shards * nprobe * VISIT_LIST
    return lists + codes * SCAN_CODE * dimensions + space.shards * refine * space.depth * REFINE * dimensions


def _cheapest(config: SearchConfig, tried: Sequence[Tried], exact_cost: float, queries: int) -> Tuned:
    measured = []
    for cost, effort, recalls in tried:
        recall = float(recalls.mean())
        error = float(recalls.std(ddof=1)) / math.sqrt(len(recalls)) if len(recalls) > 1 else 0.0
        measured.append((cost, effort, recall, recall - ERRORS_BELOW * error))
    enough = [one for one in measured if one[3] >= config.recall_target]
    tuned = config.nprobe == "auto" and config.refine_factor == "auto"
    if enough:
        cost, effort, recall, below = min(enough, key=lambda one: one[0])
        if cost < exact_cost or not tuned:
            saved = f"about {exact_cost / cost:.1f} times less work than exact search"
            return Tuned(effort, recall, below, queries, f"the cheapest of {len(tried)} efforts, {saved}", reached=True)
        why = f"comparing every vector is less work than what reaches recall {config.recall_target} by the codes"
        return Tuned(Effort(exact=True), 1.0, 1.0, queries, why, reached=True)
    cost, effort, recall, below = max(measured, key=lambda one: one[2])
    if tuned and exact_cost <= EXACT_AT_MOST * cost:
        why = f"the codes reach recall {recall:.3f} at most, so every vector is compared"
        return Tuned(Effort(exact=True), 1.0, 1.0, queries, why, reached=True)
    what_would = "`index: exact`, codes that keep more (SQ8), a larger search.nprobe and search.refine_factor (or auto)"
    why = f"the target of {config.recall_target} was not reached; what would: {what_would}, or a lower target"
    return Tuned(effort, recall, below, queries, why, reached=False)
