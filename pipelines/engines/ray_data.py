"""The Ray engine: units of work as rows of a Ray dataset, on a cluster or on a local Ray."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any

import pyarrow as pa
from threadpoolctl import threadpool_limits

from operators.errors import InputError
from operators.schemas import concat
from pipelines.engines import Pool, Result, Shuffle, Stats, Unit, Work, bucket_name

_REFUSED = "refused"


class RayEngine:
    """Runs units as rows of a Ray dataset; Ray Data schedules them, retries those whose worker died, and shuffles."""

    name = "ray"

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        """Join the cluster at an address, or start a local Ray; at most `workers` at a time for each step."""
        self.workers = workers
        self._started = connect(address, workers)
        from ray.data.context import DataContext, ShuffleStrategy

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        # Buckets are few and large, and hash aggregators take seconds to start (measured: 4.6 s against 0.6 s).
        context.shuffle_strategy = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def map(self, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> Iterator[Result]:
        """Do the work of every unit, on a pool of actors where making the work is costly, else as tasks."""
        import ray.data

        workers = min(pool.workers or self.workers or _cores(), max(len(units), 1))
        cpus = min(pool.cpus, _cores_of_largest_node())  # more than any node has would be waited for without end
        options: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow", "num_gpus": pool.gpus or None}
        options["num_cpus"] = cpus
        if pool.stateful:
            options.update(compute=ray.data.ActorPoolStrategy(size=workers), fn_constructor_args=(make, cpus))
            done = self._units(units).map_batches(_Worker, **options)
        else:
            options.update(compute=ray.data.TaskPoolStrategy(size=workers))
            done = self._units(units).map_batches(_Task(make, cpus), **options)
        yield from _results(done)

    def shuffle(self, shuffle: Shuffle) -> Iterator[Result]:
        """Route rows as (bucket, Arrow IPC bytes), group them by bucket with Ray Data, and gather each group."""
        routed = self._units(shuffle.units).map_batches(
            _RouteTask(shuffle), batch_size=1, batch_format="pyarrow", num_cpus=1
        )
        grouped = routed.groupby("bucket", num_partitions=len(shuffle.buckets))
        yield from _results(grouped.map_groups(_gather_group(shuffle), batch_format="pyarrow"))

    def close(self) -> None:
        """End the local Ray, or leave the cluster."""
        import ray

        if self._started:
            ray.shutdown()

    @staticmethod
    def _units(units: Sequence[Unit]) -> Any:  # noqa: ANN401 - ray.data.Dataset, imported late
        import ray.data

        rows = [{"name": unit.name, "args": json.dumps(dict(unit.args))} for unit in units]
        return ray.data.from_items(rows, override_num_blocks=max(len(rows), 1))


def _unit(batch: pa.Table) -> Unit:
    return Unit(batch.column("name")[0].as_py(), json.loads(batch.column("args")[0].as_py()))


class _Worker:
    """What an actor keeps: the work, made once. FAISS, BLAS and torch get as many threads as there are cores for it."""

    def __init__(self, make: Callable[[], Work], cpus: int) -> None:
        self.work, self.cpus = make(), cpus

    def __call__(self, batch: pa.Table) -> pa.Table:
        unit = _unit(batch)
        with threadpool_limits(self.cpus):
            return _answer(unit.name, lambda: self.work(unit))


class _Task:
    def __init__(self, make: Callable[[], Work], cpus: int) -> None:
        self.make, self.cpus = make, cpus

    def __call__(self, batch: pa.Table) -> pa.Table:
        return _Worker(self.make, self.cpus)(batch)


class _RouteTask:
    def __init__(self, shuffle: Shuffle) -> None:
        self.shuffle = shuffle

    def __call__(self, batch: pa.Table) -> pa.Table:
        shuffle, unit = self.shuffle, _unit(batch)
        buckets: list[int] = []
        payloads: list[bytes] = []
        if unit.name == shuffle.units[0].name:  # so that a bucket without rows is gathered too
            buckets.extend(shuffle.buckets)
            payloads.extend([_payload(shuffle.schema.empty_table())] * len(shuffle.buckets))
        for bucket, table in shuffle.make_route()(unit):
            buckets.append(bucket)
            payloads.append(_payload(table))
        return pa.table({"bucket": pa.array(buckets, pa.int64()), "payload": pa.array(payloads, pa.large_binary())})


def _gather_group(shuffle: Shuffle) -> Callable[[pa.Table], pa.Table]:
    def gather_group(group: pa.Table) -> pa.Table:
        bucket = int(group.column("bucket")[0].as_py())
        tables = [pa.ipc.open_stream(payload.as_buffer()).read_all() for payload in group.column("payload")]
        return _answer(bucket_name(bucket), lambda: shuffle.gather(bucket, concat(tables, shuffle.schema)))

    return gather_group


def _payload(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _answer(name: str, work: Callable[[], Stats]) -> pa.Table:
    # Refused input is an answer, not a failure of the worker: Ray would wrap it in its own error and print that.
    try:
        answer: Mapping[str, Any] = {"stats": work()}
    except InputError as refusal:
        answer = {_REFUSED: str(refusal)}
    return pa.table({"name": [name], "answer": [json.dumps(answer)]})


def _results(done: Any) -> Iterator[Result]:  # noqa: ANN401 - ray.data.Dataset
    for row in done.iter_rows():
        answer = json.loads(row["answer"])
        if _REFUSED in answer:
            raise InputError(answer[_REFUSED])
        yield row["name"], answer["stats"]


def _cores_of_largest_node() -> int:
    import ray

    return max(int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["Alive"])


def _cores() -> int:
    import ray

    return max(int(ray.cluster_resources().get("CPU", 1)), 1)


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
