"""Select alone, on one core: candidates per second, in batches as the pipeline hands them over.

`python -m benchmarks.select` writes benchmarks/select.md.
"""

import os
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks import pages

if TYPE_CHECKING:
    import pyarrow as pa

    from operators.candidates.select import Select

    Batch = tuple[pa.Table, pa.Table]

QUERIES_PER_BATCH = 10_000
PASSES = 7
GOAL = 10e6
RELATIVE_MARGIN, MAX_POSITIVE_SIMILARITY = 0.05, 0.8
# The other draws.
GOAL_OF_DRAWS = 1e6
# It compares all candidates of a window with one another: some 77,000 floating-point operations for each.
DIVERSE: dict[str, object] = {"strategy": "diverse"}
GOAL_OF_DIVERSE = 0.5e6
VECTORS = 20_000
SOURCE, DIMENSION = "lexical", 384
DRAWS: tuple[dict[str, object], ...] = (
    {"strategy": "random"},
    {"strategy": "softmax", "temperature": 0.05},
    {"strategy": "simans", "a": 50.0},
    {"strategy": "distance_weighted"},
    {"strategy": "semi_hard", "margin": 0.2},
    {"strategy": "stratified"},
    {"strategy": "disagreement", "sources": ["search", SOURCE]},
)


def main() -> None:
    """Measure on one core and write the page."""
    parser = pages.parser(__doc__, rounds=None)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--candidates", type=int, default=100)
    args = parser.parse_args()
    _stay_on_one_core()
    # From here on only: numpy and Arrow start their threads when they are imported.
    from benchmarks import charts
    from operators.candidates.config import SelectConfig
    from operators.candidates.select import Select

    sizes = [min(QUERIES_PER_BATCH, args.queries - first) for first in range(0, args.queries, QUERIES_PER_BATCH)]
    batches = [batch(queries, args.candidates, seed) for seed, queries in enumerate(sizes)]
    select = Select(SelectConfig(relative_margin=RELATIVE_MARGIN, max_positive_similarity=MAX_POSITIVE_SIMILARITY))
    rates = [_candidates_per_second(select, batches) for _ in range(PASSES)]
    counts = _counts(select, batches)
    of_draws = {str(draw["strategy"]): _rates_of(draw, batches) for draw in DRAWS}
    of_diverse = _rates_of(DIVERSE, [(_with_vectors(batches[0][0]), batches[0][1])])
    warm = statistics.median(rates[1:])
    series = {"first pass": [rates[0] / 1e6], "warm, median": [warm / 1e6]}
    panel = charts.Panel("million candidates per second, one core", ["select"], series, GOAL / 1e6)
    rows = [
        ["first pass", f"{rates[0] / 1e6:.1f}"],
        ["warm", pages.spread([rate / 1e6 for rate in rates[1:]], 1)],
    ]
    pages.write(
        "select",
        [
            pages.heading("Select alone", "select"),
            f"{args.queries:,} queries with {args.candidates} candidates and one positive each, in batches of "
            f"{QUERIES_PER_BATCH:,} queries; `relative_margin: {RELATIVE_MARGIN}`, `max_positive_similarity: "
            f"{MAX_POSITIVE_SIMILARITY}`, 4 negatives. One core. Warm is the median (lowest-highest) of {PASSES - 1} "
            f"passes over all batches after the first.",
            charts.bars("select", [panel]),
            pages.table(["", "million candidates per second"], rows),
            pages.goal(warm >= GOAL, f"Above {GOAL / 1e6:.0f} million, warm"),
            "The other draws, with the same filters:",
            pages.table(
                ["draw", "million candidates per second"],
                [
                    *(_row(name, rates, 1) for name, rates in of_draws.items()),
                    _row("diverse", of_diverse, 2),
                ],
            ),
            pages.goal(
                min(statistics.median(rates) for rates in of_draws.values()) >= GOAL_OF_DRAWS,
                f"Each above {GOAL_OF_DRAWS / 1e6:.0f} million, but for `diverse`",
            ),
            pages.goal(
                statistics.median(of_diverse) >= GOAL_OF_DIVERSE,
                f"`diverse`, which compares a window of {DIMENSION}-dimensional vectors with one another, above "
                f"{GOAL_OF_DIVERSE / 1e6:.1f} million",
            ),
            f"What became of the candidates: {', '.join(f'{name} {count:,}' for name, count in counts.items())}.",
        ],
    )


