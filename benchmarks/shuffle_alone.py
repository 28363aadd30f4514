"""One shuffle on Ray, of n units with one row for each of n buckets: its seconds, and the memory of the driver.

`benchmarks.shuffle` runs this file with the code of one revision or another; so it imports nothing of the benchmarks.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pyarrow as pa
import ray

SIDE = sys.argv[1]
if SIDE == "before":  # where engines were at that revision
    from pipelines.engines import Pool, Unit  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from pipelines.engines.ray_data import RayEngine  # type: ignore[import-untyped,import-not-found,unused-ignore]
else:
    from pipelines.runtime.engines import Pool, Unit
    from pipelines.runtime.engines.ray_data import RayEngine

ROW = pa.schema({"bucket": pa.int64(), "unit": pa.int64()})


def main() -> None:
    """Do the shuffle of the command line: `before N` or `now N`."""
    size = int(sys.argv[2])
    engine = _engine()
    at_start = _peak_mib()
    began = time.perf_counter()
    {"before": before, "now": now}[SIDE](engine, size)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "driver_mib": _peak_mib(), "at_start_mib": at_start}), flush=True)
    ray.shutdown()


def _engine() -> Any:  # noqa: ANN401 - an engine, as its revision makes it
    if SIDE == "before":
        return cast("Any", RayEngine)()
    from pipelines.runtime.engines.ray_cluster import RayCluster

    cluster = RayCluster()
    cluster.join()
    # With a number of workers they do all of the work, however little it is.
    return RayEngine(cluster, workers=cluster.cores)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def before(engine: Any, size: int) -> None:  # noqa: ANN401 - of an earlier revision
    """Shuffle with the shuffle that engines of earlier revisions had; a route yields (bucket, rows) one by one."""
    import pipelines.engines  # type: ignore[import-untyped,import-not-found,unused-ignore]

    def gather(bucket: int, rows: pa.Table) -> dict[str, Any]:
        return _checked(bucket, rows, size)

    shuffle: Any = vars(pipelines.engines)["Shuffle"]  # not there any more
    engine.shuffle("shuffle", shuffle(_route_each(size), units(size), gather, range(size), ROW, Pool()))


def now(engine: Any, size: int) -> None:  # noqa: ANN401 - any engine
    """Shuffle as a stage does, with what it commits."""
    from pipelines.runtime.execution import Execution
    from pipelines.runtime.progress import Progress
    from pipelines.runtime.shuffle import Shuffle
    from pipelines.runtime.storage.run_directory import StageFolder

    def make_gather() -> Callable[[Unit, pa.Table], dict[str, Any]]:
        return lambda bucket, rows: _checked(bucket.args["number"], rows, size)

    with tempfile.TemporaryDirectory() as place:
        execution = Execution("shuffle", StageFolder(place), {}, engine, Progress())
        told = execution.shuffle("shuffle", Shuffle(_route_all(size), units(size), make_gather, units(size), ROW))
    assert [one["rows_out"] for one in told] == [size] * size


def units(size: int) -> list[Unit]:
    """Return units that know their number."""
    return [Unit(f"{number:05d}", {"number": number}) for number in range(size)]


def _route_each(size: int) -> Callable[[], Any]:
    def make() -> Any:  # noqa: ANN401
        def route(unit: Unit) -> Iterator[tuple[int, pa.Table]]:
            for bucket in range(size):
                yield bucket, _rows(np.array([bucket]), unit)

        return route

    return make


def _route_all(size: int) -> Callable[[], Any]:
    def make() -> Any:  # noqa: ANN401
        def route(unit: Unit) -> Iterator[tuple[Any, pa.Table]]:
            buckets = np.arange(size)
            yield buckets, _rows(buckets, unit)

        return route

    return make


def _rows(buckets: Any, unit: Unit) -> pa.Table:  # noqa: ANN401 - an array of int64
    return pa.table({"bucket": buckets, "unit": np.full(len(buckets), unit.args["number"])}, schema=ROW)


def _checked(bucket: int, rows: pa.Table, size: int) -> dict[str, Any]:
    """Check that a bucket has its row of every unit, and no other."""
    assert set(rows.column("bucket").to_pylist()) == {bucket}
    assert sorted(rows.column("unit").to_pylist()) == list(range(size))
    return {"rows_out": rows.num_rows}


if __name__ == "__main__":
    main()
