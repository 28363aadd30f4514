"""The hardest so many of each group, among rows that are in many tables: a cut that is found by counting.

Each row has a code of 64 bits, in the order of which rows are taken. Counting the rows of each value of the first 16
bits tells in which of these the cut is, and the next 16 bits are counted of those rows alone. So four rounds at
most find it, and what is held is a count for each value that there is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.detections.boxes import Ints, Mask
from operators.keys import Keys
from operators.schemas import concat, to_numpy
from operators.segments import first_index, starts_of

BITS = 16
ROUNDS = 64 // BITS
COUNTS = pa.schema({"group": pa.int64(), "value": pa.int64(), "count": pa.int64()})
CUTS = pa.schema({"group": pa.int64(), "code": pa.uint64(), "left": pa.int64(), "found": pa.bool_()})

Codes = npt.NDArray[np.uint64]


def codes_of(hardness: npt.NDArray[np.float32], key: Keys) -> Codes:
    """Return a code for each row, uint64 of shape (n,): higher for harder rows, of equal ones for the lower key.

    Args:
        hardness: 0 or more. The bits of such numbers are in the order of the numbers (IEEE 754).
        key: non-negative.
    """
    bits = (hardness.astype(np.float32) + np.float32(0)).view(np.uint32).astype(np.uint64)
    return np.asarray((bits << np.uint64(32)) | (np.uint64(2**32 - 1) - (key.astype(np.uint64) >> np.uint64(31))))


@dataclass(frozen=True)
class Cuts:
    """How far the cuts of some groups are known.

    Attributes:
        group: ascending, int64 of shape (groups,).
        code: rows of at least this code are taken, once the cut is found; before that, its bits that are known.
        left: how many rows are still to be taken of those whose code begins so.
        found: bool of shape (groups,).
    """

    group: Ints
    code: Codes
    left: Ints
    found: Mask

    @classmethod
    def wanted(cls, most: Mapping[int, int]) -> "Cuts":
        """Begin with how many rows each group is to have, at most."""
        group = np.array(sorted(most), np.int64)
        left = np.array([most[one] for one in group.tolist()], np.int64)
        return cls(group, np.zeros(len(group), np.uint64), left, np.zeros(len(group), np.bool_))

    def count(self, groups: Ints, codes: Codes, done: int) -> pa.Table:
        """Count the rows of a table by the bits that follow the first `done` rounds (COUNTS)."""
        at = first_index(self.group, groups)
        open_ = (at >= 0) & ~self.found[at] if len(self.group) else np.zeros(len(groups), np.bool_)
        shift = np.uint64(64 - BITS * done)
        if done:
            open_ &= (codes >> shift) == (self.code[at] >> shift)
        value = (codes[open_] >> np.uint64(64 - BITS * (done + 1))) & np.uint64(2**BITS - 1)
        return _added(groups[open_], value.astype(np.int64), np.ones(len(value), np.int64))

    def narrowed(self, counted: list[pa.Table], done: int) -> "Cuts":
        """Return the cuts after one more round, by the counts of all tables."""
        counts = concat(counted, COUNTS)
        counts = _added(*(to_numpy(counts, name) for name in COUNTS.names))
        group, value, count = (to_numpy(counts, name)[::-1] for name in COUNTS.names)  # the highest values first
        begin = starts_of(group)
        total = np.cumsum(count)
        before = np.repeat((total - count)[begin], np.diff(np.append(begin, len(group))))
        until, at = total - before, first_index(self.group, group)
        left = self.left[at]
        here = (until >= left) & (until - count < left) & (left > 0)  # the value that the cut lies in
        code, rest, found = self.code.copy(), self.left.copy(), np.ones(len(self.group), np.bool_)
        empty = (self.left == 0) & ~self.found
        code[empty] = np.uint64(2**64 - 1)  # no row has it: its hardness would be no number
        place = at[here]
        code[place] |= value[here].astype(np.uint64) << np.uint64(64 - BITS * (done + 1))
        rest[place] = left[here] - (until - count)[here]
        found[place] = exact = until[here] == left[here]
        if done + 1 == ROUNDS:  # rows of one code: none is taken before another
            code[place] += (~exact).astype(np.uint64)
            found[:] = True
        return Cuts(self.group, code, rest, found)

    def takes(self, groups: Ints, codes: Codes) -> Mask:
        """Return which rows are taken: bool of shape (n,)."""
        at = first_index(self.group, groups)
        return np.asarray((at >= 0) & (codes >= self.code[at])) if len(self.group) else np.zeros(len(at), np.bool_)

    def table(self) -> pa.Table:
        """Return the cuts as a table (CUTS)."""
        return pa.table([self.group, self.code, self.left, self.found], schema=CUTS)

    @classmethod
    def of(cls, table: pa.Table) -> "Cuts":
        """Read what `table` returned."""
        return cls(*(to_numpy(table, name) for name in CUTS.names))


def _added(group: Ints, value: Ints, count: Ints) -> pa.Table:
    order = np.lexsort((value, group))
    group, value, count = group[order], value[order], count[order]
    begin = np.union1d(starts_of(group), starts_of(value))
    summed = np.add.reduceat(count, begin) if len(begin) else count
    return pa.table([group[begin], value[begin], summed], schema=COUNTS)
