"""Run many cases in processes of their own, and tell what they found."""

import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import IO, Any

from tests.fuzz.case import way_of

ROOT = Path(__file__).parents[2]
# How many of a hundred cases are of each kind.
SHARES: Mapping[str, int] = {"source": 35, "config": 20, "run": 20, "model": 5, "mixed": 20}
# A command has 120 s, and a case several of them.
SECONDS = 300
SHOWN = 6


@dataclass(frozen=True)
class Done:
    """What came of a case.

    Attributes:
        kind: of the case.
        name: kind and seed.
        way: in this process, or as a command.
        findings: what went wrong.
        ended: exit status -> count, of its commands.
        seconds: how long it took.
    """

    kind: str
    name: str
    way: str
    findings: list[str]
    ended: Mapping[str, int]
    seconds: float


@dataclass
class Report:
    """What came of all cases."""

    done: list[Done] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def found(self) -> list[Done]:
        """The cases that found something."""
        return [one for one in self.done if one.findings]

    def lines(self) -> Iterator[str]:
        """Yield the lines to print."""
        yield "kind     in process  command  exit 0  exit 1  exit 2  findings  s/case"
        for kind in SHARES:
            some = [one for one in self.done if one.kind == kind]
            ways, ended = Counter(one.way for one in some), Counter[str]()
            for one in some:
                ended.update(one.ended)
            found = sum(bool(one.findings) for one in some)
            inside = [one.seconds for one in some if one.way == "process"]
            mean = sum(inside) / max(len(inside), 1)
            yield (
                f"{kind:8} {ways['process']:10,} {ways['command']:8,} {ended['0']:7,} {ended['1']:7,} {ended['2']:7,} "
                f"{found:9,} {mean:7.2f}"
            )
        for findings in sorted(self.alike().values(), key=len, reverse=True):
            names = " ".join(name for name, _ in findings[:SHOWN])
            yield f"{len(findings)} x {findings[0][1][:400]}\n    {names}{' ...' if len(findings) > SHOWN else ''}"
        yield f"{len(self.done):,} cases, {len(self.found):,} with findings, {self.seconds:.0f} s"

    def alike(self) -> dict[str, list[tuple[str, str]]]:
        """Group the findings that say the same but for names and numbers: (case, finding)."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for one in self.done:
            for finding in one.findings[:1]:
                alike = re.sub(r"/\S+|'[^']*'|\"[^\"]*\"|\d+", "#", finding)[:90]
                groups.setdefault(alike, []).append((one.name, finding))
        return groups


def names_of(cases: int, seed: int, kinds: Sequence[str]) -> list[str]:
    """Name the cases of a seed."""
    random = Random(f"cases {seed}")
    weights = [SHARES[kind] for kind in kinds]
    chosen = random.choices(list(kinds), weights, k=cases)
    return [f"{kind}:{seed * 1_000_000 + i}" for i, kind in enumerate(chosen)]


def fuzz(
    names: Sequence[str], jobs: int, each: Callable[[Done], bool] = lambda done: False, root: Path = ROOT
) -> Report:
    """Run cases, `jobs` at a time; `each` is called with what came of one, and ends it all by returning True."""
    report, began = Report(), time.perf_counter()
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    ended, lock = threading.Event(), threading.Lock()

    def work() -> None:
        worker = Worker(root)
        with contextlib.closing(worker):
            while not ended.is_set():
                try:
                    done = worker.run(waiting.get_nowait())
                except queue.Empty:
                    return
                with lock:
                    report.done.append(done)
                    if each(done):
                        ended.set()

    threads = [threading.Thread(target=work) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.seconds = time.perf_counter() - began
    return report


class Worker:
    """A process that runs cases: if one kills it, that is what the case found, and the next one gets another."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._process: subprocess.Popen[str] | None = None

    def run(self, name: str) -> Done:
        """Run a case."""
        kind, _, seed = name.partition(":")
        began = time.perf_counter()
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        killer = threading.Timer(SECONDS, process.kill)
        killer.start()
        try:
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            killer.cancel()
        if line:
            return Done(**json.loads(line))
        code, seconds = process.wait(), time.perf_counter() - began
        with contextlib.suppress(BrokenPipeError), process:  # closes its pipes
            pass
        self._process = None
        what = f"it hangs: nothing after {SECONDS} s" if seconds >= SECONDS else f"the process died with status {code}"
        return Done(kind, name, way_of(kind, int(seed)), [what], {}, seconds)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            with self._process:  # closes its pipes, and waits
                pass

    def _started(self) -> "subprocess.Popen[str]":
        if self._process is None:
            path = {"PYTHONPATH": str(self.root), "HARDNEG_FUZZED": str(self.root), "HF_HUB_OFFLINE": "1"}
            # One thread: matrices are tiny, and several processes share the cores.
            environment = {"OMP_NUM_THREADS": "1", **os.environ, **path}
            command = [sys.executable, "-m", "tests.fuzz", "--worker"]
            self._process = subprocess.Popen(
                command, cwd=self.root, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        return self._process


def serve(source: IO[str]) -> None:
    """Run the cases whose names come in, and print what came of them: what a worker does."""
    from tests.fuzz.cases import run_case

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # libraries in C++ write there, whatever Python's streams are
        os.dup2(quiet, stream)
    for line in source:
        kind, _, seed = line.strip().partition(":")
        case = run_case(kind, int(seed))
        answer: dict[str, Any] = {"kind": kind, "name": case.name, "way": case.way, "findings": case.findings}
        ended = {str(code): count for code, count in case.ended.items()}
        answers.write(json.dumps({**answer, "ended": ended, "seconds": round(case.seconds, 3)}) + "\n")
        answers.flush()
