"""The engine without an engine: everything in this process, one unit after the other. The reference for the others."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from operators.schemas import concat
from pipelines.engines import Pool, Shuffle, Unit, Work


class LocalEngine:
    """Runs units in this process."""

    name = "local"

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        """Do the work of every unit, in order."""
        del step, pool
        work = make()
        for unit in units:
            work(unit)

    def shuffle(self, step: str, shuffle: Shuffle) -> None:
        """Route the rows of all units to buckets, each a temporary file, and gather one bucket after the other."""
        del step
        route = shuffle.make_route()
        with TemporaryDirectory() as place:
            for unit in shuffle.units:
                for bucket, table in route(unit):
                    _append(Path(place) / str(bucket), table)
            for bucket in shuffle.buckets:
                tables = _appended(Path(place) / str(bucket))
                shuffle.gather(bucket, concat(tables, shuffle.schema))

    def close(self) -> None:
        """Nothing was started."""


def _append(file: Path, table: pa.Table) -> None:
    with file.open("ab") as end, pa.ipc.new_stream(end, table.schema) as stream:
        stream.write_table(table)


def _appended(file: Path) -> list[pa.Table]:
    tables: list[pa.Table] = []
    if file.exists():
        with file.open("rb") as content:
            while content.tell() < file.stat().st_size:
                tables.append(pa.ipc.open_stream(content).read_all())
    return tables
