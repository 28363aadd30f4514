"""The run directory: one folder per stage and fingerprint, with atomic writes and a manifest that is the commit."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import SpooledTemporaryFile, TemporaryDirectory
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from operators.storage import open_uri

UNITS = "_units"
REFUSED = ".refused"
ARROW = ".arrow"
PLAN = "_plan.json"

# Under which key each of fsspec's file systems tells when a file was written.
_WRITTEN = ("mtime", "LastModified", "last_modified", "updated", "created")

# What is sent to an object store in one request, and kept in memory until then; longer files go in parts.
ONE_REQUEST = 16 << 20

# Raised when a stage writes something else than it used to: what an older version wrote is then not reused.
FORMAT = 2


def fingerprint(stage: str, settings: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """Name what a stage would write: equal for equal settings, inputs and format, and for nothing else."""
    identity = {"format": FORMAT, "stage": stage, "settings": settings, "inputs": list(inputs)}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def absolute(uri: str) -> str:
    """Return a local path as it is from everywhere: a worker's current folder may be another. URIs stay as they are."""
    return uri if "://" in uri else os.path.abspath(os.path.expanduser(uri))


@dataclass(frozen=True)
class Folder:
    """A folder at an fsspec URI. Travels to workers; what it writes appears whole or not at all."""

    uri: str
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def fs(self) -> Any:  # noqa: ANN401 - fsspec is untyped
        """The file system of the folder; fsspec keeps one per thread."""
        return open_uri(self.uri, self.storage_options)[0]

    @property
    def is_local(self) -> bool:
        """Tell whether the folder lies in the file system of the machine."""
        return isinstance(self.fs, LocalFileSystem)

    def path(self, name: str = "") -> str:
        """Return the path of a file in this folder, as its file system wants it."""
        root = open_uri(self.uri, self.storage_options)[1].rstrip("/")
        return f"{root}/{name}" if name else root

    def exists(self, name: str = "") -> bool:
        """Tell whether a file or folder is there."""
        return bool(self.fs.exists(self.path(name)))

    def names(self, name: str = "") -> list[str]:
        """List the names of what lies directly in a folder, sorted; none where there is no such folder."""
        path = self.path(name)
        try:
            found = self.fs.ls(path, detail=False)
        except FileNotFoundError:
            return []
        # Some object stores list an empty folder as an object in itself.
        return sorted(entry.rstrip("/").rpartition("/")[2] for entry in found if entry.rstrip("/") != path)

    def times(self, name: str = "") -> dict[str, float]:
        """Return the name of each file that lies directly in a folder, and when it was written: seconds, its storage's.

        The clock is that of the storage. Object stores tell whole seconds.
        """
        try:
            found = self.fs.ls(self.path(name), detail=True)
        except FileNotFoundError:
            return {}
        # Some object stores list an empty folder as an object in itself.
        files = [info for info in found if info["type"] == "file" and not info["name"].endswith("/")]
        files = [info for info in files if info["name"] != self.path(name)]
        return {info["name"].rpartition("/")[2]: _written_at(info) for info in files}

    def remove(self, name: str = "") -> None:
        """Remove a file or folder, if it is there."""
        with suppress(FileNotFoundError):
            self.fs.rm(self.path(name), recursive=True)

    def remove_if_empty(self, name: str = "") -> bool:
        """Remove a folder with nothing in it; tell whether it is gone. What lies in it is never touched."""
        if self.is_local:
            with suppress(OSError):
                os.rmdir(self.path(name))
        elif not self.names(name) and self.exists(name):  # most object stores have no folders; some keep empty ones
            with suppress(FileNotFoundError):
                self.fs.rm_file(self.path(name))
        return not self.exists(name)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file that takes its name only when it is complete."""
        if self.is_local:
            with self._unfinished(self.path(name)) as unfinished, open(unfinished, "wb") as stream:
                yield stream
            return
        with SpooledTemporaryFile(max_size=ONE_REQUEST) as kept:  # nothing is sent before it is complete
            yield kept
            self._send(kept, name)

    def _send(self, content: IO[bytes], name: str) -> None:
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        if size <= ONE_REQUEST:
            self.fs.pipe_file(self.path(name), content.read())
            return
        stream = self.fs.open(self.path(name), "wb", block_size=ONE_REQUEST)
        try:
            shutil.copyfileobj(content, stream, ONE_REQUEST)
            stream.close()
        except BaseException:
            with suppress(Exception):  # the error that led here is the one to tell
                stream.discard()
            stream.closed = True  # so that its end does not complete what was sent
            raise

    @staticmethod
    @contextmanager
    def _unfinished(path: str) -> Iterator[str]:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        unfinished = f"{path}.{uuid.uuid4().hex}.unfinished"
        try:
            yield unfinished
            os.replace(unfinished, path)
        finally:
            Path(unfinished).unlink(missing_ok=True)

    @contextmanager
    def writing_path(self, name: str) -> Iterator[Path]:
        """Give a local path to write a file to, for what writes to paths only; it takes its name when complete."""
        if self.is_local:
            with self._unfinished(self.path(name)) as unfinished:
                yield Path(unfinished)
            return
        with TemporaryDirectory() as place:
            yield Path(place) / "file"
            with (Path(place) / "file").open("rb") as written:
                self._send(written, name)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a whole file."""
        with self.writing(name) as stream:
            stream.write(content)

    def write_json(self, name: str, value: object) -> None:
        """Write a value as JSON."""
        self.write_bytes(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a table as Parquet; as an Arrow file, which vectors are read from ten times as fast, if so named."""
        with self.writing(name) as stream:
            if not name.endswith(ARROW):
                pq.write_table(table, stream, compression="zstd", compression_level=1)
                return
            with pa.ipc.new_file(stream, table.schema) as file:
                file.write_table(table.combine_chunks())

    def read_bytes(self, name: str) -> bytes:
        """Read a whole file."""
        return bytes(self.fs.cat_file(self.path(name)))

    def read_json(self, name: str) -> Any:  # noqa: ANN401 - JSON
        """Read a JSON file."""
        return json.loads(self.read_bytes(name))

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table, or some of its columns. An Arrow file that lies here is a memory map, read where it is used."""
        if name.endswith(ARROW):
            path = self.path(name)
            source = pa.memory_map(path) if self.is_local else pa.BufferReader(self.read_bytes(name))
            table = pa.ipc.open_file(source).read_all()
            return table if columns is None else table.select(list(columns))
        with self.fs.open(self.path(name), "rb") as stream:
            return pq.read_table(stream, columns=None if columns is None else list(columns))


def _written_at(info: Mapping[str, Any]) -> float:
    written = next(info[key] for key in _WRITTEN if info.get(key) is not None)
    return float(written.timestamp() if isinstance(written, datetime) else written)


@dataclass(frozen=True)
class StageFolder(Folder):
    """Where one stage writes. A unit is done once its statistics lie there, the stage once its manifest does.

    Attributes:
        manifest_name: of the manifest; a folder that serves several inputs has one for each.
    """

    manifest_name: str = "_manifest.json"

    def begin_step(self, step: str, units: int, done: int) -> None:
        """Say how many units a step has, and how many of them had been done before, for whoever looks on."""
        self.write_json(f"{UNITS}/{step}.json", {"units": units, "done": done})

    def steps(self) -> list[str]:
        """Return the steps that have begun, in the order in which they did."""
        times = self.times(UNITS)
        begun = [name for name in times if name.endswith(".json")]
        return [name.removesuffix(".json") for name in sorted(begun, key=lambda name: times[name])]

    def step_times(self, step: str) -> tuple[dict[str, Any], float, list[float]]:
        """Return what was said when a step began, when that was, and when each of its units was done."""
        times = self.times(f"{UNITS}/{step}")
        done = [at for name, at in times.items() if name.endswith(".json")]
        return self.read_json(f"{UNITS}/{step}.json"), self.times(UNITS)[f"{step}.json"], done

    def commit_unit(self, step: str, unit: str, stats: Mapping[str, Any]) -> None:
        """Say that a unit of work is done. Written after all that the unit wrote."""
        self.write_json(f"{UNITS}/{step}/{unit}.json", stats)

    def done_unit(self, step: str, unit: str) -> dict[str, Any] | None:
        """Return the statistics of a unit, or None while it is not done."""
        try:
            return dict(self.read_json(f"{UNITS}/{step}/{unit}.json"))
        except FileNotFoundError:
            return None

    def done_units(self, step: str, among: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
        """Return the statistics of the units of a step that are done: of all, or of some."""
        names = [name.removesuffix(".json") for name in self.names(f"{UNITS}/{step}") if name.endswith(".json")]
        paths = {self.path(f"{UNITS}/{step}/{name}.json"): name for name in names if among is None or name in among}
        found = self.fs.cat(list(paths)) if paths else {}  # of an object store: many at the same time
        return {paths[path]: json.loads(content) for path, content in sorted(found.items())}

    def refuse_unit(self, step: str, unit: str, why: str) -> None:
        """Say that the input of a unit is refused."""
        self.write_bytes(f"{UNITS}/{step}/{unit}{REFUSED}", why.encode())

    def take_refusal(self, step: str) -> str | None:
        """Return why a unit of a step was refused, and forget it, or None where none was."""
        refused = [name for name in self.names(f"{UNITS}/{step}") if name.endswith(REFUSED)]
        said = [self.read_bytes(f"{UNITS}/{step}/{name}").decode() for name in refused]
        for name in refused:
            self.remove(f"{UNITS}/{step}/{name}")
        return said[0] if said else None

    def manifest(self) -> dict[str, Any] | None:
        """Return what the stage said when it was complete, or None while it is not."""
        try:
            return dict(self.read_json(self.manifest_name))
        except FileNotFoundError:
            return None

    def commit(self, manifest: Mapping[str, Any]) -> None:
        """Say that the stage is complete. Written last."""
        self.write_json(self.manifest_name, manifest)


@dataclass(frozen=True)
class RunDirectory(Folder):
    """`<run>/<stage>/<fingerprint>/`, `<run>/dataset/<format>/` and `<run>/report/`."""

    def stage(self, name: str, mark: str) -> StageFolder:
        """Return the folder of a stage with this fingerprint."""
        return StageFolder(self._of(name, mark), self.storage_options)

    def growing_stage(self, name: str, units: str, mark: str) -> StageFolder:
        """Return the folder of a stage whose units, of the fingerprint `units`, serve whatever input they are part of.

        A corpus that grew finds there what was done for it when it was smaller.
        """
        return StageFolder(self._of(name, units), self.storage_options, f"_manifest-{mark}.json")

    def tell_plan(self, engine: str, stages: Sequence[tuple[str, StageFolder]]) -> bool:
        """Say which stages there are and where each writes, for whoever looks on; tell whether this run is the first.

        Nothing is written where the latest run said the same.
        """
        places = [
            {"name": name, "folder": folder.uri[len(self.uri.rstrip("/")) + 1 :], "manifest": folder.manifest_name}
            for name, folder in stages
        ]
        before = self.read_plan()
        if before is None or before["stages"] != places:
            began = datetime.now(UTC).isoformat(timespec="seconds")
            self.write_json(PLAN, {"engine": engine, "began": began, "stages": places})
        return before is None

    def read_plan(self) -> dict[str, Any] | None:
        """Return what the latest run said that it goes through, or None where none has begun."""
        try:
            return dict(self.read_json(PLAN))
        except FileNotFoundError:
            return None

    def _of(self, name: str, mark: str) -> str:
        return f"{self.uri.rstrip('/')}/{name}/{mark}"
