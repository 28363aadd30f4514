"""What an engine does, on each engine: every unit once, and a shuffle of rows in two steps."""

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from pipelines.runtime.engines import Engine, Pool, Stats, Unit
from pipelines.runtime.engines.beam import BeamEngine
from pipelines.runtime.engines.deferred import DeferredEngine
from pipelines.runtime.engines.local import LocalEngine
from pipelines.runtime.engines.ray_cluster import RayCluster
from pipelines.runtime.engines.ray_data import RayEngine
from pipelines.runtime.execution import Execution
from pipelines.runtime.progress import Progress
from pipelines.runtime.shuffle import Shuffle
from pipelines.runtime.storage.run_directory import StageFolder

UNITS = [Unit(f"{n:02d}", {"n": n}) for n in range(7)]
SCHEMA = pa.schema({"n": pa.int64(), "text": pa.string()})


@pytest.fixture(params=["local", "ray", "beam", "beam on two processes", "deferred"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "ray":
        return RayEngine(request.getfixturevalue("ray_session"))
    if request.param.startswith("beam"):
        return BeamEngine(workers=2 if request.param.endswith("processes") else None)
    return LocalEngine() if request.param == "local" else DeferredEngine("local", LocalEngine)


class Square:
    """Says what it was asked and by whom it was made, in a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, f"{os.getpid()}/{uuid.uuid4().hex}"

    def __call__(self, units: Sequence[Unit]) -> list[Stats]:
        done = []
        for unit in units:
            done.append({"square": unit.args["n"] ** 2, "dropped": {"small": 1}, "made": self.made})
            say(self.folder / unit.name, done[-1])
        return done


class ByParity:
    """Routes n copies of n to bucket 0 or 1, and nothing to bucket 2."""

    def __call__(self, unit: Unit) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
        n = unit.args["n"]
        yield np.full(n, n % 2), pa.table({"n": [n] * n, "text": [str(n)] * n}, schema=SCHEMA)


class Total:
    def __call__(self, bucket: Unit, rows: pa.Table) -> Stats:
        assert rows.schema == SCHEMA
        return {"sum": sum(rows.column("n").to_pylist()), "asked": bucket.args["asked"]}


def say(file: Path, stats: Stats) -> None:
    with file.open("a") as lines:
        lines.write(json.dumps(stats) + "\n")


def said(folder: Path) -> dict[str, Any]:
    """What was said in every file; each has one line, as everything was done once."""
    files = {file.name: file.read_text().splitlines() for file in folder.iterdir()}
    assert {len(lines) for lines in files.values()} == {1}
    return {name: json.loads(line) for name, (line,) in files.items()}


@pytest.mark.parametrize("pool", [Pool(), Pool(workers=2, stateful=True)])
def test_map_does_every_unit_once(engine: Engine, pool: Pool, tmp_path: Path) -> None:
    engine.map("squares", partial(Square, tmp_path), UNITS, pool)
    assert {name: stats["square"] for name, stats in said(tmp_path).items()} == {f"{n:02d}": n * n for n in range(7)}


def test_what_is_costly_to_make_is_made_once_for_a_worker(engine: Engine, tmp_path: Path) -> None:
    engine.map("squares", partial(Square, tmp_path), UNITS, Pool(workers=2, stateful=True))
    makers = {stats["made"] for stats in said(tmp_path).values()}
    assert len(makers) == len({made.partition("/")[0] for made in makers}) <= 2


@pytest.mark.parametrize("pool", [Pool(), Pool(stateful=True)])
def test_what_ray_schedules_depends_on_the_workers_and_not_on_the_units(
    ray_session: RayCluster, tmp_path: Path, pool: Pool
) -> None:
    units = [Unit(f"{n:03d}", {"n": n}) for n in range(150)]
    RayEngine(ray_session, workers=2).map("squares", partial(Square, tmp_path), units, pool)
    assert len({stats["made"] for stats in said(tmp_path).values()}) <= (2 if pool.stateful else 32)
    assert len(said(tmp_path)) == 150


@pytest.mark.parametrize("pool", [Pool(), Pool(workers=2, stateful=True)])
def test_shuffle_brings_the_rows_of_a_bucket_together_even_if_there_are_none(
    engine: Engine, pool: Pool, tmp_path: Path
) -> None:
    buckets = [Unit(f"bucket-{n}", {"asked": n}) for n in range(3)]
    execution = Execution("stage", StageFolder(str(tmp_path)), {}, engine, Progress())
    stats = execution.shuffle("sums", Shuffle(ByParity, UNITS, Total, buckets, SCHEMA, pool))
    assert [(one["sum"], one["asked"]) for one in stats] == [(4 + 16 + 36, 0), (1 + 9 + 25, 1), (0, 2)]


@pytest.mark.parametrize("workers", [None, 2])
def test_statistics_are_counters_of_beam(workers: int | None, tmp_path: Path) -> None:
    engine = BeamEngine(workers=workers)
    engine.map("squares", partial(Square, tmp_path), UNITS, Pool())
    counters = engine.results[0].metrics().query()["counters"]
    counted = {one.key.metric.name: one.committed for one in counters if one.key.metric.namespace == "squares"}
    assert counted == {"square": sum(n * n for n in range(7)), "dropped/small": 7}
