"""How often a step is looked at while it runs: as often as asked for, and less often where a look takes long."""

import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from fsspec.exceptions import FSTimeoutError

from pipelines.runtime import progress as module
from pipelines.runtime.progress import Progress

QUICK = 0.001  # seconds between looks that take no time


@dataclass
class Looks:
    """Looks at a step that take the given seconds; all that follow take as long as the last.

    Attributes:
        seconds: of each look.
        wanted: after so many looks `enough` is set.
        fails: each look ends in an error of the storage.
        times: when each look began and when it ended.
    """

    seconds: list[float]
    wanted: int
    fails: bool = False
    times: list[tuple[float, float]] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> tuple[int, int]:
        began = time.perf_counter()
        time.sleep(self.seconds[min(len(self.times), len(self.seconds) - 1)])
        self.times.append((began, time.perf_counter()))
        if len(self.times) == self.wanted:
            self.enough.set()
        if self.fails:
            raise FSTimeoutError("the store does not answer")
        return len(self.times), 0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as looks that take no time may come, on a terminal and in a log."""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", QUICK)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_BARS", QUICK)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_looks_that_take_long_are_far_apart(terminal: bool, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    shown, looks = Progress(), Looks([0.02], wanted=4, fails=fails)
    assert shown.console.is_terminal == terminal
    with shown.step("step", 9, looks):
        assert looks.enough.wait(20)
    for (began, ended), (following, _) in pairwise(looks.times):
        assert following - ended >= 20 * (ended - began)


def test_one_look_that_took_long_does_not_slow_down_the_others() -> None:
    looks = Looks([0.05, 0.0], wanted=50)
    with Progress().step("step", 9, looks):
        assert looks.enough.wait(20)
    (began, ended), (following, _) = looks.times[:2]
    assert following - ended >= 20 * (ended - began)
    assert looks.times[49][1] - following < 10  # 50 s, were all as far apart as the first two


def test_a_step_ends_at_once_while_a_look_is_far_off() -> None:
    looks = Looks([0.5], wanted=1)
    with Progress().step("step", 9, looks):
        assert looks.enough.wait(20)
        ended = time.perf_counter()
    assert time.perf_counter() - ended < 5  # the next look is 10 s off
    assert len(looks.times) == 1


@pytest.mark.parametrize(("parts", "lines"), [(1, 1), (2, 5)])
def test_a_single_part_without_news_is_printed_once(parts: int, lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    done = threading.Event()
    looks = 0

    def look() -> tuple[int, int]:
        nonlocal looks
        looks += 1
        if looks > 5:
            done.set()
            return 0, 7
        return 0, 0

    progress = Progress()
    progress.stage = "prepare/model"
    with progress.step("try", parts, look):
        assert done.wait(20)
    said = capsys.readouterr().err.splitlines()
    assert said[:lines] == [f"  prepare/model: try: 0 of {parts} parts, working"] * lines
    assert all("7 rows" in line for line in said[lines:])
