"""Which partitions make which shard of the index, so that shards stay few and each vector is built few times.

Partitions fill one shard after another, up to a number of documents. A shard that is full stays as it is. The last one
is not full: as a corpus grows by small pieces, what it holds is in several shards, each of which is at least
CLEARLY_LARGER times the next. A piece that comes is a shard of its own, and is joined with those before it that are not
clearly larger (Bentley and Saxe, Decomposable searching problems, 1980). So n documents that came in whatever pieces
are in at most n / rows + log2(rows) shards, up to what whole partitions leave free, and a document is built into
another shard at most log(rows) times to the base 1 + 1 / CLEARLY_LARGER, and once more when its shard is full.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

Part = Mapping[str, Any]

CLEARLY_LARGER = 2


@dataclass(frozen=True)
class Piece:
    """Partitions from `start` to `end`: a shard that is there, or one partition in none of them."""

    start: int
    end: int
    built: bool


def shards_of(parts: Sequence[Part], rows: int, built: Sequence[Sequence[str]]) -> list[list[Part]]:
    """Divide partitions into shards of up to `rows` documents, in their order.

    What is chosen is chosen again when some of it, or all, is built. A shard has more than `rows` documents only where
    a single partition, or a shard that is there, has. A partition without documents is in none, so that none is empty.

    Args:
        parts: `digest` and `rows` of each partition.
        rows: of a full shard.
        built: the digests of the partitions of each shard that is there. It is taken whole or not at all.
    """
    parts = [part for part in parts if part["rows"]]
    before = list(accumulate((part["rows"] for part in parts), initial=0))
    pieces = _pieces([part["digest"] for part in parts], built)
    shards: list[tuple[int, int]] = []
    at = 0
    while at < len(pieces):
        start, after = pieces[at].start, at + 1
        while after < len(pieces) and before[pieces[after].end] - before[start] <= rows:
            after += 1
        end = pieces[after - 1].end
        full = end < len(parts) and before[end + 1] - before[start] > rows
        shards += [(start, end)] if full else _tiers(pieces[at:after], before)
        at = after
    return [parts[start:end] for start, end in shards]


def _pieces(digests: Sequence[str], built: Sequence[Sequence[str]]) -> list[Piece]:
    """Find the shards that are there among partitions: of those that start with the same one, the longest."""
    starting: dict[str, list[list[str]]] = {}
    for shard in sorted(map(list, built), key=len, reverse=True):
        starting.setdefault(shard[0], []).append(shard)
    pieces: list[Piece] = []
    at = 0
    while at < len(digests):
        shards = (shard for shard in starting.get(digests[at], []) if digests[at : at + len(shard)] == shard)
        there = next(shards, None)
        pieces.append(Piece(at, at + len(there or [at]), there is not None))
        at = pieces[-1].end
    return pieces


def _tiers(pieces: Sequence[Piece], before: Sequence[int]) -> list[tuple[int, int]]:
    """Join pieces until each is clearly larger than the next; partitions that are new make one piece."""
    tiers: list[tuple[int, int]] = []
    for built, group in groupby(pieces, lambda piece: piece.built):
        of_group = [(piece.start, piece.end) for piece in group]
        for start, end in of_group if built else [(of_group[0][0], of_group[-1][1])]:
            while tiers and before[start] - before[tiers[-1][0]] < CLEARLY_LARGER * (before[end] - before[start]):
                start, _ = tiers.pop()  # noqa: PLW2901 - the piece grows to the left
            tiers.append((start, end))
    return tiers
