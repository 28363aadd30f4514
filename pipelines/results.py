"""What a run gave: counts, and where its output is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from operators.errors import InputError
from pipelines.runtime.pipeline import Outcome
from pipelines.runtime.storage.run_directory import RunDirectory

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Mined:
    """The result of a run.

    Attributes:
        run: the run directory.
        engine: the name of the engine.
        seconds: that the run took.
        peak_rss_mib: memory of this process and those it started, summed, at the peak.
        stages: name -> {rows_in, rows_out, seconds, reused, ...}.
        dropped: reason -> count, over all stages.
        outputs: name -> URI.
    """

    run: str
    engine: str
    seconds: float
    peak_rss_mib: int
    stages: Mapping[str, Mapping[str, Any]]
    dropped: Mapping[str, int]
    outputs: Mapping[str, str]
    _report: bytes | None = field(repr=False, compare=False)
    _outcome: Outcome = field(repr=False, compare=False)
    _directory: RunDirectory = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes, as the command line prints them as JSON."""
        named = ("run", "engine", "seconds", "peak_rss_mib", "stages", "dropped", "outputs")
        return {name: getattr(self, name) for name in named}

    @property
    def report(self) -> Mapping[str, Any]:
        """The report as it was written to report.json.

        Raises:
            InputError: the run wrote none: it ended before.
        """
        if self._report is None:
            raise InputError(f"{self.run}: this run wrote no report; run all stages.")
        report: dict[str, Any] = json.loads(self._report)
        return report

    @property
    def suspected(self) -> pa.Table:
        """The suspected false negatives (schema operators.schemas.SELECTED), with why each was dropped."""
        return self._of_kind("suspected", "selected nothing; run it up to select")

    @property
    def suspects(self) -> pa.Table:
        """The same as pairs with their texts, each once, in the order in which to judge them, as many as were written.

        The columns are in docs/outputs.md.
        """
        return self._of_kind("to_judge", "wrote no suspects; run it further")

    def _of_kind(self, kind: str, otherwise: str) -> pa.Table:
        completed = self._outcome.completed.items()
        stage = next((name for name, output in completed if kind in output.manifest["parts"]), None)
        if stage is None:
            raise InputError(f"{self.run}: this run {otherwise}.")
        return self.output(stage, kind)

    def output(self, stage: str, kind: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read one kind of a stage's output.

        Args:
            stage: its name, such as `select`.
            kind: such as `negatives`.
            columns: of the table; None reads all.

        Raises:
            InputError: the run did not come to that stage, or the stage has no such output.
        """
        output = self._outcome.completed.get(stage)
        kinds = {} if output is None else output.manifest["parts"]
        if output is None or kind not in kinds:
            found = ", ".join(kinds) if output is not None else ", ".join(self._outcome.completed)
            raise InputError(f"{self.run}: this run has no {kind} of {stage}. There are {found}.")
        if not output.parts(kind):
            raise InputError(f"{self.run}: {stage} wrote no files of {kind}.")
        return pa.concat_tables([output.folder.read_table(part, columns) for part in output.parts(kind)])

    def dataset(self, layout: str | None = None, full: bool = False) -> "Dataset":
        """Load the training data with the package `datasets`.

        Args:
            layout: one of the formats that were exported; None is the first.
            full: ids, scores and metadata too; else the columns to train on.

        Raises:
            InputError: the run exported no such format.
        """
        from datasets import load_dataset

        stages = (one for one in self._outcome.completed.values() if "columns" in one.manifest)
        exported = next(stages, None)
        columns = {} if exported is None else exported.manifest["columns"]
        layout = layout or next(iter(columns), "")
        if exported is None or layout not in columns:
            raise InputError(
                f"{self.run}: this run exported no dataset {layout!r}. There are {', '.join(columns) or 'none'}."
            )
        data = [f"{exported.folder.uri.rstrip('/')}/{part['path']}" for part in exported.parts(layout)]
        kind = "json" if data[0].endswith(".jsonl") else "parquet"
        options = dict(self._directory.storage_options)
        rows = load_dataset(kind, data_files=data, split="train", storage_options=options or None)
        return rows if full else rows.select_columns(columns[layout])
