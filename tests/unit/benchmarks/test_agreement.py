"""Agreement of mined rows, on cases small enough to count by hand, and on files as the peer and a run write them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.agreement import Agreement, TextKeys, agreement

THEIRS = {(1, 10): [1, 2, 3, 4], (1, 11): [1, 2, 3, 4], (2, 20): [5, 6, 7, 8], (3, 30): [1, 2, 3, 4]}


def test_the_same_rows_agree_wholly() -> None:
    assert agreement(THEIRS, dict(THEIRS)) == Agreement(4, 4, 16, 16, 0, 0)


def test_order_counts_for_rows_but_not_for_single_negatives() -> None:
    ours = {(1, 10): [1, 2, 3, 4], (1, 11): [2, 1, 3, 4], (2, 20): [5, 6, 7, 9], (4, 40): [1, 2, 3, 4]}
    assert agreement(THEIRS, ours) == Agreement(rows=4, same=1, negatives=16, kept=11, only_peer=1, only_here=1)


def test_no_rows() -> None:
    assert agreement({}, {}) == Agreement(0, 0, 0, 0, 0, 0)


def test_rows_are_compared_by_text(tmp_path: Path) -> None:
    """The peer names the last of equal texts, the project the first: they are the same negative all the same."""
    corpus = {"a": "first", "b": "second", "c": "twice", "d": "twice"}
    lines = [json.dumps({"_id": name, "text": text}) for name, text in corpus.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "what?"}', encoding="utf-8")
    peer = {"query_id": "q", "positive": "a", "negatives": ["d", "b"], "scores": []}
    (tmp_path / "peer.jsonl").write_text(json.dumps(peer), encoding="utf-8")
    ours = {"query_id": ["q"], "positive_id": ["a"], "negative_id_1": ["c"], "negative_id_2": ["b"]}
    dataset = tmp_path / "run" / "dataset" / "n-tuple"
    dataset.mkdir(parents=True)
    pq.write_table(pa.table(ours), dataset / "part-00000.parquet")
    keys = TextKeys(tmp_path)
    found = agreement(keys.peer_rows(tmp_path / "peer.jsonl"), keys.our_rows(tmp_path / "run", 2))
    assert found == Agreement(1, 1, 2, 2, 0, 0)
