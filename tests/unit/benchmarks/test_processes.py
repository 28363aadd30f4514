"""What is measured of a process: its time, and the memory of all its descendants."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import processes
from benchmarks.pages import command, spread
from benchmarks.processes import measure

HOLDS = "import time; held = bytearray(b'x') * (120 << 20); time.sleep(0.9); print('done')"
STARTS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLDS!r}])"


def test_memory_of_a_child_and_the_time_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SECONDS_BETWEEN_SAMPLES", 0.1)
    monkeypatch.setattr(processes, "SHARE_FOR_LOOKING", 1)
    measured = measure([sys.executable, "-c", STARTS], tmp_path / "log")
    assert measured.output == "done\n"
    assert 120 <= measured.own_mib <= measured.peak_mib < 250
    assert 0.9 <= measured.seconds < 10


def test_a_failure_says_what_was_written(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as raised:
        measure([sys.executable, "-c", "raise SystemExit('this went wrong')"], tmp_path / "log")
    assert "this went wrong" in raised.value.__notes__[0]


@pytest.mark.parametrize("scratch", [["--scratch", "/a/path"], ["--scratch=/a/path"], []])
def test_the_command_is_printed_without_the_scratch_folder(scratch: list[str]) -> None:
    printed = command("texts", ["--rounds", "2", *scratch, "--sets", "scifact"])
    assert printed == "python -m benchmarks.texts --rounds 2 --sets scifact"


def test_spread() -> None:
    assert spread([3.0]) == "3"
    assert spread([1000.0, 3000.0, 2000.0]) == "2,000 (1,000-3,000)"
    assert spread([0.25, 0.75], 2) == "0.50 (0.25-0.75)"
