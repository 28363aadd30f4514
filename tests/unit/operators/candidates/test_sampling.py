"""Random draws are uniform, valid and seeded by what they are for."""

import numpy as np
import numpy.typing as npt

from operators.candidates.sampling import draw_random, draw_top

Ints = npt.NDArray[np.int64]


def rows_of(lengths: list[int], seed: int = 0) -> tuple[Ints, tuple[Ints, Ints, Ints]]:
    """Rows of these lengths, with the keys of query, positive and document for each candidate."""
    rng = np.random.default_rng(seed)
    row = np.repeat(np.arange(len(lengths)), lengths)
    keys = rng.integers(0, 2**63 - 1, (2, len(lengths)))
    return row, (keys[0][row], keys[1][row], rng.integers(0, 2**63 - 1, len(row)))


def test_every_candidate_is_drawn_equally_often() -> None:
    """Chi-square over the 20 places of a window, for 20,000 rows of 5 draws: 99.9 % of fair draws are below 43.8."""
    rows, window, drawn = 20_000, 20, 5
    row, identity = rows_of([window] * rows)
    times = draw_random(row, identity, seed=1, num_negatives=drawn).reshape(rows, window).sum(axis=0)
    expected = rows * drawn / window
    # Draws without repetition: their variance is smaller than that of independent ones by this factor.
    spread = (1 - drawn / window) * window / (window - 1)
    assert times.sum() == rows * drawn
    assert ((times - expected) ** 2 / expected).sum() / spread < 43.8


def test_every_pair_of_candidates_is_drawn_equally_often() -> None:
    """The 10 pairs of 5 candidates, chi-square with 9 degrees of freedom: 99.9 % are below 27.9."""
    row, identity = rows_of([5] * 20_000)
    masks = draw_random(row, identity, seed=2, num_negatives=2).reshape(-1, 5)
    _, times = np.unique(masks, axis=0, return_counts=True)
    assert len(times) == 10
    assert ((times - 2000) ** 2 / 2000).sum() < 27.9


def test_documents_with_keys_in_sequence_are_drawn_as_evenly() -> None:
    """Keys that differ in their last bits only: 99.9 % of fair draws of one in 16 are below 37.7."""
    query, document = (side.ravel() for side in np.meshgrid(np.arange(16_000), np.arange(16), indexing="ij"))
    drawn = draw_random(query, (query, query, document), seed=0, num_negatives=1)
    times = np.bincount(document[drawn], minlength=16)
    assert ((times - 1000) ** 2 / 1000).sum() < 37.7


def test_a_row_gets_as_many_as_asked_or_all_it_has() -> None:
    lengths = [0, 1, 3, 4, 5, 40]
    row, identity = rows_of(lengths)
    for draw in (draw_random, draw_top):
        drawn = draw(row, identity, 7, 4)
        assert np.bincount(row[drawn], minlength=6).tolist() == [0, 1, 3, 4, 4, 4]


def test_top_takes_the_first_of_each_row() -> None:
    row, identity = rows_of([2, 5])
    assert draw_top(row, identity, 0, 3).tolist() == [True, True, True, True, True, False, False]


def test_another_seed_query_or_positive_gives_another_sample() -> None:
    row, (query, positive, document) = rows_of([200])
    draws = [
        draw_random(row, (query, positive, document), 0, 20),
        draw_random(row, (query, positive, document), 1, 20),
        draw_random(row, (query + 1, positive, document), 0, 20),
        draw_random(row, (query, positive + 1, document), 0, 20),
        draw_random(row, (positive, query, document), 0, 20),
    ]
    assert len({tuple(np.flatnonzero(drawn)) for drawn in draws}) == len(draws)


def test_a_sample_moves_with_its_documents() -> None:
    row, (query, positive, document) = rows_of([50])
    drawn = draw_random(row, (query, positive, document), 3, 10)
    order = np.random.default_rng(0).permutation(50)
    moved = draw_random(row, (query, positive, document[order]), 3, 10)
    assert set(document[drawn]) == set(document[order][moved])
