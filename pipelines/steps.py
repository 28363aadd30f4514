"""The steps of a stage: which of their units are done, and why a worker failed."""

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from operators.errors import InputError, TransientError
from pipelines.engines import Stats
from pipelines.storage.records import UNITS, DamagedError
from pipelines.storage.run_directory import StageFolder

FAILED = ".failed"


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

    def done(self, unit: str) -> Stats | None:
        """Return the statistics of a unit that is done, or None."""
        return self.folder.done_unit(self.name, unit)

    def committed(self, unit: str, work: Callable[[], Stats]) -> Stats:
        """Do a unit, unless it is done, and commit it."""
        done = self.done(unit)
        if done is not None:  # by a worker that died, or was thought dead, before its engine knew
            return done
        began = time.perf_counter()
        with self.failing(unit):
            stats = {**work(), "seconds": round(time.perf_counter() - began, 4)}
            stats["worker"] = f"{socket.gethostname()}/{os.getpid()}"
            self.folder.commit_unit(self.name, unit, stats)
        return stats

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

    def take_failure(self) -> Exception | None:
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


@dataclass
class StepProgress:
    """A step as its folder shows it: which of its units are done, whoever did them.

    Attributes:
        step: which one.
        names: of its units.
        done: the statistics of those that are done.
        rows: how many rows those wrote that this run did.
    """

    step: Step
    names: frozenset[str]
    done: dict[str, Stats] = field(default_factory=dict)
    rows: int = 0

    def __post_init__(self) -> None:
        """Look which units are done; one whose files are damaged is not, and its record is removed."""
        folder, name = self.step.folder, self.step.name
        committed = folder.committed_units(name, self.names)
        whole = folder.whole_units(committed)
        folder.remove_all([f"{UNITS}/{name}/{unit}.json" for unit in committed.keys() - whole.keys()])
        self.done = {unit: {**stats, "found": True} for unit, stats in whole.items()}

    def look(self) -> None:
        """See which units have been done since the last look."""
        new = self.step.folder.committed_units(self.step.name, self.names - self.done.keys())
        self.rows += sum(int(stats.get("rows_out", 0)) for stats in new.values())
        self.done.update({name: {**stats, "found": False} for name, stats in new.items()})
