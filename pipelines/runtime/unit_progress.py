"""Progress inside a unit: its worker notes now and then how many rows it has done, beside where the unit is committed.

A note is for whoever looks on, and nothing is decided by it: it may be late, missing or left by a worker that died.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.runtime.storage.folder import Folder

NOTE = ".rows"
SECONDS_BETWEEN_NOTES = 5.0


class RowsSoFar:
    """Counts the rows of a unit, and notes them every few seconds: a unit of less time writes nothing."""

    def __init__(self, folder: Folder, place: str, seconds: float = SECONDS_BETWEEN_NOTES) -> None:
        """Count for a unit whose notes are written to `place`, as `note_of` names it."""
        self.folder, self.place, self.seconds = folder, place, seconds
        self.rows, self.noted_at, self.noted = 0, time.monotonic(), False

    def add(self, rows: int) -> None:
        """Count rows that are done."""
        self.rows += rows
        if time.monotonic() - self.noted_at >= self.seconds:
            self.folder.write_bytes(self.place, str(self.rows).encode())
            self.noted_at, self.noted = time.monotonic(), True

    @contextmanager
    def through(self, model: Any) -> Iterator[None]:  # noqa: ANN401 - a module of torch
        """Count what goes through a model of sentence-transformers while this is entered; remove the note after it."""
        hook = model.register_forward_hook(lambda _module, _given, output: self.add(len(output["sentence_embedding"])))
        try:
            yield
        finally:
            hook.remove()
            if self.noted:
                self.folder.remove(self.place)


def note_of(units: str, unit: str) -> str:
    """Return where the rows of a unit are noted, `units` being the folder in which it is committed."""
    return f"{units}/{unit}{NOTE}"


def rows_noted(folder: Folder, units: str, among: Collection[str] | None = None) -> int:
    """Add up the rows that are noted for all units, or for some."""
    names = [name for name in folder.names(units) if name.endswith(NOTE)]
    names = [name for name in names if among is None or name.removesuffix(NOTE) in among]
    return sum(_read(folder, f"{units}/{name}") for name in names)


def forget_notes(folder: Folder, units: str) -> None:
    """Remove what workers that died have left."""
    folder.remove_all([f"{units}/{name}" for name in folder.names(units) if name.endswith(NOTE)])


def _read(folder: Folder, name: str) -> int:
    try:
        noted = folder.read_bytes(name)
    except FileNotFoundError:  # the unit was committed since the folder was listed
        return 0
    return int(noted) if noted.isdigit() else 0
