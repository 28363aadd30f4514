"""The cut that is found by counting is that of sorting all rows."""

import numpy as np
import pyarrow as pa
import pytest

from operators.detections.cut import ROUNDS, Cuts, codes_of


@pytest.mark.parametrize("seed", range(60))
def test_it_is_the_cut_of_sorting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 300))
    group = rng.integers(0, 4, count)
    hardness = rng.choice([rng.random(count), rng.integers(0, 3, count) / 2, np.full(count, 0.25)]).astype(np.float32)
    key = rng.integers(0, 2**63, count)
    codes = codes_of(hardness, key)
    most = {one: int(rng.integers(0, 120)) for one in range(5)}
    cuts, tables = Cuts.wanted(most), np.array_split(np.arange(count), 3)
    rounds = 0
    while not cuts.found.all():
        counted = [cuts.count(group[rows], codes[rows], rounds) for rows in tables]
        cuts, rounds = Cuts.of(cuts.narrowed(counted, rounds).table()), rounds + 1
    assert rounds <= ROUNDS
    expected: set[int] = set()
    for one, wanted in most.items():
        rows = [row for row in range(count) if group[row] == one]
        expected |= set(sorted(rows, key=lambda row: (-hardness[row], key[row]))[:wanted])
    assert set(np.flatnonzero(cuts.takes(group, codes)).tolist()) == expected


def test_rows_of_one_code_are_taken_together_or_not_at_all() -> None:
    codes, group = np.full(5, 7 << 32, np.uint64), np.zeros(5, np.int64)
    for wanted, taken in ((4, 0), (5, 5), (6, 5)):
        cuts = Cuts.wanted({0: wanted})
        for done in range(ROUNDS):
            cuts = cuts.narrowed([cuts.count(group, codes, done)], done)
        assert cuts.takes(group, codes).sum() == taken


def test_without_groups_nothing_is_taken() -> None:
    cuts = Cuts.wanted({})
    nothing = np.zeros(0, np.int64)
    assert isinstance(cuts.count(nothing, nothing.astype(np.uint64), 0), pa.Table)
    assert not cuts.takes(np.array([3]), np.array([9], np.uint64)).any()
