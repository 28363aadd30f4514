"""Run a command as a person would, and measure it whole: seconds from start to end, memory over all its processes."""

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SECONDS_BETWEEN_SAMPLES = 0.5


@dataclass(frozen=True)
class Measured:
    """One run of a command.

    Attributes:
        seconds: from its start to its end, imports and start-up of engines included.
        peak_mib: the highest sum of the proportional set sizes of all its processes, in MiB.
        output: what it wrote to standard output.
    """

    seconds: float
    peak_mib: int
    output: str


def measure(command: Sequence[str], log: Path) -> Measured:
    """Run a command to its end.

    Raises:
        subprocess.CalledProcessError: it failed; its standard error is in the log.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    began = time.perf_counter()
    peak = 0
    with log.open("wb") as errors, log.with_suffix(".out").open("w+b") as output:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        while process.poll() is None:
            peak = max(peak, _proportional_kib(process.pid))
            time.sleep(SECONDS_BETWEEN_SAMPLES)
        seconds = time.perf_counter() - began
        output.seek(0)
        text = output.read().decode()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Measured(seconds, peak >> 10, text)


def _proportional_kib(pid: int) -> int:
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_one_kib(process.pid) for process in processes)


def _one_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it ended since it was listed
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
