"""How many encoders a machine or a cluster gets, and how many cores each."""

import pytest

from pipelines.hardware import cores_for_each, encoders_on


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
