"""Show how far a run is: bars with rates on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from pipelines.engines import Stats

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Writes to standard error, so that standard output holds results alone."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.stage = ""

    def say(self, line: str) -> None:
        """Print one line."""
        if self.console.is_terminal:
            self.console.print(line, markup=False)
        else:  # a console would fold long lines, which a log and grep do not want
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    @contextmanager
    def step(self, name: str, total: int, done: int) -> Iterator[Callable[[Stats], None]]:
        """Follow one step; the callable takes the statistics of each unit as it is done."""
        follow = self._bars if self.console.is_terminal else self._lines
        with follow(f"{self.stage}: {name}", total, done) as advance:
            yield advance

    @contextmanager
    def _bars(self, name: str, total: int, done: int) -> Iterator[Callable[[Stats], None]]:
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        rate = _Rate()
        with Bars(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(name, total=total, completed=done, rate="")

            def advance(stats: Stats) -> None:
                bars.update(task, advance=1, rate=rate.after(stats))

            yield advance

    @contextmanager
    def _lines(self, name: str, total: int, done: int) -> Iterator[Callable[[Stats], None]]:
        rate, last = _Rate(), time.perf_counter()
        finished = done

        def advance(stats: Stats) -> None:
            nonlocal last, finished
            finished += 1
            text = rate.after(stats)
            if time.perf_counter() - last >= SECONDS_BETWEEN_LINES:
                last = time.perf_counter()
                self.say(f"  {name}: {finished} of {total} parts, {text}")

        yield advance


class _Rate:
    def __init__(self) -> None:
        self.began, self.rows = time.perf_counter(), 0

    def after(self, stats: Stats) -> str:
        self.rows += int(stats.get("rows_out", 0))
        return f"{self.rows / max(time.perf_counter() - self.began, 1e-9):,.0f} rows/s"