def _row(draw: str, rates: list[float], digits: int) -> list[str]:
    return [f"`{draw}`", pages.spread([rate / 1e6 for rate in rates], digits)]


def _stay_on_one_core() -> None:
    os.environ.update({name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS")})
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def batch(queries: int, candidates: int, seed: int) -> "Batch":
    """Make candidates and positives of some queries: tables of the schemas CANDIDATES and POSITIVES.

    The positive lies among the first ten candidates; the scores of the others, and their similarity to it, are such
    that both filters drop some.
    """
    import numpy as np
    import pyarrow as pa

    from operators.schemas import CANDIDATES, NOT_POSITIVE, POSITIVE_DOCUMENT, POSITIVES

    random = np.random.default_rng(seed)
    shape = (queries, candidates)
    scores = -np.sort(-random.uniform(0.2, 0.8, shape).astype(np.float32), axis=1)
    keys = random.integers(1 << 62, size=(3, queries * candidates))
    query_keys = np.sort(random.integers(1 << 62, size=queries))
    place = np.arange(queries) * candidates + random.integers(min(10, candidates), size=queries)
    positive = np.full(queries * candidates, NOT_POSITIVE, dtype=np.uint8)
    positive[place] = POSITIVE_DOCUMENT
    similarity = random.uniform(0.1, 0.9, (2, queries * candidates)).astype(np.float32)
    similarity.sort(axis=0)
    ranks = np.tile(np.arange(candidates, dtype=np.int32), queries)
    of_query = np.repeat(query_keys, candidates)
    columns = [of_query, keys[0], keys[1], scores.ravel(), ranks, positive, similarity[1], similarity[0]]
    judged, label = np.ones(queries, dtype=np.float32), pa.nulls(queries, pa.string())
    row = [query_keys, keys[0][place], keys[1][place], judged, label, scores.ravel()[place]]
    return pa.table(columns, schema=CANDIDATES), pa.table(row, schema=POSITIVES)


def _with_vectors(candidates: "pa.Table") -> "pa.Table":
    """Give candidates vectors, which they have in common: a batch with as many vectors as candidates has 1.5 GB."""
    import numpy as np
    import pyarrow as pa

    from operators.candidates.pairs import VECTOR
    from operators.schemas import vectors_column

    random = np.random.default_rng(0)
    vectors = random.standard_normal((VECTORS, DIMENSION), dtype=np.float32)
    once = vectors_column(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    rows = pa.array(random.integers(VECTORS, size=candidates.num_rows), pa.int32())
    return candidates.append_column(VECTOR, pa.DictionaryArray.from_arrays(rows, once))


def _candidates_per_second(select: "Select", batches: "list[Batch]") -> float:
    began = time.perf_counter()
    for candidates, positives in batches:
        select(candidates, positives)
    seconds = time.perf_counter() - began
    return float(sum(candidates.num_rows for candidates, _ in batches) / seconds)


def _rates_of(draw: dict[str, object], batches: "list[Batch]") -> list[float]:
    """Return the rates of a draw, after one pass to warm up."""
    import numpy as np
    import pyarrow as pa

    from operators.candidates.config import SelectConfig
    from operators.candidates.select import Select

    random = np.random.default_rng(0)
    ranked = [
        (table.append_column(f"{SOURCE}_rank", pa.array(random.integers(-1, 100, table.num_rows, np.int32))), positives)
        for table, positives in batches
    ]
    config = SelectConfig.model_validate(
        {
            "relative_margin": RELATIVE_MARGIN,
            "max_positive_similarity": MAX_POSITIVE_SIMILARITY,
            "draws": [{**draw, "num_negatives": 4}],
        }
    )
    select = Select(config, [SOURCE], DIMENSION)
    return [_candidates_per_second(select, ranked) for _ in range(PASSES)][1:]


def _counts(select: "Select", batches: "list[Batch]") -> dict[str, int]:
    totals: dict[str, int] = {}
    for candidates, positives in batches:
        for reason, count in select(candidates, positives).counts.items():
            totals[reason] = totals.get(reason, 0) + count
    return {reason: count for reason, count in totals.items() if count}


if __name__ == "__main__":
    main()
