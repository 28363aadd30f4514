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
        first_mib: the highest resident set of its first process alone, pages that it shares included.
        first_cpu_seconds: what its first process alone took of the cores, up to about a second before its end.
        output: what it wrote to standard output.
    """

    seconds: float
    peak_mib: int
    own_mib: int
    first_mib: int
    first_cpu_seconds: float
    output: str


def measure(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, beside: Sequence[int] = ()
) -> Measured:
    """Run a command in the root of the checkout, with its packages, to its end.

    Args:
        command: to run.
        log: for its standard error.
        environment: what it finds in its own, beside the packages.
        beside: processes whose memory, and that of all below them, counts as its own: those of a cluster.

    Raises:
        subprocess.CalledProcessError: it failed; its standard error is in the log, the end of it in the message.
    """
    peak = own = first = 0
    cpu = 0.0
    with log.open("wb") as errors, log.with_suffix(".out").open("w+b") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=with_packages(environment), cwd=ROOT)
        pause = SECONDS_TO_THE_FIRST
        while not _ended_within(process, pause):
            looked = time.thread_time()
            now = _memory_kib([process.pid, *beside])
            peak, own = max(peak, now["Pss"]), max(own, now["Pss"] - now["Pss_File"])
            first, cpu = max(first, resident_peak_kib(process.pid)), max(cpu, _cpu_seconds(process.pid))
            cost = time.thread_time() - looked
            pause = max(min(2 * pause, SECONDS_BETWEEN_SAMPLES), cost / SHARE_FOR_LOOKING)
        seconds = time.perf_counter() - began
        output.seek(0)
        text = output.read().decode()
    if process.returncode:
        failed = subprocess.CalledProcessError(process.returncode, command)
        failed.add_note(log.read_text(encoding="utf-8", errors="replace")[-2000:])
        raise failed
    return Measured(seconds, peak >> 10, own >> 10, first >> 10, cpu, text)


def with_packages(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that finds the packages of this checkout, and some more in it."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    packages = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return {**os.environ, **packages, **(environment or {})}


def resident_peak_kib(pid: int) -> int:
    """Return the highest resident set that a process has had; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def _ended_within(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _memory_kib(roots: Sequence[int]) -> dict[str, int]:
    each = [_one_kib(pid) for root in roots for pid in _tree(root)]
    return {name: sum(one.get(name, 0) for one in each) for name in ("Pss", "Pss_File")}


def _cpu_seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0
    return float(times.user + times.system)


def _tree(pid: int) -> list[int]:
    try:
        root = psutil.Process(pid)
        return [pid, *(process.pid for process in root.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def _one_kib(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it ended since it was listed
        return {}
    return {line.partition(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Pss")}
