"""The one connection to Ray that a command has: to a cluster that it joins, or to a Ray that it starts here."""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any

from operators.errors import InputError
from pipelines.runtime.engines import workers_that_fit
from pipelines.runtime.engines.ray_head import HeadWatch


class RayCluster:
    """A Ray cluster, joined when something is first asked of it; what was joined before is left as it is.

    Attributes:
        address: of the cluster; `local` starts one on this machine.
        cores: how many workers of one core it is to have, where it is started here.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self.address = address or os.environ.get("RAY_ADDRESS") or "local"
        self.cores = max(os.cpu_count() or 1, workers or 1)
        self._joined = self._ours = False
        self._watch: HeadWatch | None = None

    @property
    def is_local(self) -> bool:
        """Tell whether the cluster is one that is started here."""
        return self.address == "local"

    def join(self) -> None:
        """Join the cluster, or start it, unless that was done.

        Raises:
            InputError: there is no cluster at the address.
        """
        import ray

        if not self._joined:
            if not ray.is_initialized():
                self._init()
                self._ours = True
            self._watch = HeadWatch(ray.get_runtime_context().gcs_address)
            self._joined = True

    def nodes(self) -> list[Mapping[str, float]]:
        """Return the resources of each node that is alive."""
        import ray

        self.join()
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def cores_of_nodes(self, resources: Mapping[str, float]) -> Sequence[int]:
        """Return the cores of each node that offers some resources; one core, where none does yet."""
        if self.is_local and self._ours:
            return [self.cores]
        offering = [offered for offered in self.nodes() if workers_that_fit(offered, resources)]
        return [int(offered["CPU"]) for offered in offering if offered.get("CPU", 0) >= 1] or [1]

    def autoscales(self) -> bool:
        """Tell whether nodes may be added while the work runs. Also where that is unknown.

        What only watches a cluster names each node after its id, and not after a type.
        """
        from ray.experimental.internal_kv import _internal_kv_get

        self.join()
        status = json.loads(_internal_kv_get("__autoscaling_status") or "{}")
        types = status.get("autoscaler_report", {}).get("node_type_mapping") or {}
        return not (types and all(kind == f"node_{node}" for node, kind in types.items()))

    def close(self) -> None:
        """End what was started, or leave what was joined."""
        import ray

        if self._watch is not None:
            self._watch.end()
        if self._ours:
            ray.shutdown()
        self._joined = self._ours = False

    def _init(self) -> None:
        import ray

        options: dict[str, Any] = {"address": self.address}
        niceness = None
        if self.is_local:
            # One more than there are: an encoder takes all the cores, and what feeds it must not wait for it to end.
            options.update(num_cpus=self.cores + 1, include_dashboard=False)
            # Ray's workers give way to everything else by default (niceness 15), but here they are the work itself.
            niceness = "0"
        try:
            with _quiet_start(), _environment("RAY_worker_niceness", niceness):
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except ConnectionError as error:
            raise InputError(f"engine.address: no Ray cluster answers at {self.address} ({error}).") from error


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """Set a variable for the processes that are started while this is entered, unless it is set."""
    if value is None or name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


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
