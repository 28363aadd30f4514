"""Bring the rows of many units together by bucket, in two steps over files: route, then gather.

A worker that routes holds the rows of many units, sorts them by group of buckets, and writes them as one file; a unit
with many rows has files of its own. A worker that gathers reads the range of its group from every such file, and takes
it apart into buckets. So files grow with the bytes of the rows, and requests with files times groups; neither grows
with units times buckets (docs/adr/0008).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from operators.schemas import concat, to_numpy
from operators.segments import group_indices
from pipelines.runtime.engines import Pool, Stats, Unit
from pipelines.runtime.steps import Commits, Step
from pipelines.runtime.storage.records import DamagedError, Record
from pipelines.runtime.storage.run_directory import StageFolder

# Rows that a worker routes and holds, beside one table more of a unit; twice as much while it sorts them.
ROUTED_BYTES = 32 << 20
# Where fewer rows come in that time, they are written all the same: a killed worker loses no more.
ROUTED_SECONDS = 30.0
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
_Range = tuple[str, int, int]


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


# Where the ranges of each group lie: as a file, since workers are sent what they need anew with each batch.
_RANGES = pa.schema({"path": pa.string(), "starts": pa.list_(pa.int64())})


@dataclass(frozen=True)
class Routed:
    """The files of routed rows.

    Attributes:
        paths: in the stage's folder.
        starts: where the range of each group begins in each file, and where the last one ends, in bytes: int64 of shape
            (files, groups + 1).
    """

    paths: Sequence[str]
    starts: Ints

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return int(self.starts[:, -1].sum())

    def of(self, group: int) -> list[tuple[str, int, int]]:
        """Return the ranges of a group: path, first byte, byte after the last."""
        starts, ends = self.starts[:, group], self.starts[:, group + 1]
        return [(self.paths[i], int(starts[i]), int(ends[i])) for i in np.flatnonzero(ends > starts).tolist()]

    def written(self, folder: StageFolder, step: str) -> Record:
        """Write down where the ranges are, beside the files of a step."""
        table = pa.table({"path": list(self.paths), "starts": list(self.starts)}, schema=_RANGES)
        return folder.write_table(f"{routed_folder(step)}/all.arrow", table)

    @classmethod
    def read(cls, folder: StageFolder, record: Record) -> Self:
        """Read what `written` wrote."""
        table = folder.read_table(record)
        if not table.num_rows:
            return cls([], np.zeros((0, GROUPS + 1), np.int64))
        starts = table.column("starts").combine_chunks().values.to_numpy()
        return cls(table.column("path").to_pylist(), starts.reshape(table.num_rows, -1))


def routed_in(done: Mapping[str, Stats], groups: Groups) -> tuple[Routed, set[str]]:
    """Return the files of the units that were routed, by the statistics of these, and which units are in none of them.

    A file counts with all its units, or not at all: where two workers routed a unit, of which one had been given up, it
    is in a file of each, beside others.
    """
    named = Counter(file["path"] for stats in done.values() for file in stats["files"])
    begun = {one["path"]: one for stats in done.values() for one in stats.get("routed", [])}
    whole = {path for path, count in named.items() if path in begun and begun[path]["units"] == count}
    while True:
        left = {unit for unit, stats in done.items() if not whole.issuperset(file["path"] for file in stats["files"])}
        # The other files of a unit that is left do not count either, and so with their units.
        apart = {file["path"] for unit in left for file in done[unit]["files"]} & whole
        if not apart:
            break
        whole -= apart
    paths = sorted(whole)
    starts = np.array([begun[path]["starts"] for path in paths], np.int64).reshape(len(paths), groups.count + 1)
    return Routed(paths, starts), left


class _Held:
    """Rows that a worker has routed and not written, and the units that they are of."""

    def __init__(self) -> None:
        self.empty()

    def empty(self) -> None:
        self.units, self.rows, self.size, self.began = dict[str, Stats](), list[pa.Table](), 0, time.monotonic()

    def add(self, table: pa.Table) -> None:
        self.rows.append(table)
        self.size += table.nbytes


class RouteUnits:
    """Routes batches of units; the rows of many units are in one file, and are committed together."""

    def __init__(self, make: Callable[[], Route], schema: pa.Schema, groups: Groups, step: Step) -> None:
        self.schema, self.groups, self.step = _with_bucket(schema), groups, step
        with step.failing("making"):
            self.route = make()

    def __call__(self, batch: Sequence[Unit]) -> list[Stats]:
        """Route a batch; what was routed before an error is committed, too."""
        with self.step.committing(batch[0].name) as commits:
            held = _Held()
            try:
                for unit in batch:
                    if unit.name not in commits.done:
                        with self.step.failing(unit.name):
                            self._route(unit, held, commits)
                        if held.size >= ROUTED_BYTES or time.monotonic() - held.began >= ROUTED_SECONDS:
                            self._commit(held, commits)
            finally:
                self._commit(held, commits)
        return list(commits.done.values())

    def _route(self, unit: Unit, held: _Held, commits: Commits) -> None:
        """Route a unit, and hold it. What was held before is written first where the unit has many rows."""
        began, count, own, files = time.perf_counter(), 0, _Held(), list[dict[str, Any]]()
        for bucket, table in self.route(unit):
            own.add(table.append_column(BUCKET, pa.array(bucket)))
            count += table.num_rows
            if held.units and held.size + own.size >= ROUTED_BYTES:
                self._commit(held, commits)
            if own.size >= ROUTED_BYTES:
                files.append(self._written(own.rows, [unit.name, str(len(files))]))
                own.empty()
        held.units[unit.name] = {"files": [], "rows_out": count, "seconds": round(time.perf_counter() - began, 4)}
        for file in files:
            _place(file, {unit.name: held.units[unit.name]})
        for table in own.rows:
            held.add(table)

    def _commit(self, held: _Held, commits: Commits) -> None:
        """Write what is held as one file, and commit its units."""
        if held.size:
            _place(self._written(held.rows, list(held.units)), held.units)
        commits.add(held.units)
        held.empty()

    def _written(self, rows: Sequence[pa.Table], of: Sequence[str]) -> dict[str, Any]:
        """Write rows as a file; return its record, and where each group begins in it.

        It is named by its content and by what it is of: two workers that route the same batch may cut it differently.
        """
        table = concat(rows, self.schema)
        group = self.groups.of(to_numpy(table, BUCKET))
        ranges = {number: _sealed(table.take(pa.array(places))) for number, places in group_indices(group)}
        starts = np.cumsum([0, *(len(ranges.get(number, b"")) for number in range(self.groups.count))])
        content = b"".join(ranges[number] for number in sorted(ranges))
        name = xxhash.xxh3_128_hexdigest("\n".join(of).encode() + b"\0" + content)
        file = self.step.folder.write_bytes(f"{routed_folder(self.step.name)}/{name}.arrow", content)
        return {"file": file, "starts": starts.tolist()}


def _place(written: Mapping[str, Any], units: Mapping[str, Stats]) -> None:
    """Note a file with its units; the first of them says how many these are, and where the groups begin."""
    for stats in units.values():
        stats["files"].append(written["file"])
    first = next(iter(units.values()))
    begun = {"path": written["file"]["path"], "starts": written["starts"], "units": len(units)}
    first.setdefault("routed", []).append(begun)


class GatherGroups:
    """Gathers groups of buckets; each bucket is committed by itself."""

    def __init__(self, make: Callable[[], Gather], schema: pa.Schema, routed: Record, step: Step) -> None:
        self.schema, self.step, self.folder = schema, step, step.folder
        with step.failing("making"):
            self.files = Routed.read(step.folder, routed)
            self.gather = make()

    def __call__(self, batch: Sequence[Unit]) -> list[Stats]:
        """Gather some groups. A unit's arguments are its number and its buckets: {number: [name, arguments]}."""
        with self.step.committing(batch[0].name) as commits:
            for group in batch:
                buckets = {int(number): Unit(*bucket) for number, bucket in group.args["buckets"].items()}
                missing = {number: unit for number, unit in buckets.items() if unit.name not in commits.done}
                if missing:
                    self._gather(group, missing, commits)
        return list(commits.done.values())

    def _gather(self, group: Unit, missing: Mapping[int, Unit], commits: Commits) -> None:
        with self.step.failing(group.name):
            for number, rows in self._apart(self.files.of(group.args["group"]), sorted(missing)):
                unit = missing[number]
                commits.once(unit.name, partial(self.gather, unit, rows))

    def _apart(self, ranges: Sequence[_Range], wanted: Sequence[int]) -> Iterator[tuple[int, pa.Table]]:
        """Yield the rows of each wanted bucket of a group."""
        if sum(end - start for _, start, end in ranges) <= GATHERED_BYTES:
            rows = concat(list(self._read(ranges)), _with_bucket(self.schema))
            yield from self._each(wanted, dict(_by_bucket(rows)).get)
            return
        with TemporaryDirectory() as place:
            for table in self._read(ranges):
                for number, rows in _by_bucket(table):
                    _append(Path(place) / str(number), rows)
            yield from self._each(wanted, lambda number: _appended(Path(place) / str(number)))

    def _each(self, wanted: Sequence[int], rows_of: Callable[[int], pa.Table | None]) -> Iterator[tuple[int, pa.Table]]:
        for number in wanted:
            rows = rows_of(number)
            yield number, self.schema.empty_table() if rows is None else rows.drop_columns(BUCKET)

    def _read(self, ranges: Sequence[_Range]) -> Iterator[pa.Table]:
        for first in range(0, len(ranges), RANGES):
            some = ranges[first : first + RANGES]
            for (path, _, _), content in zip(some, self.folder.read_ranges(some), strict=True):
                table = _unsealed(content)
                if table is None:
                    raise DamagedError(self.folder.uri, path, "the content is not what was written")
                yield table


def routed_folder(step: str) -> str:
    """Return the folder, in the stage's, of the rows that a step has routed."""
    return f"routed/{step}"


def _with_bucket(schema: pa.Schema) -> pa.Schema:
    return schema.append(pa.field(BUCKET, pa.int64()))


def _by_bucket(table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    bucket = to_numpy(table, BUCKET)
    order = np.argsort(bucket, kind="stable")
    table, bucket = table.take(pa.array(order)), bucket[order]
    for number, places in group_indices(bucket):
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
