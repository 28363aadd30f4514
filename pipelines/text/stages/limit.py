"""The limit on the false-negative probability that keeps the rate among the negatives below a target."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.candidates.false_negatives.frontier import distinct
from operators.candidates.false_negatives.model import PROBABILITY
from operators.candidates.select import Select
from operators.keys import uniform
from operators.schemas import to_numpy
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.text.stages.search.candidates import ReadFound

STEP = "limits"
# Queries that are selected from, about, under each limit.
QUERIES = 5_000
LIMITS = 40
SAMPLE_SEED = 17


def limit_of(execution: Execution, read: ReadFound, select: Select, units: Sequence[Unit], queries: int) -> float:
    """Return the highest limit under which the mean probability of the negatives is not above the target.

    Args:
        execution: of the stage.
        read: reads units.
        select: has a target.
        units: the partitions.
        queries: how many all partitions have.
    """
    target = select.config.target_false_negative_rate
    assert target is not None
    limits = limits_from(target)
    selects = [select.limited(limit) for limit in limits]
    stats = execution.map(STEP, partial(MeasureLimits, read, selects, QUERIES / max(queries, 1)), units)
    total = np.sum([one["total"] for one in stats], axis=0)
    count = np.sum([one["count"] for one in stats], axis=0)
    met = np.flatnonzero(total <= target * count)
    return float(limits[met[-1] if len(met) else 0])


def limits_from(target: float) -> npt.NDArray[np.float64]:
    """Return the limits that are tried, ascending: from the target, under which no negative is above it, to 1."""
    return np.minimum(np.geomspace(target, 1, LIMITS + 1)[:-1], 1)


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
