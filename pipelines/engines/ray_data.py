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
from pipelines.engines import Pool, Unit, Work, batches, room
from pipelines.engines.ray_head import HeadWatch

# For each worker: Ray keeps a record of every task, and a worker that is last keeps the others waiting for one batch.
_BATCHES = 16


class RayEngine:
    """Runs units as rows of a Ray dataset; Ray Data schedules them and retries those whose worker died."""

    name = "ray"

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        """Join the cluster at an address, or start a local Ray; at most `workers` at a time for each step."""
        self.workers = workers
        self._started = connect(address, workers)
        import ray

        self._watch = HeadWatch(ray.get_runtime_context().gcs_address)
        from ray.data.context import DataContext

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        # A unit may take hours (one trains the quantizers of the index), and so may waiting for a node.
        context.execution_no_progress_timeout_s = -1
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        """Do the work of every unit: by actors where making the work is costly, else by tasks."""
        del step
        import ray.data

        workers = min(pool.workers or self.workers or _cores(pool.resources), max(len(units), 1))
        rows = [{"units": _to_json(batch)} for batch in batches(units, workers * _BATCHES)]
        dataset = ray.data.from_items(rows, override_num_blocks=max(len(rows), 1))
        # More than any node has would be waited for without end.
        cpus = min(pool.cpus, _cores_of_largest_node(pool.resources))
        options: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow", "num_gpus": pool.gpus or None}
        options.update(num_cpus=cpus, resources=dict(pool.resources) or None)
        if pool.stateful:
            options.update(compute=ray.data.ActorPoolStrategy(size=workers), fn_constructor_args=(make, cpus))
            dataset.map_batches(_Do, **options).materialize()
        else:
            options.update(compute=ray.data.TaskPoolStrategy(size=workers))
            dataset.map_batches(_Once(make, cpus), **options).materialize()

    def close(self) -> None:
        """End the local Ray, or leave the cluster."""
        import ray

        self._watch.end()
        if self._started:
            ray.shutdown()


class _Once:
    """A task: what an actor would keep is made for one batch."""

    def __init__(self, make: Callable[[], Work], cpus: int) -> None:
        self.make, self.cpus = make, cpus

    def __call__(self, rows: pa.Table) -> pa.Table:
        return _Do(self.make, self.cpus)(rows)


class _Do:
    """What does batches of units. FAISS, BLAS and torch get as many threads as there are cores for it."""

    def __init__(self, make: Callable[[], Work], cpus: int) -> None:
        self.work, self.cpus = make(), cpus

    def __call__(self, rows: pa.Table) -> pa.Table:
        units = [Unit(*unit) for unit in json.loads(rows.column("units")[0].as_py())]
        with threadpool_limits(self.cpus):
            self.work(units)
        return pa.table({"units": [len(units)]})


def _to_json(batch: Sequence[Unit]) -> str:
    return json.dumps([[unit.name, dict(unit.args)] for unit in batch])


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
