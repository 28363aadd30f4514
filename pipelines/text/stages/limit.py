"""The limit on the false-negative probability that keeps the rate among the negatives below a target."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.candidates.false_negatives.model import PROBABILITY, Rate
from operators.candidates.select import Select
from operators.candidates.sources import distinct
from operators.keys import uniform
from operators.schemas import to_numpy
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.text.stages.search.candidates import ReadFound

STEP = "limits"
# Queries that are selected from, about, under each limit.
QUERIES = 5_000
LIMITS = 40
BELOW = 4
# A limit is below 1: only what is sure to be relevant is dropped.
LENIENT = 0.9999
SAMPLE_SEED = 17


def limit_of(
    execution: Execution,
    read: ReadFound,
    select: Select,
    units: Sequence[Unit],
    queries: int,
    expected: Callable[[float], Rate],
) -> float:
    """Return the highest limit under which the expected rate of false negatives is not above the target.

    Args:
        execution: of the stage.
        read: reads units.
        select: has a target.
        units: the partitions.
        queries: how many all partitions have.
        expected: returns the rate that a mean probability stands for.
    """
    target = select.config.target_false_negative_rate
    assert target is not None
    limits = limits_from(target)
    selects = [select.limited(limit) for limit in limits]
    stats = execution.map(STEP, partial(MeasureLimits, read, selects, QUERIES / max(queries, 1)), units)
    total = np.sum([one["total"] for one in stats], axis=0)
    count = np.sum([one["count"] for one in stats], axis=0)
    rates = [expected(float(mean)).rate for mean in total / np.maximum(count, 1)]
    met = np.flatnonzero(np.array(rates) <= target)
    return float(limits[met[-1] if len(met) else 0])


def limits_from(target: float) -> npt.NDArray[np.float64]:
    """Return the limits that are tried, ascending, to 1: from well below the target, which the model may miss."""
    return np.append(np.geomspace(target / BELOW, 1, LIMITS)[:-1], LENIENT)


@dataclass(frozen=True)
class MeasureLimits:
    """One partition of candidates -> the sum of the probabilities of its negatives, under each limit.

    Attributes:
        read: reads units.
        selects: one for each limit.
        share: of the queries that are looked at.
    """

    read: ReadFound
    selects: Sequence[Select]
    share: float

    def __call__(self, unit: Unit) -> Stats:
        """Select under each limit, for a sample of the queries of a partition."""
        candidates, positives = self.read(unit)
        query = to_numpy(positives, "query_key")
        sampled = pa.array(np.unique(query[uniform(SAMPLE_SEED, query) < self.share]))
        some = [table.filter(pc.is_in(table.column("query_key"), sampled)) for table in (candidates, positives)]
        total, count = [], []
        for select in self.selects:
            probability = to_numpy(distinct(select(*some).negatives), PROBABILITY)
            total.append(float(probability.sum(dtype=np.float64)))
            count.append(len(probability))
        return {"total": total, "count": count, "rows_out": 0}
