"""Synthetic collections: the same each time, of length 1, complete, and minable."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks import sources
from benchmarks.exact_search import load, pick, positive_rows
from benchmarks.spread import spread_of
from benchmarks.synthetic import Cloud, Hard, Matrix, Text
from operators.schemas import matrix_of

DIMENSION = 32


def real() -> Matrix:
    """Something with fewer directions than dimensions, as the vectors of texts have."""
    random = np.random.default_rng(7)
    vectors = random.standard_normal((600, 8)) @ random.standard_normal((8, DIMENSION))
    vectors += 0.3 * random.standard_normal((600, DIMENSION))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(params=["hard", "text"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    return Hard(0, clusters=20, dimension=DIMENSION) if request.param == "hard" else Text(real())


def test_vectors_have_length_1_and_are_the_same_for_the_same_seed(cloud: Cloud) -> None:
    drawn = [cloud.draw(500, np.random.default_rng(3)) for _ in range(2)]
    queries = [cloud.queries_for(drawn[0], np.random.default_rng(4)) for _ in range(2)]
    for one, again in (drawn, queries):
        assert one.dtype == np.float32
        assert np.linalg.norm(one, axis=1) == pytest.approx(1, abs=1e-5)
        np.testing.assert_array_equal(one, again)
    assert len(np.unique(drawn[0], axis=0)) == 500
    assert not np.array_equal(drawn[0], cloud.draw(500, np.random.default_rng(5)))


def test_text_is_spread_as_the_real_vectors_are() -> None:
    vectors = real()
    drawn, wanted = spread_of(Text(vectors).draw(len(vectors), np.random.default_rng(0))), spread_of(vectors)
    assert drawn.neighbours == pytest.approx(wanted.neighbours, abs=0.1)
    assert drawn.dimensions == pytest.approx(wanted.dimensions, rel=0.3)


def test_what_is_written(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same whatever the size of a file; each query is nearest to its positive; texts are unique."""
    monkeypatch.setattr(sources, "ROWS_AT_ONCE", 100)
    for rows in (100, 300):
        sources.write_sources(cloud, tmp_path / str(rows), documents=950, queries=40, rows_per_file=rows)
    tables = [
        {name: pq.read_table(tmp_path / rows / name) for name in ("corpus", "queries.parquet", "judgements.parquet")}
        for rows in ("100", "300")
    ]
    assert tables[0] == tables[1]
    corpus, queries, judgements = tables[0].values()
    assert corpus["doc_id"].to_pylist() == [f"d{i}" for i in range(950)]
    assert len(corpus["text"].unique()) == 950
    assert queries["query_id"].to_pylist() == judgements["query_id"].to_pylist()
    positive = [int(name[1:]) for name in judgements["doc_id"].to_pylist()]
    assert len(set(positive)) == 40
    scores = matrix_of(queries["vector"]) @ matrix_of(corpus["vector"]).T
    own = scores[np.arange(40), positive]
    assert ((scores > own[:, None]).sum(axis=1) < 20).mean() > 0.9


def test_the_exact_search_leaves_positives_out(tmp_path: Path) -> None:
    sources.write_sources(Hard(0, clusters=20, dimension=DIMENSION), tmp_path, documents=300, queries=20)
    doc_ids, documents = load(sorted((tmp_path / "corpus").glob("*.parquet")), "doc_id")
    query_ids, queries = load([tmp_path / "queries.parquet"], "query_id")
    positives = positive_rows(pq.read_table(tmp_path / "judgements.parquet"), query_ids, doc_ids)
    scores = queries @ documents.T
    rows = np.argsort(-scores, axis=1)
    best_scores, best = pick(np.take_along_axis(scores, rows, axis=1)[:, :11], rows[:, :11], positives, 10)
    for query, found in enumerate(best):
        assert list(found) == [row for row in rows[query] if row not in positives[query]][:10]
        np.testing.assert_array_equal(best_scores[query], scores[query, found])
