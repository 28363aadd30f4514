"""The Ray engine: units of work as rows of a Ray dataset, on a cluster or on a local Ray."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from threadpoolctl import threadpool_limits

from pipelines.runtime.engines import Pool, Unit, Work, batches, from_json, to_json
from pipelines.runtime.engines.ray_cluster import RayCluster

# What a worker reads in about two seconds.
BYTES_PER_WORKER = 32 << 20
# For each worker: Ray keeps a record of every task, and a worker that is last keeps the others waiting for one batch.
_BATCHES = 16


class RayEngine:
    """Runs units as rows of a Ray dataset; Ray Data schedules them and retries those whose worker died.

    Where the number of workers is left open, work that little more than reads gets one for each 32 MiB, and less of it
    than that is done in this process: a worker costs about a second and 200 MiB before it has done anything.
    """

    name = "ray"

    def __init__(self, cluster: RayCluster, workers: int | None = None) -> None:
        """Work on a cluster, joined when there is work for workers; at most `workers` at a time for each step."""
        self.cluster, self.workers = cluster, workers
        from ray.data.context import DataContext

        quiet: Mapping[str, Any] = {
            "enable_progress_bars": False,
            "print_on_execution_start": False,
            # A unit may take hours (one trains the quantizers of the index), and so may waiting for a node.
            "execution_no_progress_timeout_s": -1,
        }
        self._context = DataContext.get_current()
        self._before = {name: getattr(self._context, name) for name in quiet}
        for name, value in quiet.items():
            setattr(self._context, name, value)
        self._levels = {name: logging.getLogger(name).level for name in ("ray", "ray.data")}
        for name in self._levels:
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        """Do the work of every unit: by actors where making the work is costly, else by tasks."""
        del step
        worth = len(units)
        if pool.reads is not None and self.workers is None:
            worth = math.ceil(pool.reads / BYTES_PER_WORKER)
            if worth <= 1:
                make()(units)
                return
        self.cluster.join()
        import ray.data

        cores = self.cluster.cores_of_nodes(pool.resources)
        workers = min(pool.workers or self.workers or sum(cores), len(units), worth)
        rows = [{"units": to_json(batch)} for batch in batches(units, workers * _BATCHES)]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
        # More than any node has would be waited for without end.
        cpus = min(pool.cpus, max(cores))
        options: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow", "num_gpus": pool.gpus or None}
        options.update(num_cpus=cpus, resources=dict(pool.resources) or None)
        if pool.stateful:
            options.update(compute=ray.data.ActorPoolStrategy(size=workers), fn_constructor_args=(make, cpus))
            dataset.map_batches(_UnitActor, **options).materialize()
        else:
            options.update(compute=ray.data.TaskPoolStrategy(size=workers))
            dataset.map_batches(_UnitTask(make, cpus), **options).materialize()

    def close(self) -> None:
        """Leave the settings of Ray Data and of the loggers as they were; who made the cluster leaves it."""
        for name, value in self._before.items():
            setattr(self._context, name, value)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)


class _UnitTask:
    """A task: what an actor would keep is made for one batch."""

    def __init__(self, make: Callable[[], Work], cpus: int) -> None:
        self.make, self.cpus = make, cpus

    def __call__(self, rows: pa.Table) -> pa.Table:
        return _UnitActor(self.make, self.cpus)(rows)


class _UnitActor:
    """What does batches of units. FAISS, BLAS and torch get as many threads as there are cores for it."""

    def __init__(self, make: Callable[[], Work], cpus: int) -> None:
        self.work, self.cpus = make(), cpus

    def __call__(self, rows: pa.Table) -> pa.Table:
        units = from_json(rows.column("units")[0].as_py())
        with threadpool_limits(self.cpus):
            self.work(units)
        return pa.table({"units": [len(units)]})
