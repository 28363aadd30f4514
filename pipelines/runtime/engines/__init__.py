"""Engines: where units of work run. An engine schedules; it knows nothing of what the work is."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Stats = dict[str, Any]


@dataclass(frozen=True)
class Unit:
    """One piece of a step: a name that stays the same when the run is repeated, and what to work on (JSON)."""

    name: str
    args: Mapping[str, Any]


# Does a batch of units, one after the other; returns the statistics of each that it committed.
Work = Callable[[Sequence[Unit]], list[Stats]]


@dataclass(frozen=True)
class Pool:
    """What the workers of a step need.

    Attributes:
        workers: how many at the same time; None leaves it to the engine.
        cpus: cores for each worker.
        gpus: GPUs for each worker.
        stateful: making the work is costly (a model, an index): a worker makes it once and keeps it.
        resources: what else the node of a worker has to offer, by the names that the cluster gives it.
        reads: bytes, where the work is little more than to read so many: an engine may do little of it in this process,
            and start no more workers than pay for themselves. None where the work is more.
    """

    workers: int | None = None
    cpus: int = 1
    gpus: float = 0
    stateful: bool = False
    resources: Mapping[str, float] = field(default_factory=dict)
    reads: int | None = None


class Engine(Protocol):
    """Does units of work, in any order and on any number of workers.

    It returns when all are done and gives nothing back: what a unit did, and what it has to say of that, the work
    itself writes. Units go to workers in batches, so that what an engine keeps of a step depends on the number of
    workers and not on the number of units. A batch may be done again after its worker died.
    """

    name: str

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        """Do the work of every unit. `make` is called on the worker; `step` is the name to show."""
        ...

    def close(self) -> None:
        """End what the engine started."""
        ...


def batches(units: Sequence[Unit], count: int) -> list[Sequence[Unit]]:
    """Cut units into at most `count` batches of about equal length, in their order."""
    size = max(math.ceil(len(units) / max(count, 1)), 1)
    return [units[start : start + size] for start in range(0, len(units), size)]


def to_json(batch: Sequence[Unit]) -> str:
    """Return a batch of units as JSON."""
    return json.dumps([[unit.name, dict(unit.args)] for unit in batch])


def from_json(content: str | bytes) -> list[Unit]:
    """Read a batch of units."""
    return [Unit(*unit) for unit in json.loads(content)]


def workers_that_fit(offered: Mapping[str, float], wanted: Mapping[str, float]) -> float:
    """Return how many workers with these needs fit on a node; infinity, if they need nothing."""
    return min((int(offered.get(name, 0) / amount + 1e-6) for name, amount in wanted.items()), default=float("inf"))
