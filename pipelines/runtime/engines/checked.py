"""An engine that does a step only while something holds: a run that lost its run directory does no other step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipelines.runtime.engines import Engine, Pool, Unit, Work


@dataclass
class CheckedEngine:
    """Calls `check`, which raises where the work is to stop, before each step and after it.

    Attributes:
        engine: what does the work.
        check: raises where there is to be no more of it.
    """

    engine: Engine
    check: Callable[[], None]
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.engine.name

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        """Do the work of every unit, between two checks."""
        self.check()
        self.engine.map(step, make, units, pool)
        self.check()

    def close(self) -> None:
        """End the engine."""
        self.engine.close()
