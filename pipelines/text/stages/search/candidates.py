"""What the search leaves to the stages after it: for each partition of queries its candidates and positives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from operators.candidates.pairs import with_vectors
from operators.candidates.sources import keys_of_pairs, merged
from operators.schemas import CANDIDATES, PAIR, POSITIVES, concat, to_numpy
from operators.segments import first_index
from pipelines.runtime.engines import Unit
from pipelines.runtime.execution import StageOutput
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder

ALL, DEEPER, PROPOSED = "search/all", "search/short", "search/proposed"
SIGNAL = "search/signal_"
LIST = "list_similarity"
VECTORS = "search/vectors"


def inputs_of(proposers: bool, signals: Sequence[str] = (), vectors: bool = False) -> tuple[str, ...]:
    """Return the names of the stages that a stage reads which works on candidates.

    Args:
        proposers: there are candidates beside those of the search.
        signals: those that it reads, too.
        vectors: it reads the vectors of the documents, too.
    """
    proposed, carried = [PROPOSED] * proposers, [VECTORS] * vectors
    return (ALL, DEEPER, *proposed, *(f"{SIGNAL}{name}" for name in signals), *carried)


def units_of(inputs: Mapping[str, StageOutput]) -> list[Unit]:
    """Return a unit for each partition of queries, which `ReadFound` reads.

    Args:
        inputs: the stages of `inputs_of`.
    """
    files = zip(*(output.parts(_kind_of(name)) for name, output in inputs.items()), strict=True)
    parts = (dict(zip(inputs, of_part, strict=True)) for of_part in files)
    positives = inputs[ALL].parts("positives")
    return [
        Unit(f"{i:05d}", {"found": found, "positives": judged})
        for i, (found, judged) in enumerate(zip(parts, positives, strict=True))
    ]


def _kind_of(stage: str) -> str:
    if stage == VECTORS:
        return "vectors"
    return "signals" if stage.startswith(SIGNAL) else "candidates"


@dataclass(frozen=True)
class ReadFound:
    """Reads what units of `units_of` name.

    Attributes:
        folders: of the stages of `inputs_of`, by name.
        sources: the names of the proposers.
    """

    folders: Mapping[str, StageFolder]
    sources: Sequence[str] = ()

    def __call__(self, unit: Unit) -> tuple[pa.Table, pa.Table]:
        """Return the candidates and the positives (schema POSITIVES) of a partition.

        The candidates are those of `candidates`.
        """
        return self.candidates(unit.args["found"]), positives_of(self.folders[ALL], unit.args["positives"])

    def candidates(self, found: Mapping[str, Record]) -> pa.Table:
        """Return the candidates of a partition: schema CANDIDATES, ranks of every proposer, signals and vectors.

        Args:
            found: the file of each stage, `found` of the unit.
        """
        candidates = replaced(self._read(ALL, found), self._read(DEEPER, found))
        if PROPOSED in self.folders:
            candidates = merged(candidates, self._read(PROPOSED, found), self.sources)
        for name in self.folders:
            if name.startswith(SIGNAL):
                candidates = joined(candidates, self._read(name, found))
        if VECTORS in self.folders:
            candidates = with_vectors(candidates, self._read(VECTORS, found))
        return candidates

    def _read(self, stage: str, found: Mapping[str, Record]) -> pa.Table:
        return self.folders[stage].read_table(found[stage])


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
    at = first_index(keys_of_pairs(signals), keys_of_pairs(candidates))
    for name in (column for column in signals.column_names if column not in PAIR):
        values = np.append(to_numpy(signals, name).astype(np.float32), np.float32(np.nan))[at]
        candidates = candidates.append_column(name, pa.array(values))
    return candidates
