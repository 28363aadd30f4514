"""Engines: where units of work run. An engine schedules; it knows nothing of what the work is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

Stats = dict[str, Any]
Result = tuple[str, Stats]


@dataclass(frozen=True)
class Unit:
    """One piece of a step: a name that stays the same when the run is repeated, and what to work on (JSON)."""

    name: str
    args: Mapping[str, Any]


Work = Callable[[Unit], Stats]
Route = Callable[[Unit], Iterator[tuple[int, pa.Table]]]
Gather = Callable[[int, pa.Table], Stats]


@dataclass(frozen=True)
class Pool:
    """What the workers of a step need.

    Attributes:
        workers: how many at the same time; None leaves it to the engine.
        cpus: cores for each worker.
        gpus: GPUs for each worker.
        stateful: making the work is costly (a model, an index): a worker makes it once and keeps it.
    """

    workers: int | None = None
    cpus: int = 1
    gpus: float = 0
    stateful: bool = False


class Engine(Protocol):
    """Runs units of work, in any order and on any number of workers, and gives their statistics as they are done."""

    name: str

    def map(self, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> Iterator[Result]:
        """Do the work of every unit. `make` is called on the worker."""
        ...

    def shuffle(
        self,
        make_route: Callable[[], Route],
        units: Sequence[Unit],
        gather: Gather,
        buckets: Sequence[int],
        schema: pa.Schema,
    ) -> Iterator[Result]:
        """Route the rows of all units to numbered buckets, and gather each bucket in one place.

        `gather` is called once for each of the buckets, with all rows (of this schema) that were routed there, in no
        certain order; with an empty table where there are none. Rows are routed to these buckets alone. A result is
        named after its bucket: `00003`.
        """
        ...

    def close(self) -> None:
        """End what the engine started."""
        ...


def bucket_name(bucket: int) -> str:
    """Return the name under which the result of a bucket is given."""
    return f"{bucket:05d}"
