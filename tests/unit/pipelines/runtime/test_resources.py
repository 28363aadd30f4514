"""How many encoders a machine or a cluster gets, and how many cores each."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from operators.errors import InputError
from pipelines.runtime.config import EngineConfig
from pipelines.runtime.engines import workers_that_fit
from pipelines.runtime.resources import Machines, cores_for_each, encoder_pool, encoders_on, search_pool

PLAIN = {"CPU": 16.0, "memory": 1e9, "node:10.0.0.1": 1.0}
ENCODER = {"CPU": 8.0, "GPU": 2.0, "encoder": 3.0}
POOLS = EngineConfig(encoder_resources={"encoder": 1}, search_resources={"memory_rich": 0.5})


@pytest.mark.parametrize(
    ("nodes", "encoders", "cores"),
    [
        ([2], 1, 2),
        ([16], 2, 8),
        ([8, 8, 8], 3, 8),
        ([4] * 16, 16, 4),
        ([2, 16, 16], 5, 5),
    ],
)
def test_encoders_use_the_cores_of_every_node(nodes: list[int], encoders: int, cores: int) -> None:
    assert encoders_on(nodes) == encoders
    assert cores_for_each(encoders, nodes) == cores


@pytest.mark.parametrize(("workers", "nodes", "cores"), [(1, [4, 4, 4, 4], 4), (3, [4, 4], 2), (9, [2, 2], 1)])
def test_no_worker_wants_more_cores_than_a_node_has(workers: int, nodes: list[int], cores: int) -> None:
    assert cores_for_each(workers, nodes) == cores


@pytest.mark.parametrize(
    ("wanted", "workers"), [({"encoder": 1}, 3), ({"encoder": 2}, 1), ({"encoder": 1, "GPU": 1}, 2), ({"other": 1}, 0)]
)
def test_the_scarcest_resource_limits_the_number_of_workers(wanted: dict[str, float], workers: int) -> None:
    assert workers_that_fit(ENCODER, wanted) == workers


def test_a_tenth_goes_ten_times_into_one() -> None:
    assert workers_that_fit({"encoder": 1}, {"encoder": 0.1}) == 10


@pytest.mark.parametrize(
    ("nodes", "settings", "workers", "gpus", "cpus"),
    [
        ([PLAIN, ENCODER], {}, 2, 1, 1),
        ([PLAIN, ENCODER], {"encoder_gpus": 0.5}, 3, 0.5, 1),
        ([PLAIN, ENCODER], {"encoder_gpus": 0}, 1, 0, 8),
        ([PLAIN, PLAIN | {"encoder": 1}], {}, 1, 0, 16),
        ([PLAIN, PLAIN | {"encoder": 2}], {}, 2, 0, 8),
        ([PLAIN], {}, 1, 0, 1),
        ([PLAIN], {"encoder_gpus": 1, "encoder_workers": 4}, 4, 1, 1),
    ],
)
def test_encoders_are_counted_on_the_nodes_that_offer_what_they_take(
    nodes: list[dict[str, float]], settings: dict[str, Any], workers: int, gpus: float, cpus: int
) -> None:
    config = POOLS.model_copy(update=settings)
    pool, device = encoder_pool(config, Machines(nodes, is_cluster=True, autoscales=True))
    assert (pool.workers, pool.gpus, pool.cpus, pool.resources) == (workers, gpus, cpus, {"encoder": 1})
    assert device == ("cuda" if gpus else "cpu")


def test_a_cluster_without_the_nodes_is_refused_unless_it_grows(capsys: pytest.CaptureFixture[str]) -> None:
    fixed = Machines([PLAIN, ENCODER], is_cluster=True)
    assert encoder_pool(POOLS, fixed)[0].workers == 2
    words = "engine.search_resources: no node of the cluster offers memory_rich: 0.5, and none will be added. "
    with pytest.raises(InputError, match=re.escape(words + "They offer {}, {encoder: 3}.")):
        search_pool(POOLS, fixed, remote=False)
    growing = Machines([PLAIN, ENCODER], is_cluster=True, autoscales=True)
    assert search_pool(POOLS, growing, remote=False)[0].resources == {"memory_rich": 0.5}
    assert "engine.search_resources: no node of the cluster offers memory_rich: 0.5 yet." in capsys.readouterr().err


def test_on_this_machine_alone_no_resources_are_asked_for() -> None:
    alone = Machines([PLAIN])
    assert not encoder_pool(POOLS, alone)[0].resources
    assert not search_pool(POOLS, alone, remote=False)[0].resources


@pytest.mark.parametrize("resources", [{"GPU": 1}, {"encoder": 0}, {"encoder": 1.5}])
def test_resources_that_ray_does_not_take_are_refused(resources: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="encoder_resources"):
        EngineConfig.model_validate({"encoder_resources": resources})
