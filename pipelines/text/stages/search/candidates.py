"""What the search leaves to the stages after it: for each partition of queries its candidates and positives."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from operators.keys import Keys, splitmix64
from operators.schemas import CANDIDATES, POSITIVES, concat, to_numpy
from operators.segments import first_index
from pipelines.runtime.engines import Unit
from pipelines.runtime.execution import StageOutput
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder

PAIR = ("query_key", "doc_key")


def units_of(searched: StageOutput, deeper: StageOutput, signals: Sequence[StageOutput] = ()) -> list[Unit]:
    """Return a unit for each partition of queries, which `ReadFound` reads.

    Args:
        searched: the candidates of all queries, and their positives.
        deeper: the candidates of those that were searched deeper.
        signals: numbers of the candidates.
    """
    found = zip(searched.parts("candidates"), searched.parts("positives"), deeper.parts("candidates"), strict=True)
    return [
        Unit(
            f"{i:05d}",
            {
                "candidates": candidates,
                "positives": positives,
                "deeper": replacing,
                "signals": [output.parts("signals")[i] for output in signals],
            },
        )
        for i, (candidates, positives, replacing) in enumerate(found)
    ]


@dataclass(frozen=True)
class ReadFound:
    """Reads what units of `units_of` name.

    Attributes:
        searched: the folder of candidates and positives.
        deeper: that of the candidates that replace some of them.
        signals: those of the signals.
    """

    searched: StageFolder
    deeper: StageFolder
    signals: Sequence[StageFolder] = ()

    def __call__(self, unit: Unit) -> tuple[pa.Table, pa.Table]:
        """Return the candidates (schema CANDIDATES, then the signals) and the positives (schema POSITIVES)."""
        candidates = self.searched.read_table(unit.args["candidates"])
        candidates = replaced(candidates, self.deeper.read_table(unit.args["deeper"]))
        for folder, part in zip(self.signals, unit.args["signals"], strict=True):
            candidates = joined(candidates, folder.read_table(part))
        return candidates, positives_of(self.searched, unit.args["positives"])


def positives_of(folder: StageFolder, part: Record) -> pa.Table:
    """Read a partition of positives, without their vectors (schema POSITIVES)."""
    return folder.read_table(part, POSITIVES.names)


def replaced(candidates: pa.Table, deeper: pa.Table) -> pa.Table:
    """Put the deeper candidates of some queries in the place of what was found for them before."""
    others = ~np.isin(to_numpy(candidates, "query_key"), np.unique(to_numpy(deeper, "query_key")))
    return concat([candidates.filter(pa.array(others)), deeper], CANDIDATES)


def joined(candidates: pa.Table, signals: pa.Table) -> pa.Table:
    """Append signals to the candidates; not a number where there is none for a candidate.

    Args:
        candidates: has the columns of PAIR.
        signals: has the columns of PAIR and a column for each signal, in any order of rows.
    """
    at = first_index(_pair_keys(signals), _pair_keys(candidates))
    for name in (column for column in signals.column_names if column not in PAIR):
        values = np.append(to_numpy(signals, name).astype(np.float32), np.float32(np.nan))[at]
        candidates = candidates.append_column(name, pa.array(values))
    return candidates


def _pair_keys(table: pa.Table) -> Keys:
    """Hash query and document into 63 bits, as their own keys have."""
    return (splitmix64(*(to_numpy(table, key) for key in PAIR)) >> np.uint64(1)).astype(np.int64)
