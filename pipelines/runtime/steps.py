"""The steps of a stage: which of their units are done, how workers commit them, and why a worker failed."""

import os
import socket
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from operators.errors import InputError, TransientError
from pipelines.runtime.engines import Stats
from pipelines.runtime.storage.records import UNITS, DamagedError
from pipelines.runtime.storage.run_directory import StageFolder, in_records

FAILED = ".failed"
# Units shorter than that share the record that commits them.
SECONDS_BETWEEN_COMMITS = 0.5
# A commit waits until at least this many times its own seconds have passed since the one before: under 5 % of the work.
COMMITS_APART = 20
# But no longer than that, however slow the storage was: a killed worker loses no more, beside the unit in work.
SECONDS_AT_MOST = 10.0


@dataclass(frozen=True)
class Step:
    """Where the units of a step are committed, and where a worker leaves the reason of a failure.

    Engines do not carry errors as they are: some wrap them, others keep their text alone. So the worker writes the
    reason beside the units, under the name of this attempt: a late worker of an earlier run is not mistaken for one.

    Attributes:
        folder: of the stage.
        name: of the step.
        attempt: another for every attempt at the step.
    """

    folder: StageFolder
    name: str
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @contextmanager
    def committing(self, batch: str) -> Iterator["Commits"]:
        """Commit units of a batch while this is entered; those that were done before an error are committed, too."""
        commits = Commits(self, batch)
        try:
            yield commits
        finally:
            commits.flush()

    @contextmanager
    def failing(self, unit: str) -> Iterator[None]:
        """Leave the reason of a failure that ends the run with one line."""
        try:
            yield
        except (InputError, TransientError) as error:
            self._leave(unit, {"kind": type(error).__name__, "message": str(error)})
            raise
        except DamagedError as error:
            self._leave(unit, {"kind": DamagedError.__name__, "damage": [error.uri, error.path, error.found]})
            raise

    def _leave(self, unit: str, reason: Mapping[str, Any]) -> None:
        self.folder.write_sealed(f"{UNITS}/{self.name}/{unit}.{self.attempt}{FAILED}", reason)

    def pop_failure(self) -> Exception | None:
        """Return the failure that a worker of this attempt left, if any, and remove what all attempts left."""
        names = [name for name in self.folder.files(f"{UNITS}/{self.name}") if name.endswith(FAILED)]
        paths = [f"{UNITS}/{self.name}/{name}" for name in sorted(names)]
        own = [path for path in paths if path.endswith(f".{self.attempt}{FAILED}")]
        left = list(self.folder.read_many_sealed(own).values())
        self.folder.remove_all(paths)
        return _failure(left[0]) if left else None


def _failure(left: Mapping[str, Any]) -> Exception:
    if left["kind"] == DamagedError.__name__:
        return DamagedError(*left["damage"])
    return InputError(left["message"]) if left["kind"] == InputError.__name__ else TransientError(left["message"])


class Commits:
    """The units of a batch: those that are committed, and those that are done and wait for the next commit.

    Attributes:
        done: the statistics of all units of the batch that are done. Some may be from a worker that died, or was
            thought dead, before its engine knew.
    """

    def __init__(self, step: Step, batch: str) -> None:
        self.step, self.batch = step, batch
        self.done = in_records(step.folder.unit_records(step.name, batch).values())
        self.waiting: dict[str, Stats] = {}
        self.pause, self.flushed_at = SECONDS_BETWEEN_COMMITS, time.monotonic()

    def once(self, unit: str, work: Callable[[], Stats]) -> Stats:
        """Do a unit, unless it is done, and commit it, maybe with those after it."""
        if unit not in self.done:
            began = time.perf_counter()
            with self.step.failing(unit):
                stats = {**work(), "seconds": round(time.perf_counter() - began, 4)}
            self.done[unit] = self.waiting[unit] = {**stats, "worker": _worker()}
            if time.monotonic() - self.flushed_at >= self.pause:
                self.flush()
        return self.done[unit]

    def add(self, units: Mapping[str, Stats]) -> None:
        """Commit units that were done together, with one record."""
        self.flush()
        self.waiting.update({unit: {**stats, "worker": _worker()} for unit, stats in units.items()})
        self.done.update(self.waiting)
        self.flush()

    def flush(self) -> None:
        """Commit what is done."""
        began = time.monotonic()
        if self.waiting:
            self.step.folder.commit_units(self.step.name, self.batch, self.waiting)
            self.waiting = {}
        self.flushed_at = time.monotonic()
        self.pause = min(max(SECONDS_BETWEEN_COMMITS, COMMITS_APART * (self.flushed_at - began)), SECONDS_AT_MOST)


def _worker() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"


@dataclass
class StepProgress:
    """A step as its folder shows it: which of its units are done, whoever did them.

    Attributes:
        step: which one.
        names: of its units.
        done: the statistics of those that are done.
        rows: how many rows those wrote that this run did.
        known: the records that were read.
    """

    step: Step
    names: frozenset[str]
    done: dict[str, Stats] = field(default_factory=dict)
    rows: int = 0
    known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Look which units are done; one whose files are damaged is not, and is taken out of its record."""
        records = self._records()
        committed = {unit: stats for unit, stats in in_records(records.values()).items() if unit in self.names}
        whole = self.step.folder.whole_units(committed)
        self._forget(records, committed.keys() - whole.keys())
        self.done = {unit: {**stats, "found": True} for unit, stats in whole.items()}

    def forget(self, units: Collection[str]) -> None:
        """Take units that are to be done again out of their records."""
        self._forget(self._records(), units)
        self.done = {unit: stats for unit, stats in self.done.items() if unit not in units}

    def _records(self) -> dict[str, dict[str, Stats] | None]:
        return self.step.folder.unit_records(self.step.name)

    def _forget(self, records: Mapping[str, Mapping[str, Stats] | None], units: Collection[str]) -> None:
        self.step.folder.forget_units(self.step.name, records, units)
        # A record that goes may come again under its name.
        gone = set(units)
        self.known = {path for path, found in records.items() if found is not None and gone.isdisjoint(found)}

    def refresh(self) -> None:
        """See which units have been done since the last look."""
        records = self.step.folder.unit_records(self.step.name, known=self.known)
        # One that cannot be read may be read the next time.
        self.known.update(path for path, units in records.items() if units is not None)
        new = {name: stats for name, stats in in_records(records.values()).items() if name in self.names}
        new = {name: stats for name, stats in new.items() if name not in self.done}
        self.rows += sum(int(stats.get("rows_out", 0)) for stats in new.values())
        self.done.update({name: {**stats, "found": False} for name, stats in new.items()})
