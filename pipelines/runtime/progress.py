"""Show how far a run is: bars with rates on a terminal, plain lines in a log."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from operators.storage import is_storage_error

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_BARS = 1.0
# A look waits until so many times the seconds of the one before have passed: under 5 % of a core and of the requests.
LOOKS_APART = 20

Look = Callable[[], tuple[int, int]]
Show = Callable[[int, str], None]


_SHOWN = ContextVar("shown", default=True)


@contextmanager
def shown(progress: bool) -> Iterator[None]:
    """Show the progress of what is done while this is entered, or be silent."""
    token = _SHOWN.set(progress)
    try:
        yield
    finally:
        _SHOWN.reset(token)


class Progress:
    """Writes to standard error, so that standard output holds results alone; nothing where `shown` says so."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.stage = ""
        self.shown = _SHOWN.get()

    def say(self, line: str) -> None:
        """Print one line."""
        if not self.shown:
            return
        if self.console.is_terminal:
            self.console.print(line, markup=False)
        else:  # a console would fold long lines, which a log and grep do not want
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    def step(self, name: str, total: int, look: Look) -> AbstractContextManager[None]:
        """Show one step while it is entered; `look` tells how many units are done, and how many rows by now."""
        return self._step(name, total, look) if self.shown else nullcontext()

    @contextmanager
    def _step(self, name: str, total: int, look: Look) -> Iterator[None]:
        show_as, seconds = (
            (self._bars, SECONDS_BETWEEN_BARS) if self.console.is_terminal else (self._lines, SECONDS_BETWEEN_LINES)
        )
        ended = threading.Event()
        with show_as(self.stage if name == self.stage else f"{self.stage}: {name}", total) as show:
            watching = threading.Thread(target=_watch, args=(look, show, ended, seconds), daemon=True)
            watching.start()
            try:
                yield
            finally:
                ended.set()
                watching.join()

    @contextmanager
    def _bars(self, name: str, total: int) -> Iterator[Show]:
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(name, total=total, rate="")
            yield lambda done, rate: bars.update(task, completed=done, rate=rate)

    @contextmanager
    def _lines(self, name: str, total: int) -> Iterator[Show]:
        said = ""

        def show(done: int, rate: str) -> None:
            nonlocal said
            line = f"  {name}: {done:,} of {total:,} parts, {rate}"
            if total > 1 or line != said:  # of a single part there is often nothing new until it is done
                self.say(line)
            said = line

        yield show


def _watch(look: Look, show: Show, ended: threading.Event, seconds: float) -> None:
    began, pause = time.perf_counter(), seconds
    while not ended.wait(pause):
        asked = time.perf_counter()
        try:
            done, rows = look()
        except Exception as error:  # libraries of storages share no class of errors
            if not is_storage_error(error):
                raise
            continue  # who works there will say so, or it answers the next time
        finally:
            pause = max(seconds, LOOKS_APART * (time.perf_counter() - asked))
        # Some steps have no rows, and of others none is done yet: a rate of 0 would read as if nothing went on.
        show(done, f"{rows:,} rows, {rows / (time.perf_counter() - began):,.0f} rows/s" if rows else "working")
