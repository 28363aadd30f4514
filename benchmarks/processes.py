"""Run a command as a person would, and measure it whole: seconds from start to end, memory over all its processes."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
SECONDS_BETWEEN_SAMPLES = 1.0
SECONDS_TO_THE_FIRST = 0.1  # from there on twice as long each time, so that a short run is seen too
# To sum up its pages the kernel walks all that a process has mapped, which takes long where that is much: looking is
# to cost less than this share of one core.
SHARE_FOR_LOOKING = 0.05


@dataclass(frozen=True)
class Measured:
    """One run of a command.

    Attributes:
        seconds: from its start to its end, imports and start-up of engines included.
        peak_mib: the highest sum of the proportional set sizes of all its processes, in MiB.
        own_mib: the highest sum of what of that is no page of a file, which the kernel could take back.
        output: what it wrote to standard output.
    """

    seconds: float
    peak_mib: int
    own_mib: int
    output: str


def measure(command: Sequence[str], log: Path) -> Measured:
    """Run a command in the root of the checkout, with its packages, to its end.

    Raises:
        subprocess.CalledProcessError: it failed; its standard error is in the log, the end of it in the message.
    """
    peak = own = 0
    with log.open("wb") as errors, log.with_suffix(".out").open("w+b") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=_environment(), cwd=ROOT)
        pause = SECONDS_TO_THE_FIRST
        while not _ended_within(process, pause):
            looked = time.thread_time()
            now = _memory_kib(process.pid)
            peak, own = max(peak, now["Pss"]), max(own, now["Pss"] - now["Pss_File"])
            cost = time.thread_time() - looked
            pause = max(min(2 * pause, SECONDS_BETWEEN_SAMPLES), cost / SHARE_FOR_LOOKING)
        seconds = time.perf_counter() - began
        output.seek(0)
        text = output.read().decode()
    if process.returncode:
        failed = subprocess.CalledProcessError(process.returncode, command)
        failed.add_note(log.read_text(encoding="utf-8", errors="replace")[-2000:])
        raise failed
    return Measured(seconds, peak >> 10, own >> 10, text)


def _environment() -> Mapping[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _ended_within(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _memory_kib(pid: int) -> dict[str, int]:
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        processes = []
    each = [_one_kib(process.pid) for process in processes]
    return {name: sum(one.get(name, 0) for one in each) for name in ("Pss", "Pss_File")}


def _one_kib(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it ended since it was listed
        return {}
    return {line.partition(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Pss")}
