"""The shuffle against a dictionary: every row in its bucket, whatever is interrupted or damaged."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.runtime import shuffle as module
from pipelines.runtime.engines import Engine, Pool, Stats, Unit, Work
from pipelines.runtime.engines.local import LocalEngine
from pipelines.runtime.execution import Execution
from pipelines.runtime.progress import Progress
from pipelines.runtime.shuffle import Groups, Shuffle
from pipelines.runtime.steps import Commits, Step
from pipelines.runtime.storage.records import DamagedError
from pipelines.runtime.storage.run_directory import StageFolder

SCHEMA = pa.schema({"value": pa.string(), "vector": pa.list_(pa.float32(), 2)})
Rows = Sequence[tuple[int, str]]  # bucket, value


def rows_of(units: Sequence[Rows]) -> Any:  # noqa: ANN401 - a route
    def route(unit: Unit) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
        rows = units[unit.args["n"]]
        for some in (rows[::2], rows[1::2]):  # several tables of one unit
            vectors = pa.array([[len(value), 0.5] for _, value in some], pa.list_(pa.float32(), 2))
            table = pa.table({"value": pa.array([value for _, value in some], pa.string()), "vector": vectors})
            yield np.array([bucket for bucket, _ in some], np.int64), table

    return route


class Interrupted(Exception):
    """Stands for a kill."""


class Gathered:
    """Collects what is gathered; is interrupted after some buckets."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Counter[str]]] = []
        self.left = 10**9

    def __call__(self, bucket: Unit, rows: pa.Table) -> Stats:
        if not self.left:
            raise Interrupted
        self.left -= 1
        assert rows.schema == SCHEMA
        assert rows.column("vector").to_pylist() == [[len(value), 0.5] for value in rows.column("value").to_pylist()]
        self.found.append((bucket.name, Counter(rows.column("value").to_pylist())))
        return {"rows_out": rows.num_rows}


def shuffled(
    folder: StageFolder, units: Sequence[Rows], buckets: int, gathered: Gathered, engine: Engine | None = None
) -> list[Stats]:
    execution = Execution("stage", folder, {}, engine or LocalEngine(), Progress())
    of_units = [Unit(f"{n:05d}", {"n": n}) for n in range(len(units))]
    wanted = [Unit(f"{n:05d}", {}) for n in range(buckets)]
    return execution.shuffle("step", Shuffle(partial(rows_of, units), of_units, lambda: gathered, wanted, SCHEMA))


def expected(units: Sequence[Rows], buckets: int) -> list[tuple[str, Counter[str]]]:
    by_bucket = [Counter[str]() for _ in range(buckets)]
    for rows in units:
        for bucket, value in rows:
            by_bucket[bucket][value] += 1
    return [(f"{number:05d}", values) for number, values in enumerate(by_bucket)]


@st.composite
def collections(draw: st.DrawFn) -> tuple[list[Rows], int]:
    buckets = draw(st.integers(1, 12))
    row = st.tuples(st.integers(0, buckets - 1), st.text(max_size=4))
    return draw(st.lists(st.lists(row, max_size=8), min_size=1, max_size=6)), buckets


@given(collections(), st.integers(1, 5), st.sampled_from([1, 10**9]), st.sampled_from([0, 10**9]), st.integers(0, 12))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_is_gathered_once_in_its_bucket_also_after_an_interruption(
    monkeypatch: pytest.MonkeyPatch,
    collection: tuple[list[Rows], int],
    groups: int,
    routed_bytes: int,
    gathered_bytes: int,
    stops_after: int,
) -> None:
    units, buckets = collection
    monkeypatch.setattr(module, "GROUPS", groups)
    monkeypatch.setattr(module, "ROUTED_BYTES", routed_bytes)
    monkeypatch.setattr(module, "GATHERED_BYTES", gathered_bytes)
    gathered = Gathered()
    gathered.left = stops_after
    with TemporaryDirectory() as place:
        folder = StageFolder(f"{place}/stage")
        with suppress(Interrupted):
            shuffled(folder, units, buckets, gathered)
        gathered.left = 10**9
        stats = shuffled(folder, units, buckets, gathered)
        assert gathered.found == expected(units, buckets)
        assert [one["rows_out"] for one in stats] == [sum(values.values()) for _, values in gathered.found]
        shuffled(folder, units, buckets, gathered)
        assert len(gathered.found) == buckets
        assert not folder.exists("routed")


