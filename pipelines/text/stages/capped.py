"""Cap the rows that each document serves: rows propose and documents keep their best, until none is turned away.

A round is a shuffle: what rows newly propose goes to the bucket of its document, which keeps the best proposals so far
and writes the cutoffs that the rows read in the next round. Only rows of queries that found a document whose cutoff
rose are looked at again.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from operators.candidates.matching import CUTOFFS, PROPOSED_ROWS, joined, kept
from operators.candidates.select import Select
from operators.keys import Keys
from operators.schemas import concat, to_numpy
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.runtime.shuffle import Shuffle
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.search.candidates import ReadFound

# Temporary: proposals that documents keep, and cutoffs.
CAPPED = "capped"
# 20 bytes each.
PROPOSALS_PER_BUCKET = 2_000_000


@dataclass(frozen=True)
class Cutoffs:
    """What the matching decided.

    Attributes:
        files: the cutoffs of each bucket of documents.
        rounds: how many times rows proposed.
    """

    files: Sequence[Record]
    rounds: int


def matched(execution: Execution, read: ReadFound, select: Select, units: Sequence[Unit], rows: int) -> Cutoffs:
    """Match the rows of all partitions with documents.

    Args:
        execution: of the stage.
        read: reads a partition.
        select: selects, with a cap.
        units: the partitions.
        rows: how many there are in all.
    """
    count = math.ceil(max(rows * select.config.negatives_per_row, 1) / PROPOSALS_PER_BUCKET)
    buckets = [Unit(f"{i:05d}", {"kept": None, "cutoffs": None}) for i in range(count)]
    before, now, rounds = list[Record](), list[Record](), 0
    while True:
        route = partial(RouteProposals, execution.folder, read, select, (rounds, before, now), count)
        gather = partial(KeepBest, execution.folder, int(select.config.max_rows_per_document or 0), rounds)
        stats = execution.shuffle(f"cap-{rounds}", Shuffle(route, units, gather, buckets, PROPOSED_ROWS))
        rounds += 1
        before, now = now, [one["cutoffs"] for one in stats]
        if not sum(one["turned_away"] for one in stats):
            return Cutoffs(now, rounds)
        buckets = [
            Unit(bucket.name, {"kept": one["kept"], "cutoffs": one["cutoffs"]})
            for bucket, one in zip(buckets, stats, strict=True)
        ]


def read_cutoffs(folder: StageFolder, files: Sequence[Record]) -> pa.Table:
    """Read the cutoffs of all buckets: schema CUTOFFS, ascending."""
    return concat(folder.read_tables(list(files)), CUTOFFS).sort_by("doc_key")


class RouteProposals:
    """One partition -> what its rows newly propose, to the buckets of the documents."""

    def __init__(
        self,
        folder: StageFolder,
        read: ReadFound,
        select: Select,
        cutoffs: tuple[int, Sequence[Record], Sequence[Record]],
        buckets: int,
    ) -> None:
        rounds, before, now = cutoffs
        self.read, self.select, self.buckets = read, select, buckets
        self.before = read_cutoffs(folder, before) if rounds else None
        self.now = read_cutoffs(folder, now)

    def __call__(self, unit: Unit) -> Iterator[tuple[Keys, pa.Table]]:
        """Route one partition."""
        proposals = self.select.proposals(*self.read(unit), self.before, self.now)
        yield to_numpy(proposals, "doc_key") % self.buckets, proposals


@dataclass(frozen=True)
class KeepBest:
    """All new proposals to the documents of a bucket -> the best so far, and the cutoffs.

    Attributes:
        folder: of the stage.
        most: rows that a document may serve.
        round: from 0.
    """

    folder: StageFolder
    most: int
    round: int

    def __call__(self, bucket: Unit, proposals: pa.Table) -> Stats:
        """Keep the best of one bucket."""
        earlier = {
            name: schema.empty_table() if (file := bucket.args[name]) is None else self.folder.read_table(file)
            for name, schema in (("kept", PROPOSED_ROWS), ("cutoffs", CUTOFFS))
        }
        proposed = concat([earlier["kept"], proposals], PROPOSED_ROWS)
        best, cutoffs = kept(proposed, self.most)
        tables = {"kept": best, "cutoffs": joined(earlier["cutoffs"], cutoffs)}
        files: dict[str, Any] = {
            name: self.folder.write_table(f"{CAPPED}/{name}-{self.round}/part-{bucket.name}.arrow", table)
            for name, table in tables.items()
        }
        away = proposed.num_rows - best.num_rows
        return {**files, "turned_away": away, "rows_out": proposals.num_rows}
