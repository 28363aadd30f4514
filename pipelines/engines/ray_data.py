"""The Ray engine: units of work as rows of a Ray dataset, on a cluster or on a local Ray."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any

import pyarrow as pa
from threadpoolctl import threadpool_limits

from operators.errors import InputError
from operators.schemas import concat
from pipelines.engines import Pool, Shuffle, Unit, Work, room
from pipelines.engines.payload import from_bytes, to_bytes
from pipelines.engines.ray_head import HeadWatch

_EMPTY = "of no unit"
# For each worker. So many tasks would make the work so many times; an actor that makes it once starts in a second.
_MANY_UNITS = 64


class RayEngine:
    """Runs units as rows of a Ray dataset; Ray Data schedules them, retries those whose worker died, and shuffles."""

    name = "ray"

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        """Join the cluster at an address, or start a local Ray; at most `workers` at a time for each step."""
        self.workers = workers
        self._started = connect(address, workers)
        import ray

        self._watch = HeadWatch(ray.get_runtime_context().gcs_address)
        from ray.data.context import DataContext, ShuffleStrategy

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        # A unit may take hours (one trains the quantizers of the index), and so may waiting for a node.
        context.execution_no_progress_timeout_s = -1
        # Buckets are few and large, and hash aggregators take seconds to start (measured: 4.6 s against 0.6 s).
        context.shuffle_strategy = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        """Do the work of every unit."""
        del step
        self._mapped(units, pool, _Do, make).materialize()

    def shuffle(self, step: str, shuffle: Shuffle) -> None:
        """Route rows as (bucket, Arrow IPC bytes), group them by bucket with Ray Data, and gather each group."""
        del step
        # Every bucket is gathered, also one without rows.
        empty = [Unit(_EMPTY, {"buckets": list(shuffle.buckets)})]
        routed = self._mapped([*empty, *shuffle.units], shuffle.pool, _Route, shuffle)
        grouped = routed.groupby("bucket", num_partitions=len(shuffle.buckets))
        grouped.map_groups(_gather_group(shuffle), batch_format="pyarrow").materialize()

    def close(self) -> None:
        """End the local Ray, or leave the cluster."""
        import ray

        self._watch.end()
        if self._started:
            ray.shutdown()

    def _mapped(self, units: Sequence[Unit], pool: Pool, doing: Any, what: Any) -> Any:  # noqa: ANN401 - ray.data.Dataset
        """Give every unit to a worker: to an actor where making the work is costly, else to a task."""
        import ray.data

        rows = [{"name": unit.name, "args": json.dumps(dict(unit.args))} for unit in units]
        dataset = ray.data.from_items(rows, override_num_blocks=max(len(rows), 1))
        workers = min(pool.workers or self.workers or _cores(pool.resources), max(len(units), 1))
        # More than any node has would be waited for without end.
        cpus = min(pool.cpus, _cores_of_largest_node(pool.resources))
        options: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow", "num_gpus": pool.gpus or None}
        options.update(num_cpus=cpus, resources=dict(pool.resources) or None)
        if pool.stateful or len(units) > _MANY_UNITS * workers:
            options.update(compute=ray.data.ActorPoolStrategy(size=workers), fn_constructor_args=(what, cpus))
            return dataset.map_batches(doing, **options)
        options.update(compute=ray.data.TaskPoolStrategy(size=workers))
        return dataset.map_batches(_Once(doing, what, cpus), **options)


class _Once:
    """A task: what an actor would keep is made for one unit."""

    def __init__(self, doing: Any, what: Any, cpus: int) -> None:  # noqa: ANN401 - one of the classes below
        self.doing, self.what, self.cpus = doing, what, cpus

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self.doing(self.what, self.cpus)(batch)


class _Do:
    """What does units. FAISS, BLAS and torch get as many threads as there are cores for it."""

    def __init__(self, make: Callable[[], Work], cpus: int) -> None:
        self.work, self.cpus = make(), cpus

    def __call__(self, batch: pa.Table) -> pa.Table:
        with threadpool_limits(self.cpus):
            self.work(_unit(batch))
        return batch.select(["name"])


class _Route:
    """What routes the rows of units."""

    def __init__(self, shuffle: Shuffle, cpus: int) -> None:
        self.route, self.schema, self.cpus = shuffle.make_route(), shuffle.schema, cpus

    def __call__(self, batch: pa.Table) -> pa.Table:
        unit = _unit(batch)
        if unit.name == _EMPTY:
            return _rows([(bucket, self.schema.empty_table()) for bucket in unit.args["buckets"]])
        with threadpool_limits(self.cpus):
            return _rows(self.route(unit))


def _unit(batch: pa.Table) -> Unit:
    return Unit(batch.column("name")[0].as_py(), json.loads(batch.column("args")[0].as_py()))


def _rows(routed: Iterable[tuple[int, pa.Table]]) -> pa.Table:
    """Return (bucket, Arrow IPC bytes) rows."""
    buckets, payloads = [], []
    for bucket, table in routed:
        buckets.append(bucket)
        payloads.append(to_bytes(table))
    return pa.table({"bucket": pa.array(buckets, pa.int64()), "payload": pa.array(payloads, pa.large_binary())})


def _gather_group(shuffle: Shuffle) -> Callable[[pa.Table], pa.Table]:
    def gather_group(group: pa.Table) -> pa.Table:
        bucket = int(group.column("bucket")[0].as_py())
        tables = [from_bytes(payload.as_buffer()) for payload in group.column("payload")]
        shuffle.gather(bucket, concat(tables, shuffle.schema))
        return pa.table({"bucket": [bucket]})

    return gather_group


def _cores_of_largest_node(resources: Mapping[str, float]) -> int:
    return max(_cores_of_nodes(resources))


def _cores(resources: Mapping[str, float]) -> int:
    return sum(_cores_of_nodes(resources))


def _cores_of_nodes(resources: Mapping[str, float]) -> list[int]:
    """Return the cores of each node that offers some resources; one core, where none does yet."""
    import ray

    offering = [node["Resources"] for node in ray.nodes() if node["Alive"] and room(node["Resources"], resources)]
    return [int(offered["CPU"]) for offered in offering if offered.get("CPU", 0) >= 1] or [1]


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Keep what Ray's C++ side writes to standard error at its start; show it only if the start fails."""
    sys.stderr.flush()
    ours = os.dup(2)
    with TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(ours, kept.read())
            raise
        finally:
            os.dup2(ours, 2)
            os.close(ours)


def connect(address: str | None, workers: int | None) -> bool:
    """Join the Ray cluster at an address, or start a local Ray; tells whether this call did it.

    Raises:
        InputError: there is no cluster at the address.
    """
    import ray

    if ray.is_initialized():
        return False
    options: dict[str, Any] = {"address": address or os.environ.get("RAY_ADDRESS") or "local"}
    if options["address"] == "local":
        # One more than there are: an encoder takes all the cores, and what feeds it must not wait for it to end.
        options.update(num_cpus=max(os.cpu_count() or 1, workers or 1) + 1, include_dashboard=False)
        # Ray's workers give way to everything else by default (niceness 15), but here they are the work itself.
        os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        with _quiet_start():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except ConnectionError as error:
        raise InputError(f"engine.address: no Ray cluster answers at {options['address']} ({error}).") from error
    return True
