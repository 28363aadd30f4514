"""An engine that starts when it is first needed: a run that reuses everything starts no Ray."""

from collections.abc import Callable, Sequence

from pipelines.runtime.engines import Engine, Pool, Unit, Work


class DeferredEngine:
    """Stands for an engine until there is work for it."""

    def __init__(self, name: str, start: Callable[[], Engine]) -> None:
        self.name = name
        self._start = start
        self._engine: Engine | None = None

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        """Start the engine if need be, and do the work of every unit on it."""
        self._started().map(step, make, units, pool)

    def close(self) -> None:
        """End the engine, if it was started."""
        if self._engine is not None:
            self._engine.close()

    def _started(self) -> Engine:
        if self._engine is None:
            self._engine = self._start()
        return self._engine
