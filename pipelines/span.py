"""The part of a run that one command does: from one stage to another."""

import difflib
from dataclasses import dataclass

from operators.errors import InputError

# As the command line names them: `prepare` and `search` are two stages each, and `report` comes after all of them.
STAGES = ("prepare", "encode", "index", "search", "select", "export", "report")
FIRST, LAST = STAGES[0], STAGES[-1]


@dataclass(frozen=True)
class Span:
    """From one stage to another, both included. What comes before must be complete, unless it begins at the first.

    Attributes:
        first: the stage before which nothing is run.
        last: the stage after which nothing is run.

    Raises:
        InputError: there is no such stage, or the last comes before the first.
    """

    first: str = FIRST
    last: str = LAST

    def __post_init__(self) -> None:
        for option, stage in (("--from", self.first), ("--until", self.last)):
            if stage not in STAGES:
                near = difflib.get_close_matches(stage, STAGES, n=1)
                meant = f" Did you mean {near[0]!r}?" if near else ""
                raise InputError(f"{option} {stage}: no such stage.{meant} The stages are {', '.join(STAGES)}.")
        if STAGES.index(self.last) < STAGES.index(self.first):
            raise InputError(f"--from {self.first} --until {self.last}: {self.last} comes before {self.first}.")

    @property
    def before(self) -> str | None:
        """The stage right before the first, if there is one."""
        return STAGES[STAGES.index(self.first) - 1] if self.first != FIRST else None

    @property
    def publishes(self) -> bool:
        """Tell whether the dataset is written to its place."""
        return self.last in {"export", LAST}

    @property
    def reports(self) -> bool:
        """Tell whether the report is written."""
        return self.last == LAST


def span_of(command: str) -> Span:
    """Return what a command does: `mine` all, a stage's command all up to that stage."""
    return Span() if command == "mine" else Span(last=command)
