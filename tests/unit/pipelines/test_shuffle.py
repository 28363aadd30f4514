"""The shuffle against a dictionary: every row in its bucket, whatever is interrupted or damaged."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
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

from pipelines import shuffle as module
from pipelines.engines import Stats, Unit
from pipelines.engines.local import LocalEngine
from pipelines.execution import Execution
from pipelines.progress import Progress
from pipelines.shuffle import Groups, Shuffle
from pipelines.storage.records import DamagedError
from pipelines.storage.run_directory import StageFolder

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


def shuffled(folder: StageFolder, units: Sequence[Rows], buckets: int, gathered: Gathered) -> list[Stats]:
    execution = Execution("stage", folder, {}, LocalEngine(), Progress())
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
    path = "routed/step-route/00002.arrow"
    content = bytearray(folder.read_bytes(path))
    content[len(content) // 2] ^= 1
    folder.write_bytes(path, bytes(content))
    with pytest.raises(DamagedError, match=re.escape(path)):
        shuffled(folder, units, 1, gathered)
    folder.remove(path)
    shuffled(folder, units, 1, gathered)
    assert gathered.found == expected(units, 1)


@pytest.mark.parametrize("buckets", [1, 2, 255, 256, 257, 10_000, 1_000_000])
def test_groups_are_few_consecutive_and_of_about_equal_size(buckets: int) -> None:
    groups = Groups(buckets)
    of = groups.of(np.arange(buckets))
    sizes = np.bincount(of, minlength=groups.count)
    assert groups.count == min(buckets, module.GROUPS)
    assert (np.diff(of) >= 0).all()
    assert sizes.max() - sizes.min() <= 1
