"""The job for KubeRay: held against its definition and its configuration, and read as Ray's autoscaler reads it."""

import copy
import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from pipelines.config import load
from pipelines.text.config import Config
from tests.conftest import SHARED
from tests.integration.infra.conftest import INFRA, ROOT, documents

DEFINITION = SHARED / "schemas" / "kuberay-rayjobs.crd.yaml"
OPEN = "x-kubernetes-preserve-unknown-fields"


@pytest.fixture
def job() -> dict[str, Any]:
    (job,) = documents(INFRA / "kuberay" / "rayjob.yaml")
    return job


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema of `ray.io/v1`, which allows no field that it does not name."""
    if not DEFINITION.is_file():
        pytest.skip(f"KubeRay's definition is not there: {DEFINITION} is beside the project on some machines only")
    definition = yaml.load(DEFINITION.read_text(encoding="utf-8"), yaml.CSafeLoader)
    (version,) = [one for one in definition["spec"]["versions"] if one["name"] == "v1"]
    return dict(closed(version["schema"]["openAPIV3Schema"]))


def closed(node: Any) -> Any:  # noqa: ANN401 - JSON
    """Refuse what a schema does not name, as the server does when it is asked to be strict."""
    if isinstance(node, list):
        return [closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    inner = {key: closed(one) for key, one in node.items()}
    if isinstance(node.get("properties"), dict) and not node.get(OPEN):
        inner.setdefault("additionalProperties", False)
    return inner


def errors(schema: dict[str, Any], job: dict[str, Any]) -> list[str]:
    jsonschema = pytest.importorskip("jsonschema")
    return [f"{error.json_path}: {error.message}" for error in jsonschema.Draft202012Validator(schema).iter_errors(job)]


def test_the_job_is_what_the_definition_wants(schema: dict[str, Any], job: dict[str, Any]) -> None:
    assert not errors(schema, job)


def misspelt_option(job: dict[str, Any]) -> None:
    job["spec"]["shutdownAfterJobFinish"] = job["spec"].pop("shutdownAfterJobFinishes")


def misspelt_in_a_pod(job: dict[str, Any]) -> None:
    group = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][2]
    group["template"]["spec"]["toleration"] = group["template"]["spec"].pop("tolerations")


def number_as_text(job: dict[str, Any]) -> None:
    job["spec"]["backoffLimit"] = "3"


def number_in_parameters(job: dict[str, Any]) -> None:
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def without_a_limit(job: dict[str, Any]) -> None:
    del job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (misspelt_option, "shutdownAfterJobFinish"),
        (misspelt_in_a_pod, "toleration"),
        (number_as_text, "$.spec.backoffLimit"),
        (number_in_parameters, "num-cpus"),
        (without_a_limit, "maxReplicas"),
    ],
)
def test_a_misspelt_field_and_a_wrong_type_are_refused(
    schema: dict[str, Any], job: dict[str, Any], damage: Callable[[dict[str, Any]], None], said: str
) -> None:
    damage(job)
    (error,) = errors(schema, job)
    assert said in error


@pytest.fixture
def groups(job: dict[str, Any]) -> dict[str, Any]:
    """The groups as Ray's autoscaler reads them: name -> {min_workers, max_workers, resources}."""
    # A module without a promise to stay, but the very one that runs beside the head.
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    cluster = {"metadata": {"name": "hardneg", "namespace": "default"}, "spec": job["spec"]["rayClusterSpec"]}
    return dict(_derive_autoscaling_config_from_ray_cr(copy.deepcopy(cluster))["available_node_types"])


@pytest.fixture
def config(job: dict[str, Any]) -> Config:
    """The configuration that the command names, where the file that is made the config map is."""
    program, command, path = shlex.split(job["spec"]["entrypoint"])[:3]
    assert (program, command) == ("hardneg", "mine")
    (container,) = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    folder, _, name = path.rpartition("/")
    assert folder == mount["mountPath"]
    config = load(str(ROOT / "configs" / name))
    assert isinstance(config, Config)
    return config


def test_the_head_does_no_work_and_the_groups_grow_from_nothing(groups: dict[str, Any]) -> None:
    head, *workers = groups.values()
    assert head["resources"]["CPU"] == 0
    assert [group["min_workers"] for group in workers] == [1, 0, 0], "GPUs and memory cost nothing before they are used"
    assert groups["gpu"]["resources"]["GPU"] == 1
    assert groups["memory"]["resources"]["memory_rich"] == 2
    assert groups["memory"]["resources"]["memory"] > 2 * groups["cpu"]["resources"]["memory"]


def test_the_cluster_can_have_what_the_configuration_asks_for(groups: dict[str, Any], config: Config) -> None:
    engine = config.engine
    most = {name: group["max_workers"] * group["resources"].get("GPU", 0) for name, group in groups.items()}
    assert isinstance(engine.encoder_workers, int)
    assert isinstance(engine.encoder_gpus, float)
    assert engine.encoder_workers * engine.encoder_gpus <= sum(most.values())
    for key in ("encoder_resources", "search_resources"):
        for name, amount in getattr(engine, key, {}).items():
            assert any(group["resources"].get(name, 0) >= amount for group in groups.values()), f"{key}: {name}"
    held = next(iter(getattr(engine, "search_resources", {})), "CPU")  # what bounds the workers of a node
    for group in list(groups.values())[1:]:
        have = group["resources"]
        assert have.get(held, 0) * engine.memory_budget <= have["memory"]


def test_the_shell_of_the_pod_leaves_the_resources_whole(job: dict[str, Any], groups: dict[str, Any]) -> None:
    (group,) = [one for one in job["spec"]["rayClusterSpec"]["workerGroupSpecs"] if one["groupName"] == "memory"]
    (option,) = shlex.split(f"--resources={group['rayStartParams']['resources']}")  # KubeRay pastes it into a command
    given = json.loads(option.partition("=")[2])
    assert given.items() <= groups["memory"]["resources"].items()


def test_everything_is_in_a_bucket_and_no_secret_in_a_file(job: dict[str, Any], config: Config) -> None:
    paths = [path for kind in ("corpus", "queries", "judgements") for path in getattr(config.data, kind).path]
    assert len(paths) == 3
    assert all(uri.startswith("s3://") for uri in (config.run, *paths))
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "hardneg-storage"}}]
        assert "env" not in container
