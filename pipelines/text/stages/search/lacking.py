"""Why a proposer proposed nothing: the metadata that it reads and that no document, or no query, has."""

from collections.abc import Mapping, Sequence
from functools import partial

import pyarrow as pa

from operators.candidates.proposer import CandidateSource
from operators.candidates.rule import fields_of
from operators.errors import InputError
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.runtime.storage.run_directory import StageFolder

# side -> the stage that leaves its metadata, and the kind of the files.
_SIDES = {"document": ("prepare/corpus", "documents"), "query": ("prepare/queries", "queries")}


def lacking(execution: Execution, proposer: CandidateSource) -> list[str]:
    """Return the names of metadata that a proposer reads and nothing has, as `document.year`, ascending.

    It reads all metadata once more: for a proposer that proposed nothing, so that its warning can say why.
    """
    wanted = sorted({name for reading in proposer.readings() for name in reading.names})
    names = {side: [one.removeprefix(f"{side}.") for one in wanted if one.startswith(f"{side}.")] for side in _SIDES}
    folders = {side: execution.inputs[stage].folder for side, (stage, _) in _SIDES.items()}
    units = [
        Unit(f"{side}-{i:05d}", {side: part})
        for side, (stage, kind) in _SIDES.items()
        if names[side]
        for i, part in enumerate(execution.inputs[stage].parts(kind))
    ]
    stats = execution.map("look", partial(LookForMetadata, folders, names), units)
    return sorted(set(wanted) - {name for one in stats for name in one["known"]})


class LookForMetadata:
    """One partition of documents or queries -> which of the names some row of it has."""

    def __init__(self, folders: Mapping[str, StageFolder], names: Mapping[str, Sequence[str]]) -> None:
        self.folders, self.names = folders, names

    def __call__(self, unit: Unit) -> Stats:
        """Look at one partition."""
        ((side, file),) = unit.args.items()
        table = self.folders[side].read_table(file, ["metadata"])
        known = [f"{side}.{name}" for name in self.names[side] if has_any(table.column("metadata"), name)]
        return {"known": known, "rows_out": table.num_rows}


def has_any(metadata: pa.ChunkedArray, name: str) -> bool:
    """Tell whether any row has some metadata, of whatever kind."""
    try:
        column = fields_of(metadata, [name])[name]
    except InputError:  # of several kinds, lists or objects
        return True
    return bool(column.null_count < len(column))
