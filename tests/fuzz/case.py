"""A case: what it is, how it ended, and what was wrong with that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

import yaml

from tests.fuzz.outcome import Outcome, as_command, in_process

Way = Literal["process", "command"]


@dataclass
class Case:
    """One case.

    Attributes:
        kind: of what is fuzzed.
        seed: decides all else.
        way: in this process, or as a command.
        notes: what it is, for whoever looks at it.
        findings: what went wrong.
        ended: exit status -> count, of its commands.
        seconds: how long it took.
    """

    kind: str
    seed: int
    way: Way = "process"
    notes: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    ended: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """How to run it again."""
        return f"{self.kind}:{self.seed}"

    def run(self, arguments: list[str], folder: Path, *, lines: bool = False) -> Outcome:
        """Run a command of the case, and find what is wrong with how it ended; `lines` may be said by `verify`."""
        outcome = (in_process if self.way == "process" else as_command)(arguments, folder)
        self.notes.append(f"hardneg {' '.join(arguments)} -> {outcome.code} {outcome.message or outcome.crash}")
        if not (lines and outcome.code == 1):
            self.findings += outcome.faults()
        elif outcome.crash or "Traceback" in outcome.err:
            self.findings.append(outcome.crash or f"traceback: {outcome.err.splitlines()[-1]}")
        self.ended[outcome.code] = self.ended.get(outcome.code, 0) + 1
        return outcome


def way_of(kind: str, seed: int) -> Way:
    """Return how a case runs: a third as commands; loading torch takes seconds, so of models a tenth."""
    return "command" if Random(f"way {kind} {seed}").random() < (0.1 if kind == "model" else 1 / 3) else "process"


def write_config(folder: Path, config: Mapping[str, object]) -> Path:
    """Write a configuration."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(dict(config), allow_unicode=True), encoding="utf-8")
    return path
