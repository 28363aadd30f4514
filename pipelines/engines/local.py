"""The engine without an engine: everything in this process, one unit after the other. The reference for the others."""

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from operators.schemas import concat
from pipelines.engines import Pool, Result, Shuffle, Unit, Work, bucket_name


class LocalEngine:
    """Runs units in this process."""

    name = "local"

    def map(self, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> Iterator[Result]:
        """Do the work of every unit, in order."""
        del pool
        work = make()
        for unit in units:
            yield unit.name, work(unit)

    def shuffle(self, shuffle: Shuffle) -> Iterator[Result]:
        """Route the rows of all units to buckets and gather each. The routed rows are held in memory."""
        routed: dict[int, list[pa.Table]] = {bucket: [] for bucket in shuffle.buckets}
        route = shuffle.make_route()
        for unit in shuffle.units:
            for bucket, table in route(unit):
                routed[bucket].append(table)
        for bucket, tables in routed.items():
            yield bucket_name(bucket), shuffle.gather(bucket, concat(tables, shuffle.schema))

    def close(self) -> None:
        """Nothing was started."""
