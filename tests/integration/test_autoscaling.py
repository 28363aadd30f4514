"""A run on a cluster that has no node for it yet makes the cluster grow, and ends."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.ray_nodes import Cluster, Node
from tests.integration.conftest import Collection, configuration, dataset, run, write_configuration

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

SECONDS_TO_RUN = 200
SMALL: dict[str, Any] = {"index": {"factory": "exact", "shard_rows": 128}}
WORKER = {"CPU": 1, "encoder": 1, "object_store_memory": 150_000_000}
# Names that Ray's stand-in for a cloud gives the head.
HEAD, HEAD_TYPE = "f" * 51 + "00000", "ray.head.default"
# Ray's autoscaler starts "machines" of the type `encoder` here, as processes.
AUTOSCALER: dict[str, Any] = {
    "cluster_name": "small",
    "max_workers": 2,
    "idle_timeout_minutes": 5,
    "provider": {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "launch_multiple": True,
        "head_node_id": HEAD,
    },
    "head_node_type": HEAD_TYPE,
    "available_node_types": {
        HEAD_TYPE: {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
        "encoder": {"resources": WORKER, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
    # It wants all of these, though it has no use for them.
    **{key: {} for key in ("docker", "auth", "file_mounts")},
    **{key: [] for key in ("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands")},
    **{key: [] for key in ("setup_commands", "head_setup_commands", "worker_setup_commands")},
    **{key: [] for key in ("head_start_ray_commands", "worker_start_ray_commands")},
}
ENVIRONMENT = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
}


@pytest.fixture
def growing() -> Iterator[Cluster]:
    """A head alone, with Ray's autoscaler."""
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="ray", dir="/tmp")))
    try:
        cluster.environment.update(ENVIRONMENT)
        settings = {**AUTOSCALER, "provider": {**AUTOSCALER["provider"], "gcs_address": cluster.address}}
        (cluster.folder / "autoscaler.json").write_text(json.dumps(settings), encoding="utf-8")
        cluster.start_node(Node(), f"--autoscaling-config={cluster.folder / 'autoscaler.json'}")
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(cluster.folder)


def test_a_cluster_without_an_encoder_gets_one(
    growing: Cluster, collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    run(configuration(tmp_path / "local", collection, static_model, **SMALL))
    engine = {"name": "ray", "address": growing.address, "encoder_resources": {"encoder": 1}, "encoder_workers": 2}
    config = configuration(tmp_path / "run", collection, static_model, engine=engine, **SMALL)
    command = [sys.executable, "-m", "pipelines.cli", "mine", str(write_configuration(tmp_path, config))]
    driver = growing.start_driver(command, tmp_path / "output", tmp_path / "errors")
    assert driver.wait(SECONDS_TO_RUN) == 0, (tmp_path / "errors").read_text()
    errors = (tmp_path / "errors").read_text()
    assert "engine.encoder_resources: no node of the cluster offers encoder: 1 yet." in errors
    assert dataset(tmp_path / "run").equals(dataset(tmp_path / "local"))
