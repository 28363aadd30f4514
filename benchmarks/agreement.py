"""Whether two ways of mining give the same negatives: rows of the peer held against rows of the project."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.beir import texts
from operators.keys import text_keys_of

# (query, positive) -> its negatives, best first. All are keys of texts: the peer knows no ids, and of equal texts it
# names another one than the project.
Rows = Mapping[tuple[int, int], Sequence[int]]


@dataclass(frozen=True)
class Agreement:
    """How far the rows of the project are those of the peer.

    Attributes:
        rows: how many (query, positive) rows the peer has.
        same: how many of these have the same negatives here, in the same order.
        negatives: how many negatives the peer's rows hold.
        kept: how many of these are negatives of the same row here, in any order.
        only_peer: how many rows only the peer has.
        only_here: how many rows only the project has.
    """

    rows: int
    same: int
    negatives: int
    kept: int
    only_peer: int
    only_here: int


def agreement(theirs: Rows, ours: Rows) -> Agreement:
    """Compare the rows of the peer with ours."""
    return Agreement(
        rows=len(theirs),
        same=sum(row in ours and list(ours[row]) == list(negatives) for row, negatives in theirs.items()),
        negatives=sum(len(set(negatives)) for negatives in theirs.values()),
        kept=sum(len(set(negatives).intersection(ours.get(row, ()))) for row, negatives in theirs.items()),
        only_peer=len(theirs.keys() - ours.keys()),
        only_here=len(ours.keys() - theirs.keys()),
    )


class TextKeys:
    """The keys of the texts of a BEIR folder, by id."""

    def __init__(self, beir: Path) -> None:
        self.of_query, self.of_document = _keys(beir, "queries"), _keys(beir, "corpus")

    def peer_rows(self, file: Path) -> Rows:
        """Read what the peer wrote."""
        with file.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        return {
            (self.of_query[row["query_id"]], self.of_document[row["positive"]]): self._documents(row["negatives"])
            for row in rows
        }

    def our_rows(self, run: Path, negatives: int) -> Rows:
        """Read the n-tuples of a run, which have so many negatives each."""
        names = [f"negative_id_{place + 1}" for place in range(negatives)]
        rows = pq.read_table(sorted((run / "dataset" / "n-tuple").glob("*.parquet"))).to_pylist()
        return {
            (self.of_query[row["query_id"]], self.of_document[row["positive_id"]]): self._documents(
                [row[name] for name in names]
            )
            for row in rows
        }

    def _documents(self, ids: Sequence[str]) -> list[int]:
        return [self.of_document[one] for one in ids]


def _keys(beir: Path, name: str) -> dict[str, int]:
    by_id = texts(beir, name)
    return dict(zip(by_id, text_keys_of(pa.array(list(by_id.values()), pa.string())).tolist(), strict=True))
