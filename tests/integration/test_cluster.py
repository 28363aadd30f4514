"""A run on a cluster of several Ray nodes spreads over all of them, and outlives a worker or a node that is killed."""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from infra.local.ray_nodes import SECONDS_BETWEEN_LOOKS, SECONDS_TO_START, Cluster, Node, ray_cluster, waited_for
from tests.integration.conftest import Collection, configuration, dataset, run, write_configuration

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

SECONDS_TO_RUN = 300
HEAD = 0
# Where the statistics of a stage's units lie.
STEPS = {
    "encode": "encode/*/_units/encode",
    "index": "index/*/_units/build",
    "search": "search/all/*/_units/search-*",
    "export": "export/*/_units/write",
}
SPREAD = ["encode", "search"]
KILLED = ["encode", "search", "export"]
UNITS_BEFORE_A_KILL = 4
# One core: where a node ends, there is no free core elsewhere for the encoder that it had.
SINGLE = Node(cpus=1)
Start = Callable[[Sequence[Node]], Cluster]
# Many units: 32 + 13 partitions are encoded, and 13 partitions are searched in 16 shards. The encoding is long enough
# for every encoder to be there before it is over.
SMALL = {
    "data": {"partition_rows": 16},
    "encoder": {"max_seq_length": 64},
    "index": {"factory": "exact", "shard_rows": 32},
}


@pytest.fixture
def start_cluster() -> Iterator[Start]:
    """Start clusters of nodes; in the end nothing of them is left."""
    with ExitStack() as clusters:
        yield lambda nodes: clusters.enter_context(ray_cluster(nodes))


@dataclass
class Mining:
    """`hardneg mine` on a cluster, in a process of its own."""

    cluster: Cluster
    run_directory: Path
    driver: subprocess.Popen[bytes]

    def node_of(self, unit: Path) -> int:
        """The node on which a unit was done."""
        return self.cluster.node_of[worker_of(unit)]

    def units(self, step: str) -> list[Path]:
        """The units of a step that are committed, in the order in which they were."""
        found = self.run_directory.glob(f"{STEPS[step]}/*/*.json")
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


def mine(cluster: Cluster, folder: Path, collection: Collection, model: Path, *settings: str) -> Mining:
    """Begin to mine on a cluster; with an encoder on each node, unless the settings say otherwise."""
    config = write_configuration(folder, configuration(folder / "run", collection, model, **SMALL))
    command = [sys.executable, "-m", "pipelines.cli", "mine", str(config), "--engine", "ray", "--json"]
    for setting in (
        f"engine.address={cluster.address}",
        f"engine.workers={len(cluster.nodes)}",
        *(settings or [f"engine.encoder_workers={len(cluster.nodes)}"]),
    ):
        command += ["--set", setting]
    return Mining(cluster, folder / "run", cluster.start_driver(command, folder / "output", folder / "errors"))


def watched(cluster: Cluster) -> bool:
    """Tell whether Ray's own watch over the cluster knows of all its nodes."""
    logs = (cluster.folder / "0").glob("session_*/logs/monitor.log")
    return any(len(set(re.findall(r"1 node_\w+", log.read_text()))) == len(cluster.nodes) for log in logs)


def worker_of(unit: Path) -> int:
    """The process that did a unit."""
    committed = json.loads(unit.read_text(encoding="utf-8"))["units"].values()
    return int(next(iter(committed))["worker"].rpartition("/")[2])


def finished_without_loss(mining: Mining, step: str, reference: pa.Table) -> None:
    """Follow a run, of which something has just been killed, to its end: nothing is missing."""
    done = len(mining.units(step))
    mining.finish()
    assert done < len(mining.units(step)), "the kill came too late"
    assert dataset(mining.run_directory).equals(reference)


