"""Cases: each is named by its kind and its seed, runs in a folder of its own, and gives findings."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

import yaml

from tests.fuzz.checking import compare, promises
from tests.fuzz.outcome import REFUSED, Expected, Outcome, as_command, in_process, leftovers
from tests.fuzz.sources import source_case

Way = Literal["process", "command"]


@dataclass
class Case:
    """One case.

    Attributes:
        kind: of what is fuzzed.
        seed: decides all else.
        way: in this process, or as a command.
        told: what it is, for whoever looks at it.
        findings: what went wrong.
        ended: exit status -> count, of its commands.
        seconds: how long it took.
    """

    kind: str
    seed: int
    way: Way = "process"
    told: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    ended: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """How to run it again."""
        return f"{self.kind}:{self.seed}"

    def run(self, arguments: list[str], folder: Path) -> Outcome:
        """Run a command of the case, and find what is wrong with how it ended."""
        outcome = (in_process if self.way == "process" else as_command)(arguments, folder)
        self.told.append(f"hardneg {' '.join(arguments)} -> {outcome.code} {outcome.message}")
        self.findings += outcome.faults()
        self.ended[outcome.code] = self.ended.get(outcome.code, 0) + 1
        return outcome


def way_of(kind: str, seed: int) -> Way:
    """Return how a case runs: a third as commands; loading torch takes seconds, so of models a tenth."""
    return "command" if Random(f"way {kind} {seed}").random() < (0.1 if kind == "model" else 1 / 3) else "process"


def run_case(kind: str, seed: int, way: Way | None = None, keep: Path | None = None) -> Case:
    """Run a case in a folder that is removed afterwards, or in one to keep."""
    case = Case(kind, seed, way or way_of(kind, seed))
    folder = keep or Path(tempfile.mkdtemp(prefix="hardneg-fuzz-"))
    began = time.perf_counter()
    try:
        KINDS[kind](case, Random(f"{kind}:{seed}"), folder.resolve())
        case.findings += leftovers(folder)
    finally:
        case.seconds = time.perf_counter() - began
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return case


def judge(case: Case, outcome: Outcome, expected: Expected, run: Path, formats: list[str]) -> None:
    """Hold how a run of stages ended against what must come of it."""
    if outcome.crash or case.findings:
        return
    if outcome.code == REFUSED:
        if not (expected.must_refuse or expected.may_refuse):
            case.findings.append(f"refused: {outcome.message}")
        if run.exists():
            case.findings.append(f"a refusal left {sorted(path.name for path in run.iterdir())} behind")
    elif outcome.code:
        case.findings.append(f"exit status {outcome.code}: {outcome.message}")
    elif expected.must_refuse:
        case.findings.append(f"not refused: {expected.why}")
    else:
        try:
            found = promises(run, outcome.result, formats)
            found = found or (compare(run, outcome.result, expected.mined, formats) if expected.mined else [])
        except (ValueError, KeyError, OSError) as error:
            found = [f"the training data cannot be read: {type(error).__name__}: {error}"]
        case.findings += found


def write_config(folder: Path, config: Mapping[str, object]) -> Path:
    """Write a configuration."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(dict(config), allow_unicode=True), encoding="utf-8")
    return path


def _source(case: Case, random: Random, folder: Path) -> None:
    made = source_case(random, folder, None, None)
    path = write_config(folder, made.config)
    case.told += [*made.told, f"expected: {made.expected.why or 'the result of the oracle'}"]
    case.told.append(json.dumps(made.config, default=str))
    arguments = ["mine", str(path), "--json"]
    if case.way == "process" and random.random() < 0.9:  # the plot of the report takes longer than all else
        arguments += ["--until", "export"]
    outcome = case.run(arguments, folder)
    judge(case, outcome, made.expected, Path(made.config["run"]), made.config["export"]["formats"])


KINDS: Mapping[str, Callable[[Case, Random, Path], None]] = {"source": _source}
