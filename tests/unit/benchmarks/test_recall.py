"""Recall of a run against an exact search, held against sets counted one query at a time."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.recall import recall
from operators.keys import keys_of
from operators.schemas import POSITIVE_DOCUMENT
from tests.unit.operators.tables import Row, candidates

DEPTH = 5
QUERIES = [f"q{i}" for i in range(30)]


def key(name: str) -> int:
    return int(keys_of(pa.array([name]))[0])


def write_candidates(run: Path, found: dict[str, list[str]], positive: dict[str, str]) -> None:
    rows: list[Row] = [
        {
            "query_key": key(query),
            "doc_key": key(document),
            "score": 1 - rank / 100,
            "rank": rank,
            "positive_kind": POSITIVE_DOCUMENT if document == positive[query] else 0,
        }
        for query, documents in found.items()
        for rank, document in enumerate(documents)
    ]
    folder = run / "search" / "all" / "0123" / "merged-100"
    folder.mkdir(parents=True)
    for part in range(2):
        pq.write_table(candidates(rows[part::2]), folder / f"part-{part:05d}.parquet")


def test_recall_is_the_mean_overlap(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    positive = {query: f"d{random.integers(40)}" for query in QUERIES}
    documents = {query: [f"d{i}" for i in random.permutation(40)] for query in QUERIES}
    exact = {query: [one for one in documents[query] if one != positive[query]][:DEPTH] for query in QUERIES}
    # What the run found: each document with a chance of 0.7, the first query not at all, and one that nobody asked.
    found = {query: [one for one in documents[query] if random.random() < 0.7][:9] for query in QUERIES[1:]}
    positive["other"] = "none"
    write_candidates(tmp_path, {**found, "other": documents["q0"][:9]}, positive)
    table = pa.table({"query_id": np.repeat(QUERIES, DEPTH), "doc_id": np.concatenate(list(exact.values()))})
    pq.write_table(table, tmp_path / "exact.parquet")

    overlaps = [0.0]
    for query in QUERIES[1:]:
        best = [one for one in found[query] if one != positive[query]][:DEPTH]
        overlaps.append(len(set(best) & set(exact[query])) / DEPTH)
    assert recall(tmp_path, tmp_path / "exact.parquet", DEPTH) == pytest.approx(np.mean(overlaps))
