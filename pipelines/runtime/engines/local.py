"""The engine without an engine: everything in this process, one unit after the other. The reference for the others."""

from collections.abc import Callable, Sequence

from pipelines.runtime.engines import Pool, Unit, Work


class LocalEngine:
    """Runs units in this process."""

    name = "local"

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        """Do the work of every unit, in order."""
        del step, pool
        if units:
            make()(units)

    def close(self) -> None:
        """Nothing was started."""
