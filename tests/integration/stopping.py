"""An engine that stops where a test wants it to."""

from collections.abc import Callable, Sequence

from pipelines.runtime.engines import Pool, Unit, Work
from pipelines.runtime.engines.local import LocalEngine


class StoppedError(Exception):
    """The engine was stopped."""


class Stopping(LocalEngine):
    """Stops before a unit of a step; notes the units that it was given."""

    def __init__(self, step: str = "", after: int = 0) -> None:
        self.step, self.after, self.given = step, after, dict[str, list[str]]()

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        step = step.rpartition("/")[2]
        self.given[step] = [unit.name for unit in units]
        if step == self.step:
            super().map(step, make, units[: self.after], pool)
            raise StoppedError
        super().map(step, make, units, pool)