def test_damaged_rows_are_named_and_routed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = [[(0, f"{unit}{row}") for row in range(20)] for unit in range(4)]
    monkeypatch.setattr(module, "ROUTED_BYTES", 1)
    folder, gathered = StageFolder(str(tmp_path / "stage")), Gathered()
    gathered.left = 0
    with pytest.raises(Interrupted):
        shuffled(folder, units, 1, gathered)
    gathered.left = 1
    path = folder.done_units("step-route")["00002"]["files"][0]["path"]
    content = bytearray(folder.read_bytes(path))
    content[len(content) // 2] ^= 1
    folder.write_bytes(path, bytes(content))
    with pytest.raises(DamagedError, match=re.escape(path)):
        shuffled(folder, units, 1, gathered)
    folder.remove(path)
    shuffled(folder, units, 1, gathered)
    assert gathered.found == expected(units, 1)


class Wrapping(LocalEngine):
    """Raises another error than the work did, as engines with workers do."""

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        try:
            super().map(step, make, units, pool)
        except DamagedError:
            raise RuntimeError("a worker failed") from None


def test_damage_that_a_worker_finds_is_known_to_the_command(tmp_path: Path) -> None:
    units = [[(0, f"{unit}{row}") for row in range(20)] for unit in range(4)]
    folder, gathered = StageFolder(str(tmp_path / "stage")), Gathered()
    gathered.left = 0
    with pytest.raises(Interrupted):
        shuffled(folder, units, 1, gathered)
    (path,) = set(folder.found("routed")) - {"routed/step-route/all.arrow"}
    content = bytearray(folder.read_bytes(path))
    content[len(content) // 2] ^= 1
    folder.write_bytes(path, bytes(content))
    with pytest.raises(DamagedError, match=re.escape(path)):
        shuffled(folder, units, 1, gathered, Wrapping())


class Overlapping(LocalEngine):
    """A late worker, which had been given up, does some of the units beside the one that took its place."""

    def __init__(self, late: slice, first: bool) -> None:
        self.late, self.first = late, first

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        del pool
        late = units[self.late] if step.endswith("-route") else []
        for batch in (late, units) if self.first else (units, late):
            if batch:
                make()(batch)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("late", [slice(2, None), slice(1, 3), slice(0, 1), slice(0, 4)])
@pytest.mark.parametrize("routed_bytes", [1, 200, 10**9])
def test_rows_that_two_workers_routed_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: slice, first: bool, routed_bytes: int
) -> None:
    monkeypatch.setattr(module, "ROUTED_BYTES", routed_bytes)
    units = [[(row % 3, f"{unit}-{row}") for row in range(5)] for unit in range(4)]
    gathered = Gathered()
    shuffled(StageFolder(str(tmp_path / "stage")), units, 3, gathered, Overlapping(late, first))
    assert gathered.found == expected(units, 3)


def test_two_workers_that_hold_the_same_batch_lose_none_of_its_units(tmp_path: Path) -> None:
    step = Step(StageFolder(str(tmp_path / "stage")), "step")
    one, other = Commits(step, "0"), Commits(step, "0")
    for commits, units in ((other, "abc"), (other, "d"), (one, "a"), (one, "b")):
        commits.add({unit: {"rows_out": 1} for unit in units})
    assert step.folder.done_units("step").keys() == set("abcd")


@pytest.mark.parametrize("seconds", [0.0, 3600.0])
def test_what_was_routed_before_an_error_is_not_routed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(module, "ROUTED_SECONDS", seconds)
    folder, routed, stops = StageFolder(str(tmp_path / "stage")), list[int](), [3]

    def route(unit: Unit) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
        if unit.args["n"] in stops:
            if not seconds:  # as a kill would find it
                assert len(folder.done_units("step-route")) == unit.args["n"]
            raise Interrupted
        routed.append(unit.args["n"])
        yield np.zeros(0, np.int64), SCHEMA.empty_table()

    execution = Execution("stage", folder, {}, LocalEngine(), Progress())
    units = [Unit(f"{n:05d}", {"n": n}) for n in range(5)]
    work = Shuffle(lambda: route, units, Gathered, [Unit("0", {})], SCHEMA)
    with pytest.raises(Interrupted):
        execution.shuffle("step", work)
    stops.clear()
    execution.shuffle("step", work)
    assert routed == [0, 1, 2, 3, 4]


def test_a_unit_with_many_rows_is_not_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUTED_BYTES", 1000)
    units: list[Rows] = [[(0, "few")], [(row % 2, "many" * 10) for row in range(100)], [(1, "few")]]
    folder, gathered = StageFolder(str(tmp_path / "stage")), Gathered()

    def route(unit: Unit) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
        for row in units[unit.args["n"]]:
            yield from rows_of([[row]])(Unit("", {"n": 0}))

    wanted = [Unit(f"{n:05d}", {}) for n in range(2)]
    work = Shuffle(lambda: route, [Unit(f"{n:05d}", {"n": n}) for n in range(3)], lambda: gathered, wanted, SCHEMA)
    execution = Execution("stage", folder, {}, LocalEngine(), Progress())
    gathered.left = 0
    with pytest.raises(Interrupted):
        execution.shuffle("step", work)
    routed = folder.done_units("step-route")
    assert [len(routed[unit]["files"]) > 3 for unit in sorted(routed)] == [False, True, False]
    gathered.left = 2
    execution.shuffle("step", work)
    assert gathered.found == expected(units, 2)


def test_what_was_routed_is_removed_by_the_next_run_if_the_one_before_was_killed(tmp_path: Path) -> None:
    folder, gathered, units = StageFolder(str(tmp_path / "stage")), Gathered(), [[(0, "a")], [(1, "b")]]
    shuffled(folder, units, 2, gathered)
    folder.write_bytes(f"routed/step-route/{'0' * 32}.arrow", b"left")
    shuffled(folder, units, 2, gathered)
    assert not folder.exists("routed")
    assert len(gathered.found) == 2


@pytest.mark.parametrize("buckets", [1, 2, 255, 256, 257, 10_000, 1_000_000])
def test_groups_are_few_consecutive_and_of_about_equal_size(buckets: int) -> None:
    groups = Groups(buckets)
    of = groups.of(np.arange(buckets))
    sizes = np.bincount(of, minlength=groups.count)
    assert groups.count == min(buckets, module.GROUPS)
    assert (np.diff(of) >= 0).all()
    assert sizes.max() - sizes.min() <= 1
