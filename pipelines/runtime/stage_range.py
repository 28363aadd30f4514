"""The part of a pipeline that one command runs: from one group of stages to another."""

from collections.abc import Sequence
from dataclasses import dataclass

from operators.errors import InputError, did_you_mean

# After all stages comes the report.
REPORT = "report"


@dataclass(frozen=True)
class StageRange:
    """From one group of stages to another, both included.

    What comes before must be complete, unless the range begins at the first group.

    Attributes:
        first: the group before which nothing is run; None is the first.
        last: the group after which nothing is run, or `report`; None is that.
        groups: of the pipeline, in order, without the report.

    Raises:
        InputError: there is no such group, or the last comes before the first.
    """

    first: str | None
    last: str | None
    groups: Sequence[str]

    def __post_init__(self) -> None:
        names = (*self.groups, REPORT)
        for option, name in (("--from", self.first), ("--until", self.last)):
            if name is not None and name not in names:
                meant = did_you_mean(name, names)
                raise InputError(f"{option} {name}: no such stage.{meant} The stages are {', '.join(names)}.")
        first, last = self.first or names[0], self.last or REPORT
        if names.index(last) < names.index(first):
            raise InputError(f"--from {first} --until {last}: {last} comes before {first}.")

    @property
    def before(self) -> str | None:
        """The group right before the first, if there is one."""
        at = (*self.groups, REPORT).index(self.first or self.groups[0])
        return self.groups[at - 1] if at else None

    @property
    def until(self) -> str:
        """The last group that is run; empty for all."""
        return "" if self.reports else str(self.last)

    @property
    def reports(self) -> bool:
        """Tell whether the report is written."""
        return self.last in {None, REPORT}
