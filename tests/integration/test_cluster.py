"""A run on a cluster of several Ray nodes spreads over all of them, and outlives a worker or a node that is killed."""

import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
import yaml

from pipelines.run import run
from tests.integration.conftest import Collection, configuration, dataset

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

SECONDS_TO_START = 60
SECONDS_TO_END = 20
SECONDS_TO_RUN = 300
SECONDS_BETWEEN_LOOKS = 0.2
HEAD = 0
STEPS = ["encode", "search"]
UNITS_BEFORE_A_KILL = 4
# Many units: 32 + 13 partitions are encoded, and 13 partitions are searched in 16 shards. The encoding is long enough
# for every encoder to be there before it is over.
SMALL = {
    "data": {"partition_rows": 16},
    "encoder": {"max_seq_length": 64},
    "index": {"factory": "exact", "shard_rows": 32},
}
# A process of its own, as a process has one connection to Ray.
WAIT_FOR_NODES = """
import sys, time, ray
ray.init(sys.argv[1])
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]):
    time.sleep(0.1)
"""


@dataclass
class Cluster:
    """Ray nodes on this machine, the head first, and what was seen of their processes.

    Attributes:
        folder: where the cluster keeps its sockets and logs.
        port: of the head.
        nodes: a `ray start --block` for each.
        drivers: the runs on it.
        node_of: the processes that have been below a node, by number of process.
    """

    folder: Path
    port: int
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    drivers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    node_of: dict[int, int] = field(default_factory=dict)

    def start_node(self) -> None:
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats"]
        # One core: where a node ends, there is no room elsewhere for the encoder that it had.
        command += ["--num-cpus=1", "--object-store-memory=150000000"]
        # Nodes that share a folder and start at the same moment take the same sockets.
        command += [f"--temp-dir={self.folder / str(len(self.nodes))}"]
        if self.nodes:
            command += [f"--address=127.0.0.1:{self.port}"]
        else:
            command += ["--head", f"--port={self.port}", f"--ray-client-server-port={free_port()}"]
            command += ["--include-dashboard=false"]
        with open(self.folder / f"{len(self.nodes)}.out", "wb") as output:
            self.nodes.append(subprocess.Popen(command, stdout=output, stderr=output))

    def look(self) -> None:
        """See which processes are below which node."""
        for number, node in enumerate(self.nodes):
            self.node_of.update({process.pid: number for process in tree(node.pid)})

    def node_of_unit(self, unit: Path) -> int:
        return self.node_of[worker_of(unit)]

    def processes(self) -> list[psutil.Process]:
        """All processes of the cluster that run; those whose parent has been killed write its logs."""
        below = [process for top in (*self.nodes, *self.drivers) for process in tree(top.pid)]
        writing = [process for process in psutil.process_iter() if writes_below(process, self.folder)]
        return [process for process in {*below, *writing} if running(process)]

    def end(self) -> None:
        """End all nodes, and then whatever is left."""
        for driver in self.drivers:
            driver.kill()
        for node in self.nodes:
            node.terminate()
        if not waited_for(lambda: not self.processes(), SECONDS_TO_END):
            for process in self.processes():
                process.kill()
        for ended in (*self.nodes, *self.drivers):
            ended.wait()
        assert waited_for(lambda: not self.processes(), SECONDS_TO_END), f"left: {self.processes()}"


def tree(pid: int) -> list[psutil.Process]:
    """A process, and all below it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def running(process: psutil.Process) -> bool:
    """Tell whether a process has not ended: where nobody asks for its end, it stays as a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def writes_below(process: psutil.Process, folder: Path) -> bool:
    try:
        return any(file.path.startswith(f"{folder}/") for file in process.open_files())
    except psutil.Error:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def waited_for(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return True


@pytest.fixture
def start_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Cluster]]:
    """Start clusters of so many nodes; in the end nothing of them is left."""
    # Ray listens on all addresses of the machine: a token keeps others out.
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")
    with ExitStack() as clusters:

        def start(nodes: int) -> Cluster:
            # Not pytest's folder: the path of a Unix socket has 107 characters at most.
            cluster = Cluster(Path(tempfile.mkdtemp(prefix="ray", dir="/tmp")), free_port())
            clusters.callback(shutil.rmtree, cluster.folder)
            clusters.callback(cluster.end)
            for _ in range(nodes):
                cluster.start_node()
            assert waited_for((cluster.folder / "0" / "ray_current_cluster").exists, SECONDS_TO_START)
            waiting = [sys.executable, "-c", WAIT_FOR_NODES, f"127.0.0.1:{cluster.port}", str(nodes)]
            subprocess.run(waiting, check=True, capture_output=True, timeout=SECONDS_TO_START)
            return cluster

        yield start


