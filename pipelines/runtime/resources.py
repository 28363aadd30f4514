"""What this machine, or the cluster that is named, has: cores and GPUs for the encoders, memory in use."""

import ctypes
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from operators.errors import InputError
from operators.vectors.encoder import Device
from pipelines.runtime.config import COUNTED_BY_RAY, EngineConfig
from pipelines.runtime.engines import Pool, workers_that_fit
from pipelines.runtime.engines.ray_cluster import RayCluster
from pipelines.runtime.progress import Progress

CORES_PER_ENCODER = 8  # one copy of a small model gains little from more
SECONDS_BETWEEN_SAMPLES = 0.5


@dataclass(frozen=True)
class Machines:
    """What the work can run on.

    Attributes:
        nodes: the resources of each, such as `CPU`, `GPU` and custom ones.
        is_cluster: they are a cluster's; else there is one, this machine.
        autoscales: nodes may be added while the work runs; also where that is unknown.
    """

    nodes: Sequence[Mapping[str, float]]
    is_cluster: bool = False
    autoscales: bool = False

    def needed(self, key: str, resources: Mapping[str, float]) -> Mapping[str, float]:
        """Return the custom resources to ask for, after a look who offers them: none on this machine alone.

        Raises:
            InputError: no node offers them, and none will.
        """
        if not self.is_cluster or not resources:
            return {}
        if any(workers_that_fit(node, resources) for node in self.nodes):
            return resources
        place = f"engine.{key}: no node of the cluster offers {_listed(resources)}"
        if self.autoscales:
            Progress().say(f"{place} yet. The work that needs it waits for one.")
            return resources
        there = [f"{{{_listed(_custom(node))}}}" for node in self.nodes]
        raise InputError(
            f"{place}, and none will be added. They offer {', '.join(there)}. Change the key, or start a node with "
            f"`ray start --resources='{json.dumps(dict(resources))}'`."
        )


def inspect_machines(cluster: RayCluster | None) -> Machines:
    """Look at what the work can run on: a cluster where one is named, else this machine."""
    if cluster is not None and not cluster.is_local:
        return Machines(cluster.nodes(), is_cluster=True, autoscales=cluster.autoscales())
    return Machines([{"CPU": os.cpu_count() or 1, "GPU": _gpus_here()}])


def encoder_pool(config: EngineConfig, machines: Machines) -> tuple[Pool, Device]:
    """Decide on the pool of encoders and on the device they use.

    Raises:
        InputError: no node offers what they need.
    """
    resources = machines.needed("encoder_resources", config.encoder_resources)
    nodes = [node for node in machines.nodes if workers_that_fit(node, resources)]
    found = int(sum(node.get("GPU", 0) for node in nodes))
    gpus = min(found, 1) if config.encoder_gpus == "auto" else config.encoder_gpus
    if gpus:
        _check_gpus("encoder_gpus", gpus, config, machines)
        workers = max(int(sum(workers_that_fit(node, {"GPU": gpus, **resources}) for node in nodes)), 1)
        workers = workers if config.encoder_workers == "auto" else config.encoder_workers
        return Pool(workers=workers, gpus=gpus, stateful=True, resources=resources), "cuda"
    cores = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1] or [1]
    workers = int(min(encoders_on(cores), max(sum(workers_that_fit(node, resources) for node in nodes), 1)))
    workers = workers if config.encoder_workers == "auto" else config.encoder_workers
    return Pool(workers=workers, cpus=cores_for_each(workers, cores), stateful=True, resources=resources), "cpu"


def encoders_on(nodes: Sequence[int]) -> int:
    """Return how many encoders are worth their memory on nodes of so many cores."""
    return sum(max(cores // CORES_PER_ENCODER, 1) for cores in nodes)


def cores_for_each(workers: int, nodes: Sequence[int]) -> int:
    """Return the most cores that every worker can have; one that fits on no node would wait for ever."""
    most = max(sum(nodes) // workers, 1)
    return next((each for each in range(most, 1, -1) if sum(cores // each for cores in nodes) >= workers), 1)


def search_pool(config: EngineConfig, machines: Machines, remote: bool) -> tuple[Pool, Device]:
    """Decide on the pool of what searches shards, and on the device that compares every vector.

    A shard on this machine is a memory map, opened in milliseconds. Only fetched ones are worth keeping a worker for.

    Raises:
        InputError: no node offers what it needs.
    """
    resources = machines.needed("search_resources", config.search_resources)
    if config.search_gpus:
        _check_gpus("search_gpus", config.search_gpus, config, machines)
        return Pool(gpus=config.search_gpus, stateful=True, resources=resources), "cuda"
    return Pool(stateful=remote, resources=resources), "cpu"


def _check_gpus(key: str, gpus: float, config: EngineConfig, machines: Machines) -> None:
    """Refuse GPUs that no machine has; those of Beam's own runners are not known, nor those of a cluster that grows.

    Raises:
        InputError: there are none.
    """
    unknown = machines.autoscales or (config.name == "beam" and config.beam_options)
    if unknown or any(workers_that_fit(node, {"GPU": gpus}) for node in machines.nodes):
        return
    most = max((node.get("GPU", 0) for node in machines.nodes), default=0)
    where = "no node of the cluster has" if machines.is_cluster else "this machine does not have"
    raise InputError(
        f"engine.{key}: {gpus:g} for each worker, and {where} as many: the most is {most:g}. "
        f"Set it to 0 to work on CPUs."
    )


def share_of_cores(units: int) -> int:
    """Return how many cores each of so many units may use, where they run at the same time on a machine like this."""
    return max((os.cpu_count() or 1) // max(units, 1), 1)


def return_memory() -> None:
    """Return what was freed to the system: glibc keeps the holes that pieces of many sizes leave, 100 MB and more."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _gpus_here() -> int:
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _custom(node: Mapping[str, float]) -> Mapping[str, float]:
    return {name: amount for name, amount in node.items() if name not in COUNTED_BY_RAY and ":" not in name}


def _listed(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name}: {amount:g}" for name, amount in resources.items())


class PeakMemory:
    """Follows the resident memory of this process and all its descendants, summed, while it is entered."""

    def __init__(self) -> None:
        self.peak_mib = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        this = psutil.Process()
        while True:
            self.peak_mib = max(self.peak_mib, _resident_bytes(this) >> 20)
            if self._ended.wait(SECONDS_BETWEEN_SAMPLES):
                return


def _resident_bytes(root: psutil.Process) -> int:
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:  # it ended since it was listed
            continue
    return total
