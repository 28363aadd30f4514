"""Bring the rows of many units together by bucket, in two steps over files: route, then gather.

A worker that routes holds the rows of many units, sorts them by group of buckets, and writes them as one file. A worker
that gathers reads the range of its group from every such file, and takes it apart into buckets. So files grow with the
bytes of the rows, and requests with files times groups; neither grows with units times buckets (docs/adr/0008).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from operators.schemas import concat, numbers
from operators.segments import groups_of
from pipelines.engines import Pool, Stats, Unit
from pipelines.steps import Step
from pipelines.storage.records import DamagedError

# Rows that a worker routes and holds; twice as much while it sorts them.
ROUTED_BYTES = 32 << 20
# Rows of a group that are taken apart in memory; more go through files on the worker's disk.
GATHERED_BYTES = 128 << 20
# Buckets are gathered in so many groups: the workers share the groups, and a worker's disk holds one at a time.
GROUPS = 256
# Ranges that are requested at once.
RANGES = 64

BUCKET = "_bucket"
_DIGEST_BYTES = 8

Ints = npt.NDArray[np.int64]
Route = Callable[[Unit], Iterable[tuple[Ints, pa.Table]]]
Gather = Callable[[Unit, pa.Table], Stats]


@dataclass(frozen=True)
class Shuffle:
    """Rows to bring together: those of all units, by bucket.

    Attributes:
        make_route: called on the worker; what it makes yields, for a unit, tables of rows, each with the number of the
            bucket of every row: int64 of shape (rows,).
        units: where the rows come from.
        make_gather: called on the worker; what it makes is called once for each bucket, with the bucket and all rows
            that were routed to its number, in no certain order, and with an empty table where there are none.
        buckets: to gather; their numbers are their places here.
        schema: of the rows.
        pool: what routing needs; None where that is little more than to read what the arguments of the units name.
    """

    make_route: Callable[[], Route]
    units: Sequence[Unit]
    make_gather: Callable[[], Gather]
    buckets: Sequence[Unit]
    schema: pa.Schema
    pool: Pool | None = None


@dataclass(frozen=True)
class Groups:
    """The groups of so many buckets: consecutive ones share a group."""

    buckets: int

    @property
    def count(self) -> int:
        """How many groups there are."""
        return min(self.buckets, GROUPS)

    def of(self, bucket: Ints) -> Ints:
        """Return the groups of buckets."""
        return bucket * self.count // max(self.buckets, 1)


@dataclass(frozen=True)
class Routed:
    """A file of routed rows.

    Attributes:
        path: in the stage's folder.
        starts: where the range of each group begins, and where the last one ends, in bytes: groups + 1 values.
    """

    path: str
    starts: Sequence[int]


def routed_in(done: Mapping[str, Stats]) -> list[Routed]:
    """Return the files of the units that were routed, by the statistics of these."""
    files = {stats["file"]["path"]: stats["starts"] for stats in done.values() if "starts" in stats}
    return [Routed(path, files[path]) for path in sorted(files)]


class RouteUnits:
    """Routes batches of units; the rows of many units are in one file, and are committed together."""

    def __init__(self, make: Callable[[], Route], schema: pa.Schema, groups: Groups, step: Step) -> None:
        self.schema, self.groups, self.step = _with_bucket(schema), groups, step
        with step.failing("making"):
            self.route = make()

    def __call__(self, batch: Sequence[Unit]) -> list[Stats]:
        """Route a batch."""
        with self.step.committing(batch[0].name) as commits:
            held, rows, size = dict[str, int](), list[pa.Table](), 0
            for unit in batch:
                if unit.name in commits.done:
                    continue
                with self.step.failing(unit.name):
                    routed = [table.append_column(BUCKET, pa.array(bucket)) for bucket, table in self.route(unit)]
                held[unit.name] = sum(table.num_rows for table in routed)
                rows += routed
                size += sum(table.nbytes for table in routed)
                if size >= ROUTED_BYTES:
                    commits.add(self._written(held, rows))
                    held, rows, size = {}, [], 0
            if held:
                commits.add(self._written(held, rows))
        return list(commits.done.values())

    def _written(self, units: Mapping[str, int], rows: Sequence[pa.Table]) -> dict[str, Stats]:
        """Write the rows of some units; return the statistics of each. The first says where the groups begin."""
        table = concat(rows, self.schema)
        group = self.groups.of(numbers(table, BUCKET))
        ranges = {number: _sealed(table.take(pa.array(places))) for number, places in groups_of(group)}
        starts = np.cumsum([0, *(len(ranges.get(number, b"")) for number in range(self.groups.count))])
        first = next(iter(units))
        content = b"".join(ranges[number] for number in sorted(ranges))
        file = self.step.folder.write_bytes(f"{routed_folder(self.step.name)}/{first}.arrow", content)
        stats: dict[str, Stats] = {unit: {"file": file, "rows_out": count} for unit, count in units.items()}
        stats[first]["starts"] = starts.tolist()
        return stats


class GatherGroups:
    """Gathers groups of buckets; each bucket is committed by itself."""

    def __init__(self, make: Callable[[], Gather], schema: pa.Schema, files: Sequence[Routed], step: Step) -> None:
        self.schema, self.files, self.step, self.folder = schema, files, step, step.folder
        with step.failing("making"):
            self.gather = make()

    def __call__(self, batch: Sequence[Unit]) -> list[Stats]:
        """Gather some groups. A unit's arguments are its number and its buckets: {number: [name, arguments]}."""
        with self.step.committing(batch[0].name) as commits:
            for group in batch:
                buckets = {int(number): Unit(*bucket) for number, bucket in group.args["buckets"].items()}
                missing = {number: unit for number, unit in buckets.items() if unit.name not in commits.done}
                with self.step.failing(group.name):
                    files = [file for file in self.files if _size(file, group.args["group"])]
                for number, rows in self._apart(files, group.args["group"], sorted(missing)):
                    unit = missing[number]
                    commits.once(unit.name, partial(self.gather, unit, rows))
        return list(commits.done.values())

    def _apart(self, files: Sequence[Routed], group: int, wanted: Sequence[int]) -> Iterator[tuple[int, pa.Table]]:
        """Yield the rows of each wanted bucket of a group."""
        if sum(_size(file, group) for file in files) <= GATHERED_BYTES:
            rows = concat(list(self._read(files, group)), _with_bucket(self.schema))
            yield from self._each(wanted, dict(_by_bucket(rows)).get)
            return
        with TemporaryDirectory() as place:
            for table in self._read(files, group):
                for number, rows in _by_bucket(table):
                    _append(Path(place) / str(number), rows)
            yield from self._each(wanted, lambda number: _appended(Path(place) / str(number)))

    def _each(self, wanted: Sequence[int], rows_of: Callable[[int], pa.Table | None]) -> Iterator[tuple[int, pa.Table]]:
        for number in wanted:
            rows = rows_of(number)
            yield number, self.schema.empty_table() if rows is None else rows.drop_columns(BUCKET)

    def _read(self, files: Sequence[Routed], group: int) -> Iterator[pa.Table]:
        for first in range(0, len(files), RANGES):
            some = files[first : first + RANGES]
            ranges = [(file.path, file.starts[group], file.starts[group + 1]) for file in some]
            for file, content in zip(some, self.folder.read_ranges(ranges), strict=True):
                if content is None:
                    raise DamagedError(self.folder.uri, file.path, "the file is missing")
                table = _unsealed(content)
                if table is None:
                    raise DamagedError(self.folder.uri, file.path, "the content is not what was written")
                yield table


