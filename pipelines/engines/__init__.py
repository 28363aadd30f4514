"""Engines: where units of work run. An engine schedules; it knows nothing of what the work is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

Stats = dict[str, Any]


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
        resources: what else the node of a worker has to offer, by the names that the cluster gives it.
    """

    workers: int | None = None
    cpus: int = 1
    gpus: float = 0
    stateful: bool = False
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Shuffle:
    """Rows to bring together: those of all units, by numbered bucket.

    Attributes:
        make_route: called on the worker; what it makes yields (bucket, rows) for a unit.
        units: where the rows come from.
        gather: is called once for each bucket, with all rows that were routed there, in no certain order, and with an
            empty table where there are none.
        buckets: the buckets to gather. Rows are routed to no other.
        schema: of the rows.
        pool: what routing needs.
    """

    make_route: Callable[[], Route]
    units: Sequence[Unit]
    gather: Gather
    buckets: Sequence[int]
    schema: pa.Schema
    pool: Pool = Pool()


class Engine(Protocol):
    """Does units of work, in any order and on any number of workers.

    It returns when all are done and gives nothing back: what a unit did, and what it has to say of that, the work
    itself writes. A unit may be done again after its worker died.
    """

    name: str

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        """Do the work of every unit. `make` is called on the worker; `step` is the name to show."""
        ...

    def shuffle(self, step: str, shuffle: Shuffle) -> None:
        """Bring the rows of each bucket to one place and gather them."""
        ...

    def close(self) -> None:
        """End what the engine started."""
        ...


def room(offered: Mapping[str, float], wanted: Mapping[str, float]) -> float:
    """Return how many workers that want so much find room in what a node offers; any number, if they want nothing."""
    return min((int(offered.get(name, 0) / amount + 1e-6) for name, amount in wanted.items()), default=float("inf"))
