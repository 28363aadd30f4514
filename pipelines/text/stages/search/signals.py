"""Compute a signal of every candidate."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from operators.candidates.signal import Signal
from operators.errors import InputError
from operators.plugins import calling, code_of
from operators.schemas import PAIR
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.runtime.stage import Stage, Summary
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.search.candidates import LIST, SIGNAL, ReadFound, inputs_of, units_of


@dataclass(frozen=True)
class ComputeSignal(Stage):
    """Partitions of candidates -> partitions of signals: (query_key, doc_key, signal).

    Attributes:
        signal: what is computed.
        sources: the names of the proposers.
    """

    signal: Signal
    sources: tuple[str, ...] = ()

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the stage."""
        return f"{SIGNAL}{self.signal.gives}"

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The stages that leave candidates, and the one that compares them with their lists where that is read."""
        return inputs_of(bool(self.sources), [LIST] if self.signal.reads_lists else [])

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration of the signal, and a digest of its code where that is not ours."""
        return {**self.signal.model_dump(mode="json"), "code": code_of(self.signal)}

    def warnings(self, manifest: Mapping[str, Any]) -> list[str]:
        """Warn of what the signal says of itself."""
        del manifest
        caveat = self.signal.caveat()
        return [] if caveat is None else [caveat]

    def run(self, execution: Execution) -> Summary:
        """Compute the signal in every partition."""
        read = ReadFound({name: output.folder for name, output in execution.inputs.items()}, self.sources)
        computing = partial(ComputePart, execution.folder, read, self.signal)
        stats = execution.map("compute", computing, units_of(execution.inputs))
        rows = sum(one["rows_out"] for one in stats)
        return Summary(rows_in=rows, rows_out=rows, parts={"signals": [one["file"] for one in stats]})


@dataclass(frozen=True)
class ComputePart:
    """One partition of candidates -> their signal."""

    folder: StageFolder
    read: ReadFound
    signal: Signal

    def __call__(self, unit: Unit) -> Stats:
        """Compute the signal in one partition."""
        candidates, positives = self.read(unit)
        place, rows = f"signals: {self.signal.signal}", candidates.num_rows
        with calling(place, self.signal, "__call__"):
            values = np.asarray(self.signal(candidates, positives), dtype=np.float32)
        if values.shape != (rows,):
            raise InputError(f"{place}: numbers of shape {(rows,)} are wanted, not of {values.shape}")
        table = candidates.select(list(PAIR)).append_column(self.signal.gives, pa.array(values))
        file = self.folder.write_table(f"signals/part-{unit.name}.parquet", table)
        return {"file": {**file, "rows": rows}, "rows_out": rows}