def routed_folder(step: str) -> str:
    """Return the folder, in the stage's, of the rows that a step has routed."""
    return f"routed/{step}"


def _with_bucket(schema: pa.Schema) -> pa.Schema:
    return schema.append(pa.field(BUCKET, pa.int64()))


def _size(file: Routed, group: int) -> int:
    return file.starts[group + 1] - file.starts[group]


def _by_bucket(table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    bucket = numbers(table, BUCKET)
    order = np.argsort(bucket, kind="stable")
    table, bucket = table.take(pa.array(order)), bucket[order]
    for number, places in groups_of(bucket):
        yield number, table.slice(int(places[0]), len(places))


def _sealed(table: pa.Table) -> bytes:
    """Return a table as an Arrow IPC stream behind the digest of it: a range is read without the rest of its file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    content = sink.getvalue()
    digest: bytes = xxhash.xxh3_64_digest(content)
    return digest + bytes(content)


def _unsealed(content: bytes) -> pa.Table | None:
    """Return what `_sealed` wrote; None where it is not that."""
    digest, rows = content[:_DIGEST_BYTES], pa.py_buffer(content)[_DIGEST_BYTES:]
    return pa.ipc.open_stream(rows).read_all() if xxhash.xxh3_64_digest(rows) == digest else None


def _append(file: Path, table: pa.Table) -> None:
    with file.open("ab") as end, pa.ipc.new_stream(end, table.schema) as stream:
        stream.write_table(table)


def _appended(file: Path) -> pa.Table | None:
    if not file.exists():
        return None
    tables: list[Any] = []
    with file.open("rb") as content:
        while content.tell() < file.stat().st_size:
            tables.append(pa.ipc.open_stream(content).read_all())
    return pa.concat_tables(tables)