@pytest.fixture(scope="module")
def reference(collection: Collection, minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The triplets of the local engine."""
    folder = tmp_path_factory.mktemp("reference")
    run(configuration(folder, collection, minilm, **SMALL))
    return dataset(folder)


@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_every_node_does_its_share_and_the_rows_are_those_of_local(
    start_cluster: Start,
    collection: Collection,
    minilm: Path,
    reference: pa.Table,
    tmp_path: Path,
    nodes: int,
) -> None:
    mining = mine(start_cluster([SINGLE] * nodes), tmp_path, collection, minilm)
    assert mining.finish()["engine"] == "ray"
    assert dataset(mining.run_directory).equals(reference)
    for step in SPREAD:
        share = Counter(map(mining.node_of, mining.units(step)))
        assert set(share) == set(range(nodes)), f"{step}: {share}"


@pytest.mark.parametrize("step", KILLED)
def test_a_worker_that_is_killed_costs_no_row(
    start_cluster: Start,
    collection: Collection,
    minilm: Path,
    reference: pa.Table,
    tmp_path: Path,
    step: str,
) -> None:
    mining = mine(start_cluster([SINGLE] * 3), tmp_path, collection, minilm)
    psutil.Process(worker_of(mining.wait_for_unit(step))).kill()
    finished_without_loss(mining, step, reference)


@pytest.mark.parametrize("step", KILLED)
def test_a_node_that_is_killed_costs_no_row(
    start_cluster: Start,
    collection: Collection,
    minilm: Path,
    reference: pa.Table,
    tmp_path: Path,
    step: str,
) -> None:
    cluster = start_cluster([SINGLE] * 3)
    mining = mine(cluster, tmp_path, collection, minilm)
    unit = mining.wait_for_unit(step, lambda unit: mining.node_of(unit) != HEAD)
    cluster.kill_node(mining.node_of(unit))
    finished_without_loss(mining, step, reference)


def test_a_cluster_whose_head_is_killed_ends_the_run_with_a_message(
    start_cluster: Start, collection: Collection, minilm: Path, tmp_path: Path
) -> None:
    cluster = start_cluster([SINGLE] * 2)
    mining = mine(cluster, tmp_path, collection, minilm)
    mining.wait_for_unit("encode")
    cluster.kill_node(HEAD)
    assert mining.driver.wait(SECONDS_TO_RUN) == 1
    said = [line for line in (tmp_path / "errors").read_text().splitlines() if line.startswith("hardneg: ")]
    assert len(said) == 1
    assert "the first node of the Ray cluster" in said[0]


def test_every_kind_of_work_is_done_on_the_nodes_that_are_there_for_it(
    start_cluster: Start, collection: Collection, minilm: Path, reference: pa.Table, tmp_path: Path
) -> None:
    kinds = [SINGLE, Node(resources={"encoder": 1}), Node(resources={"memory_rich": 1})]
    resources = ["engine.encoder_resources={encoder: 1}", "engine.search_resources={memory_rich: 1}"]
    mining = mine(start_cluster(kinds), tmp_path, collection, minilm, *resources)
    mining.finish()
    assert dataset(mining.run_directory).equals(reference)
    assert {mining.node_of(unit) for unit in mining.units("encode")} == {1}
    assert {mining.node_of(unit) for unit in mining.units("index")} == {2}
    assert {mining.node_of(unit) for unit in mining.units("search")} == {2}


def test_a_cluster_that_lacks_a_kind_of_node_is_refused(
    start_cluster: Start, collection: Collection, minilm: Path, tmp_path: Path
) -> None:
    cluster = start_cluster([SINGLE, Node(resources={"encoder": 1})])
    assert waited_for(lambda: watched(cluster), SECONDS_TO_START)
    mining = mine(cluster, tmp_path, collection, minilm, "engine.encoder_resources={encoders: 1}")
    assert mining.driver.wait(SECONDS_TO_RUN) == 2
    refusal = "engine.encoder_resources: no node of the cluster offers encoders: 1, and none will be added."
    assert refusal in (tmp_path / "errors").read_text()
    assert not mining.run_directory.exists()
