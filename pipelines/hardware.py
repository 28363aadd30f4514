"""What this machine, or the cluster that is named, has: cores and GPUs for the encoders, memory in use."""

import ctypes
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from operators.vectors.encode import Device
from pipelines.config import EngineConfig
from pipelines.engines import Pool

CORES_PER_ENCODER = 8  # one copy of a small model gains little from more
SECONDS_BETWEEN_SAMPLES = 0.5


def encoder_pool(config: EngineConfig) -> tuple[Pool, Device]:
    """Decide on the pool of encoders and on the device they use."""
    joins = config.name == "ray" and (config.address or os.environ.get("RAY_ADDRESS", "local")) != "local"
    nodes, found = _cluster(config) if joins else ([os.cpu_count() or 1], _gpus_here())
    gpus = min(found, 1) if config.encoder_gpus == "auto" else config.encoder_gpus
    if gpus:
        workers = max(int(found / gpus), 1) if config.encoder_workers == "auto" else config.encoder_workers
        return Pool(workers=workers, gpus=gpus, stateful=True), "cuda"
    workers = encoders_on(nodes) if config.encoder_workers == "auto" else config.encoder_workers
    return Pool(workers=workers, cpus=cores_for_each(workers, nodes), stateful=True), "cpu"


def encoders_on(nodes: Sequence[int]) -> int:
    """Return how many encoders are worth their memory on nodes of so many cores."""
    return sum(max(cores // CORES_PER_ENCODER, 1) for cores in nodes)


def cores_for_each(workers: int, nodes: Sequence[int]) -> int:
    """Return the most cores that every worker can have; one that fits on no node would wait for ever."""
    most = max(sum(nodes) // workers, 1)
    return next((each for each in range(most, 1, -1) if sum(cores // each for cores in nodes) >= workers), 1)


def search_pool(config: EngineConfig, remote: bool) -> tuple[Pool, Device]:
    """Decide on the pool of what searches shards, and on the device that compares every vector.

    A shard that lies here is a memory map, opened in milliseconds: only fetched ones are worth keeping a worker for.
    """
    if config.search_gpus:
        return Pool(gpus=config.search_gpus, stateful=True), "cuda"
    return Pool(stateful=remote), "cpu"


def share_of_cores(units: int) -> int:
    """Return how many cores each of so many units may use, where they run at the same time on a machine like this."""
    return max((os.cpu_count() or 1) // max(units, 1), 1)


def give_back_memory() -> None:
    """Return what was freed to the system: glibc keeps the holes that pieces of many sizes leave, 100 MB and more."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _gpus_here() -> int:
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _cluster(config: EngineConfig) -> tuple[list[int], int]:
    """Return the cores of every node that has any, and the GPUs of all."""
    import ray

    from pipelines.engines.ray_data import connect

    connected = connect(config.address, None)
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if connected:  # the engine joins when there is work for it, and leaves after it
        ray.shutdown()
    cores = [int(one["CPU"]) for one in resources if one.get("CPU", 0) >= 1]
    return cores or [1], int(sum(one.get("GPU", 0) for one in resources))


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