@dataclass
class Mining:
    """`hardneg mine` on a cluster, in a process of its own."""

    cluster: Cluster
    run_directory: Path
    driver: subprocess.Popen[bytes]

    def units(self, step: str) -> list[Path]:
        """The units of a step that are committed, in the order in which they were."""
        found = self.run_directory.glob(f"{step}/**/_units/{step}*/*.json")
        return sorted(found, key=lambda path: path.stat().st_mtime_ns)

    def wait_for_unit(self, step: str, wanted: Callable[[Path], bool] = bool) -> Path:
        """Wait until a step is under way and has done a unit of a kind; return the latest of these."""
        while True:
            units = self.units(step)
            self.cluster.look()
            if len(units) >= UNITS_BEFORE_A_KILL and any(map(wanted, units)):
                return next(unit for unit in reversed(units) if wanted(unit))
            assert self.driver.poll() is None, f"the run ended before {step}"
            time.sleep(0.01)

    def finish(self) -> dict[str, Any]:
        """Follow the run to its end; return what it says of itself."""
        deadline = time.monotonic() + SECONDS_TO_RUN
        while self.driver.poll() is None:
            self.cluster.look()
            assert time.monotonic() < deadline, f"the run takes more than {SECONDS_TO_RUN} s"
            time.sleep(SECONDS_BETWEEN_LOOKS)
        output, errors = ((self.run_directory.parent / name).read_text() for name in ("output", "errors"))
        assert self.driver.returncode == 0, errors
        (line,) = output.splitlines()  # what Ray has to say of a death must not stand there
        return dict(json.loads(line))


def mine(cluster: Cluster, folder: Path, collection: Collection, model: Path) -> Mining:
    """Begin to mine on a cluster, with an encoder on each node."""
    raw = configuration(folder / "run", collection, model, **SMALL).model_dump(mode="json")
    (folder / "config.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    command = [sys.executable, "-m", "pipelines.cli", "mine", str(folder / "config.yaml"), "--engine", "ray", "--json"]
    command += ["--set", f"engine.address=127.0.0.1:{cluster.port}"]
    command += ["--set", f"engine.encoder_workers={len(cluster.nodes)}"]
    with open(folder / "output", "wb") as output, open(folder / "errors", "wb") as errors:
        cluster.drivers.append(subprocess.Popen(command, stdout=output, stderr=errors))
    return Mining(cluster, folder / "run", cluster.drivers[-1])


def worker_of(unit: Path) -> int:
    """The process that did a unit."""
    return int(json.loads(unit.read_text(encoding="utf-8"))["worker"].rpartition("/")[2])


@pytest.fixture(scope="module")
def reference(collection: Collection, minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The triplets of the local engine."""
    folder = tmp_path_factory.mktemp("reference")
    run("mine", configuration(folder, collection, minilm, **SMALL))
    return dataset(folder)


@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_every_node_does_its_share_and_the_rows_are_those_of_local(
    start_cluster: Callable[[int], Cluster],
    collection: Collection,
    minilm: Path,
    reference: pa.Table,
    tmp_path: Path,
    nodes: int,
) -> None:
    mining = mine(start_cluster(nodes), tmp_path, collection, minilm)
    assert mining.finish()["engine"] == "ray"
    assert dataset(mining.run_directory).equals(reference)
    for step in STEPS:
        share = Counter(map(mining.cluster.node_of_unit, mining.units(step)))
        assert set(share) == set(range(nodes)), f"{step}: {share}"


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_that_is_killed_costs_no_row(
    start_cluster: Callable[[int], Cluster],
    collection: Collection,
    minilm: Path,
    reference: pa.Table,
    tmp_path: Path,
    step: str,
) -> None:
    mining = mine(start_cluster(3), tmp_path, collection, minilm)
    psutil.Process(worker_of(mining.wait_for_unit(step))).kill()
    done = len(mining.units(step))
    mining.finish()
    assert done < len(mining.units(step)), "the kill came too late"
    assert dataset(mining.run_directory).equals(reference)


@pytest.mark.parametrize("step", STEPS)
def test_a_node_that_is_killed_costs_no_row(
    start_cluster: Callable[[int], Cluster],
    collection: Collection,
    minilm: Path,
    reference: pa.Table,
    tmp_path: Path,
    step: str,
) -> None:
    cluster = start_cluster(3)
    mining = mine(cluster, tmp_path, collection, minilm)
    unit = mining.wait_for_unit(step, lambda unit: cluster.node_of_unit(unit) != HEAD)
    for process in tree(cluster.nodes[cluster.node_of_unit(unit)].pid):
        process.kill()
    done = len(mining.units(step))
    mining.finish()
    assert done < len(mining.units(step)), "the kill came too late"
    assert dataset(mining.run_directory).equals(reference)
