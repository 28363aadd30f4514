"""The stages: what each reads from the stages before it, gives to its operator, and writes."""

from collections.abc import Mapping
from typing import Any, Protocol

import pyarrow as pa

from pipelines.execution import Execution

Summary = dict[str, Any]


class Stage(Protocol):
    """One stage of a pipeline: an operator with its configuration, and the stages it builds on.

    Attributes:
        name: also the folder in the run directory.
        inputs: the names of the stages whose output it reads.
    """

    @property
    def name(self) -> str:
        """The stage's name."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """The stages it reads from."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """Return everything but its inputs that decides what it writes: what its fingerprint hashes."""
        ...

    def unit_settings(self) -> Mapping[str, Any] | None:
        """Return what decides what a unit writes, beside the unit's name, where that name tells its whole input.

        Such units serve every input that they are part of: a corpus that grew redoes nothing. None for other stages.
        """
        return None

    def run(self, execution: Execution) -> Summary:
        """Do the work.

        The summary has `parts` (kind -> [{path, bytes, xxh3, rows}]: every file that the stage leaves), `rows_in`,
        `rows_out`, `dropped`, and maybe `temporary` and `replaced`: folders to clear, and files to remove, when the
        stage is committed.
        """
        ...


def part_name(number: int, table: pa.Table) -> str:
    """Return the name of a data file: Parquet, or an Arrow file where there are vectors in it."""
    return f"part-{number:05d}" + (".arrow" if "vector" in table.column_names else ".parquet")
