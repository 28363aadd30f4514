"""Find from which hardness on samples are chosen, over all partitions: by counting, in rounds."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from operators.detections.cut import ROUNDS, Cuts
from operators.detections.select import Select
from operators.schemas import to_numpy
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder

CUT = "cut"


def find_cuts(execution: Execution, select: Select, matched: StageFolder, units: Sequence[Unit]) -> Record:
    """Return the file of the cuts of all groups (CUTS).

    Args:
        execution: of the stage.
        select: says how hard samples are.
        matched: the folder of the samples.
        units: the partitions.
    """
    folder = execution.folder
    ranked = execution.map("rank", partial(RankPart, folder, matched, select), units)
    samples: dict[int, int] = {}
    for one in ranked:
        for group, count in one["samples"]:
            samples[group] = samples.get(group, 0) + count
    most = select.most(np.array(list(samples.values()), np.int64)).tolist()
    cuts = Cuts.wanted(dict(zip(samples, most, strict=True)))
    written = folder.write_table(f"{CUT}/0/all.parquet", cuts.table())
    for done in range(ROUNDS):
        if cuts.found.all():
            break
        codes = [Unit(unit.name, {"codes": one["codes"]}) for unit, one in zip(units, ranked, strict=True)]
        counting = partial(CountPart, folder, dict(written), done)
        counted = execution.map(f"count-{done}", counting, codes)
        cuts = cuts.narrowed([folder.read_table(one["counts"]) for one in counted], done)
        written = folder.write_table(f"{CUT}/{done + 1}/all.parquet", cuts.table())
    return written


class RankPart:
    """One partition of samples -> the codes of those that a strategy calls hard."""

    def __init__(self, folder: StageFolder, matched: StageFolder, select: Select) -> None:
        self.folder, self.matched, self.select = folder, matched, select

    def __call__(self, unit: Unit) -> Stats:
        """Rank one partition."""
        ranked = self.select.rank(self.matched.read_table(unit.args["samples"]))
        table = pa.table({"group": ranked.group[ranked.hard].astype(np.int64), "code": ranked.codes})
        groups, counts = np.unique(ranked.group[ranked.samples.counted], return_counts=True)
        return {
            "codes": self.folder.write_table(f"{CUT}/codes/part-{unit.name}.parquet", table),
            "samples": [[int(group), int(count)] for group, count in zip(groups, counts, strict=True)],
            "rows_out": table.num_rows,
        }


class CountPart:
    """The codes of one partition -> how many there are of each value that follows the bits that are known."""

    def __init__(self, folder: StageFolder, cuts: Record, done: int) -> None:
        self.folder, self.done, self.cuts = folder, done, Cuts.of(folder.read_table(cuts))

    def __call__(self, unit: Unit) -> Stats:
        """Count one partition."""
        table = self.folder.read_table(unit.args["codes"])
        counts = self.cuts.count(to_numpy(table, "group"), to_numpy(table, "code"), self.done)
        path = f"{CUT}/counts-{self.done}/part-{unit.name}.parquet"
        return {"counts": self.folder.write_table(path, counts), "rows_out": counts.num_rows}
