"""What a query is proposed of its documents: the smallest random numbers, joined with it some pairs at a time."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from operators.candidates.proposers.same_document import SameDocument
from operators.candidates.sources import keys_of_pairs
from operators.keys import keys_of, pair_keys, uniform
from operators.schemas import PAIR, PROPOSALS
from pipelines.text.stages.search import same_document
from pipelines.text.stages.search.same_document import PASSAGES, sample_of

SAMPLER = SameDocument(proposer="same_document", source="same_document", field="book", limit=4, seed=3)


def test_the_rows_are_the_same_however_many_pairs_are_joined_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    source = np.sort(rng.integers(0, 9, 90))
    passages = pa.table([np.arange(90) * 7, source], schema=PASSAGES)
    asked = sorted({(int(query), int(one)) for query, one in rng.integers(0, 11, (30, 2))})
    sources = pa.table({"query_key": [query for query, _ in asked], "source_key": [one for _, one in asked]})
    own = [(query, int(document)) for query, _ in asked for document in rng.choice(90, 20) * 7]
    positive = pair_keys(*(np.array(side) for side in zip(*own, strict=True)))
    expected = []
    for query in sorted({query for query, _ in asked}):
        books = {one for other, one in asked if other == query}
        documents = [n * 7 for n in range(90) if source[n] in books]
        name = keys_of(pa.array(["same_document"]))
        documents.sort(key=lambda document: float(uniform(3, name, np.array([query]), np.array([document]))[0]))
        ranked = [(query, document, rank) for rank, document in enumerate(documents)]  # positives count
        expected += [one for one in ranked if one[:2] not in own][:4]
    for most in (1, 7, 100, 1 << 18):
        monkeypatch.setattr(same_document, "PAIRS_AT_ONCE", most)
        table = sample_of(SAMPLER, sources, passages, positive)
        assert table.schema == PROPOSALS
        assert list(zip(*table.to_pydict().values(), strict=True)) == expected
    assert sample_of(SAMPLER, sources, PASSAGES.empty_table(), positive).num_rows == 0


def test_a_sample_is_independent_of_those_of_other_sources_and_of_a_draw_of_the_same_seed() -> None:
    """Of the 4 of 20 passages of each query, as many as by chance are in the sample of another source."""
    rows, passage = 2_000, np.random.default_rng(1).integers(1 << 62, size=(2_000, 20))
    passages = pa.table([passage.ravel(), np.repeat(np.arange(rows), 20)], schema=PASSAGES)
    sources = pa.table({"query_key": np.arange(rows), "source_key": np.arange(rows)})

    def sample(name: str) -> pa.Table:
        one = SameDocument(proposer="same_document", source=name, field="book", limit=4)
        return sample_of(one, sources, passages, np.zeros(0, np.int64))

    chance = stats.hypergeom(20, 4, 4)  # of one query
    first, second = (keys_of_pairs(sample(name)) for name in ("book", "chapter"))
    assert abs(np.isin(first, second).sum() - rows * chance.mean()) < 6 * np.sqrt(rows * chance.var())
    table = sample("book")
    drawn = uniform(0, *(np.asarray(table.column(name)) for name in PAIR))  # by `random` with `per: query`
    assert stats.kstest(drawn, "uniform").pvalue > 0.001


def test_a_large_document_of_many_queries_is_joined_in_little_memory() -> None:
    passages = pa.table([np.arange(20_000), np.zeros(20_000, np.int64)], schema=PASSAGES)
    sources = pa.table({"query_key": np.arange(150), "source_key": np.zeros(150, np.int64)})
    tracemalloc.start()
    try:
        table = sample_of(SAMPLER, sources, passages, np.zeros(0, np.int64))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert table.num_rows == 150 * 4
    assert peak < 64 << 20, "3,000,000 pairs at once take some 260 MiB"
