"""How many workers do a step on Ray: where that is open as many as pay for themselves, else those asked for."""

import json
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from pipelines.runtime.engines import Pool, Stats, Unit
from pipelines.runtime.engines.ray_cluster import RayCluster
from pipelines.runtime.engines.ray_data import RayEngine

MIB = 1 << 20
ALL = -1  # cores
SECONDS = 0.2  # of a unit: long enough for one more worker to be seen beside the others


class Together:
    """Says for each unit who did it, and how many were in work then: the first wait until as many as expected are."""

    def __init__(self, folder: Path, expected: int) -> None:
        self.folder, self.expected = folder, expected
        self.working, self.enough = folder / "working", folder / "enough"

    def __call__(self, units: Sequence[Unit]) -> list[Stats]:
        return [self._do(unit) for unit in units]

    def _do(self, unit: Unit) -> Stats:
        (self.working / unit.name).touch()
        limit = time.monotonic() + 30
        while not self.enough.exists():
            if self._count() >= self.expected or time.monotonic() > limit:
                self.enough.touch()
            time.sleep(0.01)
        time.sleep(SECONDS)
        said: Stats = {"at_once": self._count(), "process": os.getpid()}
        (self.working / unit.name).unlink()
        (self.folder / f"{unit.name}.json").write_text(json.dumps(said))
        return said

    def _count(self) -> int:
        return len(os.listdir(self.working))


class Absent(RayCluster):
    """A cluster that nobody can join."""

    def join(self) -> None:
        raise AssertionError("the cluster was joined")


def done(engine: RayEngine, folder: Path, reads: int | None, expected: int, units: int) -> tuple[int, set[int]]:
    """Do units on an engine; return how many were in work at the same time, and the processes that did them."""
    (folder / "working").mkdir()
    engine.map(
        "step", partial(Together, folder, expected), [Unit(f"{n:02d}", {}) for n in range(units)], Pool(reads=reads)
    )
    said = [json.loads(file.read_text()) for file in folder.glob("*.json")]
    assert len(said) == units
    return max(one["at_once"] for one in said), {one["process"] for one in said}


@pytest.mark.parametrize("reads", [0, 1, 32 * MIB])
def test_little_to_read_is_read_by_the_command_itself(tmp_path: Path, reads: int) -> None:
    assert done(RayEngine(Absent()), tmp_path, reads, 1, units=5) == (1, {os.getpid()})


@pytest.mark.parametrize(
    ("reads", "workers"),
    [(32 * MIB + 1, 2), (64 * MIB, 2), (64 * MIB + 1, 3), (1 << 40, ALL), (None, ALL)],
)
def test_each_worker_has_32_mib_to_read_up_to_the_cores(
    ray_session: RayCluster, tmp_path: Path, reads: int | None, workers: int
) -> None:
    expected = min(ray_session.cores if workers == ALL else workers, ray_session.cores)
    at_once, processes = done(RayEngine(ray_session), tmp_path, reads, expected, units=4 * ray_session.cores)
    assert at_once == expected
    assert os.getpid() not in processes


@pytest.mark.parametrize("reads", [1, None])
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_are_asked_for_do_all_work(
    ray_session: RayCluster, tmp_path: Path, reads: int | None, workers: int
) -> None:
    at_once, processes = done(RayEngine(ray_session, workers=workers), tmp_path, reads, workers, units=8)
    assert at_once == workers
    assert os.getpid() not in processes


def test_no_more_workers_than_units(ray_session: RayCluster, tmp_path: Path) -> None:
    at_once, processes = done(RayEngine(ray_session), tmp_path, 1 << 40, 2, units=2)
    assert at_once == 2
    assert os.getpid() not in processes
