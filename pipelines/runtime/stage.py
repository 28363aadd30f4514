"""A stage of a pipeline: what it reads and writes, and everything that is said about it anywhere."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.errors import one_line
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import RunDirectory

MOST_DROPPED = 0.5
# Of every manifest, beside what a summary says.
KEYS = ("stage", "fingerprint", "settings", "inputs", "engine", "version", "finished", "seconds", "resumed", "left")
LONGEST_PLACE = 200


@dataclass(frozen=True)
class Summary:
    """What a stage says when its work is done: the manifest is made of it.

    Attributes:
        rows_in: read.
        rows_out: written.
        parts: kind -> records of files, with their rows: every file that the stage leaves.
        dropped: reason -> rows.
        facts: what else later stages, warnings and the report read: keys of the manifest, beside those of the rest.
        compute_seconds: inside of models and libraries; None where there is no such work.
        rows_reused: of `rows_out`, those that were there already; None where `facts` say it of each side, or never.
        empty_files: sources without rows.
        first_empty: the URI of one of them.
        line: printed in the place of the counts.
        temporary: folders to clear when the stage is committed.
        replaced: files to remove when the stage is committed.
    """

    rows_in: int
    rows_out: int
    parts: Mapping[str, Sequence[Record]]
    dropped: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    compute_seconds: float | None = None
    rows_reused: int | None = None
    empty_files: int = 0
    first_empty: str | None = None
    line: str | None = None
    temporary: Sequence[str] = ()
    replaced: Sequence[str] = ()

    def __post_init__(self) -> None:
        taken = sorted(self.facts.keys() & {*KEYS, *(one.name for one in fields(self))})
        if taken:
            raise ValueError(f"The fact {taken[0]!r} is a key of every manifest. Give it another name.")

    def manifest(self) -> dict[str, Any]:
        """Return what of it stays when the stage is committed."""
        always = {"rows_in": self.rows_in, "rows_out": self.rows_out, "dropped": dict(self.dropped)}
        optional = ("compute_seconds", "rows_reused", "empty_files", "first_empty", "line")
        given = {name: value for name in optional if (value := getattr(self, name)) not in {None, ""}}
        return {**always, **given, **self.facts, "parts": self.parts}


@dataclass(frozen=True)
class Histogram:
    """Distributions to draw over one axis.

    Attributes:
        axis: the name of the axis.
        samples: name -> values of any number, float32.
    """

    axis: str
    samples: Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Scatter:
    """Points to draw in a plane.

    Attributes:
        axes: the names of both axes.
        points: name -> float32 of shape (n, 2), for any n.
    """

    axes: tuple[str, str]
    points: Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Figure:
    """A part of the page of a report.

    Attributes:
        title: above it.
        table: a heading and rows.
        histogram: drawn above the table.
        scatter: drawn above the table.
    """

    title: str
    table: tuple[Sequence[str], Sequence[Sequence[Any]]]
    histogram: Histogram | None = None
    scatter: Scatter | None = None


@dataclass(frozen=True)
class Section:
    """What a stage adds to the report.

    Attributes:
        facts: go into report.json; the sections of all stages are merged.
        sentences: for the top of the page.
        figures: for the page.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    sentences: Sequence[str] = ()
    figures: Sequence[Figure] = ()


class Stage(ABC):
    """One stage of a pipeline: an operator with its configuration, and the stages that it builds on.

    Subclasses are frozen dataclasses. Stages whose names agree up to a slash are one group: `search/all` and
    `search/short` are `search` to `--from`, `--until` and the commands.

    Attributes:
        name: also the folder in the run directory.
        inputs: the names of the stages whose output it reads.
        checked_after: the stages after which `check` is called.
        kept_when_refused: its output stays where a later stage refuses the input. Output that costs little is removed
            instead, unless a stage whose output stays has run.
        announced: a line says that it starts. A stage that often has nothing to do says so itself.
        expected_drops: reasons of which no warning comes, however many rows they drop.
        dropped_prefix: before the names of its reasons, where those of all stages are listed together.
    """

    name: str
    inputs: tuple[str, ...] = ()
    checked_after: tuple[str, ...] = ()
    kept_when_refused: bool = True
    announced: bool = True
    expected_drops: frozenset[str] = frozenset()
    dropped_prefix: str = ""

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Return everything but its inputs that decides what it writes: what its fingerprint hashes."""

    @abstractmethod
    def run(self, execution: Execution) -> Summary:
        """Do the work, on the units that are not done yet."""

    def content_settings(self) -> Mapping[str, Any] | None:
        """Return the settings that decide what a unit writes, where its name tells its whole input; else None.

        Such units serve every input that they are part of: a corpus that grew redoes nothing.
        """
        return None

    def check_run(self, run: RunDirectory) -> None:  # noqa: B027 - most stages publish nothing
        """Refuse a run directory in which the stage cannot publish. Called before anything is done.

        Raises:
            InputError: it cannot.
        """

    def check(self, outputs: Mapping[str, StageOutput]) -> None:  # noqa: B027 - most have nothing to check
        """Refuse what the output of `checked_after` shows cannot work; some of these may not be part of the pipeline.

        Raises:
            InputError: it cannot work.
        """

    def needs(self, manifest: Mapping[str, Any] | None) -> str:
        """Say in some words what the stage reads, or works with, for the plan.

        Args:
            manifest: of the complete stage; None where it has to run.
        """
        del manifest
        return ""

    def warnings(self, manifest: Mapping[str, Any]) -> list[str]:
        """Return a line for everything in the manifest that the user would want to know of."""
        empty = manifest.get("empty_files", 0)
        lines = [_without_rows(empty, manifest.get("first_empty"))] if empty else []
        rows = manifest["rows_in"]
        dropped = {reason: n for reason, n in manifest["dropped"].items() if reason not in self.expected_drops}
        lost = {reason: n for reason, n in dropped.items() if n > MOST_DROPPED * rows}
        return lines + [f"{reason} dropped {n:,} of {rows:,} rows" for reason, n in lost.items()]

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Return what the stage adds to the report.

        Args:
            outputs: of all stages of the pipeline, by name.
        """
        del outputs
        return Section()

    def publish(
        self, outputs: Mapping[str, StageOutput], run: RunDirectory, configuration: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """Publish the output of the stage after a run, whether it was reused or not; return name -> URI.

        Args:
            outputs: of the stages that are complete, by name.
            run: the run directory.
            configuration: of the run, with every default.
        """
        del outputs, run, configuration
        return {}


def group_of(stage: str) -> str:
    """Return the group of a stage's name: what is before the slash."""
    return stage.partition("/")[0]


def _without_rows(files: int, first: str | None) -> str:
    named = "" if first is None else f" ({one_line(first, LONGEST_PLACE)}{', ...' if files > 1 else ''})"
    return f"{files:,} source {'file has' if files == 1 else 'files have'} no rows{named}"
