"""A Ray cluster of several nodes on this machine: start them, see what runs on which, and leave nothing of them."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SECONDS_TO_START = 60
SECONDS_TO_END = 20
SECONDS_BETWEEN_LOOKS = 0.2
RAY = Path(sys.executable).with_name("ray")
# A process of its own, as a process has one connection to Ray.
WAIT_FOR_NODES = """
import sys, time, ray
ray.init(sys.argv[1])
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]):
    time.sleep(0.1)
"""


@dataclass(frozen=True)
class Node:
    """What a node offers.

    Attributes:
        cpus: cores, of those that the machine has or not: Ray only counts them.
        resources: custom resources, such as `{"memory_rich": 1}`.
        object_store_bytes: shared memory for what Ray moves between workers.
    """

    cpus: int = 1
    resources: Mapping[str, float] = field(default_factory=dict)
    object_store_bytes: int = 150_000_000

    def options(self) -> list[str]:
        """Return what tells `ray start` of it."""
        sizes = [f"--num-cpus={self.cpus}", f"--object-store-memory={self.object_store_bytes}"]
        return [*sizes, f"--resources={json.dumps(dict(self.resources))}"]


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def new_environment() -> dict[str, str]:
    """Return what the nodes and drivers of one cluster share."""
    return {
        # As where an environment is activated: what a job runs is found there.
        "PATH": f"{RAY.parent}{os.pathsep}{os.environ['PATH']}",
        # Ray listens on all addresses of the machine: a token keeps others out.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }


@dataclass
class Cluster:
    """Ray nodes on this machine, the head first, and what was seen of their processes.

    Attributes:
        folder: where the cluster keeps its sockets and logs. Its path is short: that of a Unix socket has 107
            characters at most.
        dashboard: give the head one; `ray job submit` needs it.
        port: of the head.
        dashboard_port: of the dashboard, where there is one.
        environment: what a process needs to join the cluster, beside its address.
        nodes: a `ray start --block` for each.
        drivers: the programs on it that end with it.
        node_of: the processes that have been below a node, by number of process.
    """

    folder: Path
    dashboard: bool = False
    port: int = field(default_factory=free_port)
    dashboard_port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=new_environment)
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    drivers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    node_of: dict[int, int] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The address to join it at."""
        return f"127.0.0.1:{self.port}"

    @property
    def jobs_address(self) -> str:
        """The address that `ray job submit` takes."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def start_node(self, node: Node | None = None, *options: str) -> None:
        """Start one more node, with further options of `ray start`; the first is the head.

        `wait_for_nodes` tells when it is there.
        """
        number = len(self.nodes)
        command = [str(RAY), "start", "--block", "--disable-usage-stats", *(node or Node()).options(), *options]
        # Nodes that share a folder and start at the same moment take the same sockets.
        command += [f"--temp-dir={self.folder / str(number)}", f"--dashboard-agent-listen-port={free_port()}"]
        if self.nodes:
            command += [f"--address={self.address}"]
        else:
            command += ["--head", f"--port={self.port}", f"--ray-client-server-port={free_port()}"]
            command += [f"--include-dashboard={str(self.dashboard).lower()}", f"--dashboard-port={self.dashboard_port}"]
        with open(self.folder / f"{number}.out", "wb") as output:
            self.nodes.append(subprocess.Popen(command, stdout=output, stderr=output, env=self._environment()))

    def wait_for_nodes(self) -> None:
        """Wait until every node that was started has joined.

        Raises:
            TimeoutError: one has not.
        """
        waiting = [sys.executable, "-c", WAIT_FOR_NODES, self.address, str(len(self.nodes))]
        try:
            if not waited_for((self.folder / "0" / "ray_current_cluster").exists, SECONDS_TO_START):
                raise TimeoutError
            environment, seconds = self._environment(), SECONDS_TO_START
            subprocess.run(waiting, env=environment, check=True, capture_output=True, timeout=seconds)
        except (TimeoutError, subprocess.SubprocessError) as error:
            said = "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.out")))
            raise TimeoutError(f"Not all of {len(self.nodes)} Ray nodes have started. They say:\n{said}") from error

    def start_driver(self, command: Sequence[str], output: Path, errors: Path) -> subprocess.Popen[bytes]:
        """Start a program that may join the cluster, and that ends with it at the latest."""
        with open(output, "wb") as out, open(errors, "wb") as err:
            self.drivers.append(subprocess.Popen(command, stdout=out, stderr=err, env=self._environment()))
        return self.drivers[-1]

    def submit_job(self, working_dir: Path, command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
        """Run a command as a job, in a copy of a folder; its output is among what `ray job submit` says.

        Raises:
            subprocess.TimeoutExpired: it takes longer than that.
        """
        submit = [str(RAY), "job", "submit", f"--address={self.jobs_address}", f"--working-dir={working_dir}"]
        environment, whole = self._environment(), [*submit, "--", *command]
        return subprocess.run(whole, env=environment, capture_output=True, text=True, check=False, timeout=seconds)

    def look(self) -> None:
        """See which processes are below which node."""
        for number, node in enumerate(self.nodes):
            self.node_of.update({process.pid: number for process in tree(node.pid)})

    def kill_node(self, number: int) -> None:
        """Kill a node as if its machine had lost its power."""
        for process in tree(self.nodes[number].pid):
            process.kill()

    def processes(self) -> list[psutil.Process]:
        """Return all processes of the cluster that run; those whose parent has been killed write its logs."""
        below = [process for top in (*self.nodes, *self.drivers) for process in tree(top.pid)]
        writing = [process for process in psutil.process_iter() if writes_below(process, self.folder)]
        return [process for process in {*below, *writing} if running(process)]

    def end(self) -> None:
        """End all nodes, and then whatever is left.

        Raises:
            TimeoutError: something cannot be ended.
        """
        for driver in self.drivers:
            driver.kill()
        for node in self.nodes:
            node.terminate()
        if not waited_for(lambda: not self.processes(), SECONDS_TO_END):
            for process in self.processes():
                process.kill()
        for ended in (*self.nodes, *self.drivers):
            ended.wait()
        if not waited_for(lambda: not self.processes(), SECONDS_TO_END):
            raise TimeoutError(f"These processes do not end: {self.processes()}")

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}


@contextmanager
def ray_cluster(
    nodes: Sequence[Node], dashboard: bool = False, environment: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """Start nodes, the head first, and wait for them; in the end nothing of them is left.

    Args:
        nodes: what each offers.
        dashboard: give the head one; `ray job submit` needs it.
        environment: what the nodes and so the workers on them find in theirs, such as credentials.
    """
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="ray", dir="/tmp")), dashboard)
    cluster.environment.update(environment or {})
    try:
        for node in nodes:
            cluster.start_node(node)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(cluster.folder)


def tree(pid: int) -> list[psutil.Process]:
    """Return a process, and all below it."""
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
    """Tell whether a process has a file below a folder open."""
    try:
        return any(file.path.startswith(f"{folder}/") for file in process.open_files())
    except psutil.Error:
        return False


def waited_for(true: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is true; tell whether it became so in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return True
