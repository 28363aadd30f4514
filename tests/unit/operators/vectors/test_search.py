"""Search and merge against brute force, and what an index that approximates must not change."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.schemas import NOT_POSITIVE, POSITIVE_DOCUMENT, POSITIVE_TEXT, to_numpy
from operators.vectors import search as search_module
from operators.vectors.index import IndexChoice, save, train
from operators.vectors.merge import Merge
from operators.vectors.nearest import OperatingPoint, nearest
from operators.vectors.rounding import lengths_of
from operators.vectors.search import Search, SearchConfig
from operators.vectors.shard import Shard, open_shard
from tests.unit.operators.tables import Row, codes_of, flat_of, positive_vectors, query_vectors, shard_of

Ints = npt.NDArray[np.int64]
EXACTLY = OperatingPoint(exact=True)


@dataclass(frozen=True)
class Collection:
    """Vectors of whole numbers, so that scores are exact in float32, and judgements: a query's number -> documents."""

    documents: npt.NDArray[np.float32]
    doc_key: Ints
    text_key: Ints
    queries: npt.NDArray[np.float32]
    query_key: Ints
    judged: dict[int, list[int]]

    def query_table(self) -> pa.Table:
        return query_vectors(self.query_key, self.queries)

    def positive_table(self) -> pa.Table:
        pairs = [(query, document) for query, documents in self.judged.items() for document in documents]
        rows = [
            {
                "query_key": int(self.query_key[query]),
                "doc_key": int(self.doc_key[document]),
                "text_key": int(self.text_key[document]),
            }
            for query, document in pairs
        ]
        return positive_vectors(rows, self.documents[[document for _, document in pairs]])

    def shards(self, number: int, precision: type = np.float32) -> list[Shard]:
        return [
            shard_of(self.documents[rows].astype(precision), self.doc_key[rows], self.text_key[rows])
            for rows in np.array_split(np.arange(len(self.documents)), number)
        ]

    def found(self, k: int, shards: list[Shard], point: OperatingPoint = EXACTLY) -> list[Row]:
        tables = [Search(k, shard, point)(self.query_table(), self.positive_table()) for shard in shards]
        rows: list[Row] = Merge(k)(self.query_key, tables).to_pylist()
        return rows

    def brute_force(self, k: int) -> list[Row]:
        """Every document is compared with every query, one at a time."""
        rows = []
        for query in range(len(self.queries)):
            judged = self.judged.get(query, [])
            scores = self.documents @ self.queries[query]
            others = 0
            for rank, document in enumerate(sorted(range(len(scores)), key=lambda d: (-scores[d], self.doc_key[d]))):
                flag = POSITIVE_TEXT if self.text_key[document] in self.text_key[judged] else NOT_POSITIVE
                flag = POSITIVE_DOCUMENT if document in judged else flag
                others += flag != POSITIVE_DOCUMENT
                similarities = [float(self.documents[document] @ self.documents[other]) for other in judged]
                rows.append(
                    {
                        "query_key": self.query_key[query],
                        "doc_key": self.doc_key[document],
                        "text_key": self.text_key[document],
                        "score": scores[document],
                        "rank": rank,
                        "positive_kind": flag,
                        "max_positive_similarity": max(similarities) if similarities else None,
                        "mean_positive_similarity": np.float32(np.mean(similarities)) if similarities else None,
                    }
                )
                if others == k:
                    break
        return rows


def collection(documents: int, judged: list[int], seed: int, spread: int = 400, dimension: int = 6) -> Collection:
    """Random documents, and a query for each number of positives in `judged`; every fifth document repeats a text."""
    rng = np.random.default_rng(seed)
    text_key = np.arange(documents) + 1000
    text_key[::5] = 1000 + rng.integers(0, documents, len(text_key[::5]))
    return Collection(
        documents=rng.integers(-spread, spread + 1, (documents, dimension)).astype(np.float32),
        doc_key=rng.permutation(documents) * (2**62 // documents),
        text_key=text_key,
        queries=rng.integers(-spread, spread + 1, (len(judged), dimension)).astype(np.float32),
        query_key=rng.permutation(len(judged)) + 2**60,
        judged={
            query: sorted(rng.choice(documents, min(number, documents), replace=False).tolist())
            for query, number in enumerate(judged)
        },
    )


def without_nan(rows: list[Row]) -> list[Row]:
    return [
        {name: None if value is not None and np.isnan(value) else value for name, value in row.items()} for row in rows
    ]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    documents=st.integers(1, 150),
    judged=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    k=st.integers(1, 160),
    shards=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_exact_search_of_any_number_of_shards_equals_brute_force(
    documents: int, judged: list[int], k: int, shards: int, seed: int
) -> None:
    given_collection = collection(documents, judged, seed)
    found = given_collection.found(k, given_collection.shards(shards))
    assert without_nan(found) == given_collection.brute_force(k)


def test_documents_of_equal_score_come_in_the_order_of_their_keys() -> None:
    """Few values, so ties abound; all documents are found, so no tie is cut."""
    given_collection = collection(60, [3, 0], seed=1, spread=1, dimension=3)
    assert without_nan(given_collection.found(60, given_collection.shards(3))) == given_collection.brute_force(60)


@pytest.mark.parametrize("k", [16, 32, 64])
def test_the_exact_score_decides_at_the_cut_where_the_one_of_faiss_is_rounded_otherwise(k: int) -> None:
    """The scores of neighbours differ by less than FAISS rounds, so its order is a guess; more than k must be asked."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal(384).astype(np.float32)
    documents = np.repeat(base[None], k + 1, axis=0)
    documents[np.arange(k + 1), rng.integers(0, 384, k + 1)] *= np.float32(1 + 1e-6)
    queries = np.repeat(base[None], 50, axis=0) * rng.uniform(0.5, 2, (50, 1)).astype(np.float32)
    keys = np.arange(k + 1)
    table = query_vectors(np.arange(50), queries)
    none = positive_vectors([], np.zeros((0, 384), np.float32))
    found = Search(k, shard_of(documents, keys, keys))(table, none).to_pylist()
    everything = Search(k + 1, shard_of(documents, keys, keys))(table, none).to_pylist()
    for query in range(50):
        best = [row["doc_key"] for row in everything if row["query_key"] == query][:k]
        assert [row["doc_key"] for row in found if row["query_key"] == query] == best


def test_a_document_with_the_text_of_a_positive_is_flagged_under_another_id() -> None:
    one = Collection(
        documents=np.array([[3, 0], [2, 0], [1, 0]], np.float32),
        doc_key=np.array([10, 11, 12]),
        text_key=np.array([7, 8, 7]),
        queries=np.array([[1, 0], [1, 0]], np.float32),
        query_key=np.array([100, 101]),
        judged={0: [0]},
    )
    flags = {(row["query_key"], row["doc_key"]): row["positive_kind"] for row in one.found(3, one.shards(2))}
    assert flags == {
        (100, 10): POSITIVE_DOCUMENT,
        (100, 11): NOT_POSITIVE,
        (100, 12): POSITIVE_TEXT,
        (101, 10): NOT_POSITIVE,
        (101, 11): NOT_POSITIVE,
        (101, 12): NOT_POSITIVE,
    }


def test_a_batch_without_queries_finds_nothing() -> None:
    given_collection = collection(10, [1], seed=0)
    queries = given_collection.query_table().slice(0, 0)
    found = Search(3, given_collection.shards(1)[0])(queries, given_collection.positive_table().slice(0, 0))
    assert found.num_rows == 0


def test_a_query_with_many_positives_does_not_deepen_the_search_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def watched(
        shard: Shard,
        queries: npt.NDArray[np.float32],
        wanted: Ints,
        point: OperatingPoint,
        device: str,
        depth: int,
    ) -> tuple[Ints, Ints]:
        asked.append((len(queries), int(wanted.max())))
        return nearest(shard, queries, wanted, point, device, depth)

    monkeypatch.setattr(search_module, "nearest", watched)
    given_collection = collection(900, [1, 1, 400, 1, 1], seed=3)
    found = given_collection.found(50, given_collection.shards(1))
    assert without_nan(found) == given_collection.brute_force(50)
    deep = [(queries, depth) for queries, depth in asked if depth > 100]
    assert sum(queries for queries, _ in asked) == 5
    assert [queries for queries, _ in deep] == [1]


def trained(factory: str, vectors: npt.NDArray[np.float32]) -> Any:  # noqa: ANN401 - faiss is untyped
    return codes_of(train(IndexChoice(factory=factory, train_rows=0, why=""), vectors), [vectors])


def test_what_faiss_pads_with_never_becomes_a_document() -> None:
    """One list of eight is visited: fewer documents than k, and exactly those of the nearest list."""
    given_collection = collection(80, [0, 2, 1, 0, 3], seed=4)
    index = trained("IVF8,Flat", given_collection.documents)
    shard = replace(given_collection.shards(1)[0], codes=index)
    found = given_collection.found(60, [shard], OperatingPoint(nprobe=1))
    _, list_of_document = index.quantizer.search(given_collection.documents, 1)
    _, list_of_query = index.quantizer.search(given_collection.queries, 1)
    visited = {
        (int(key), int(given_collection.doc_key[document]))
        for key, nearest in zip(given_collection.query_key, list_of_query[:, 0], strict=True)
        for document in np.flatnonzero(list_of_document[:, 0] == nearest)
    }
    pairs = [(row["query_key"], row["doc_key"]) for row in found]
    assert set(pairs) == visited
    assert len(pairs) == len(visited)


@pytest.mark.parametrize(
    "factory", ["IVF4,PQ4x4", "IVF4,PQ4x4fs", "IVF4,SQ4", "IVF4,RaBitQ", "PQ4x4", "PCAR8,IVF4,SQ8"]
)
def test_a_quantized_index_that_proposes_everything_equals_exact_search(factory: str, tmp_path: Path) -> None:
    given_collection = collection(300, [0, 2, 30, 1], seed=5, dimension=16, spread=200)
    shard = saved(given_collection, tmp_path, np.float32, factory)
    found = given_collection.found(40, [shard], OperatingPoint(nprobe=4, refine_factor=10))
    assert without_nan(found) == given_collection.brute_force(40)


def test_scores_never_come_from_the_codes() -> None:
    """Codes of 4 bits for four values are far off; whatever they propose is scored with the vectors themselves."""
    given_collection = collection(300, [0, 2, 1], seed=6, dimension=16, spread=200)
    shard = replace(given_collection.shards(1)[0], codes=trained("PQ4x4", given_collection.documents))
    found = given_collection.found(20, [shard], OperatingPoint(refine_factor=1))
    scores = given_collection.queries @ given_collection.documents.T
    true = {
        (int(query), int(document)): scores[i, j]
        for i, query in enumerate(given_collection.query_key)
        for j, document in enumerate(given_collection.doc_key)
    }
    assert len(found) >= 60
    assert all(row["score"] == true[row["query_key"], row["doc_key"]] for row in found)
    assert [(row["query_key"], row["rank"]) for row in found] == [
        (int(key), rank) for key in given_collection.query_key for rank in range(sum_of(found, int(key)))
    ]


def sum_of(found: list[Row], query_key: int) -> int:
    return sum(row["query_key"] == query_key for row in found)


def saved(given_collection: Collection, folder: Path, precision: type, factory: str | None) -> Shard:
    save(flat_of(given_collection.documents.astype(precision)), folder / "vectors.faiss")
    np.save(folder / "keys.npy", np.stack([given_collection.doc_key, given_collection.text_key]))
    np.save(folder / "lengths.npy", lengths_of(given_collection.documents))
    if factory is not None:
        save(trained(factory, given_collection.documents), folder / "codes.faiss")
    return open_shard(folder)


@pytest.mark.parametrize("factory", [None, "IVF4,SQ8"])
def test_vectors_of_half_precision_are_searched_where_they_lie(factory: str | None, tmp_path: Path) -> None:
    given_collection = collection(200, [2, 0, 1], seed=7)
    shard = saved(given_collection, tmp_path, np.float16, factory)
    assert shard.vectors.dtype == np.float16
    assert np.array_equal(shard.vectors, given_collection.documents)
    maps = Path("/proc/self/maps")
    assert not maps.exists() or f"{tmp_path}/vectors.faiss" in maps.read_text(encoding="utf-8")
    found = given_collection.found(30, [shard], OperatingPoint(nprobe=4, refine_factor=10))
    assert without_nan(found) == given_collection.brute_force(30)


@pytest.mark.parametrize("factory", ["IVF4,SQ8", "PQ4x4"])
def test_a_quantized_shard_without_documents_finds_nothing(factory: str) -> None:
    given_collection = collection(100, [2, 0], seed=8, dimension=16)
    empty = train(IndexChoice(factory=factory, train_rows=0, why=""), given_collection.documents)
    index = faiss.deserialize_index(np.frombuffer(empty, np.uint8))
    none = np.zeros(0, dtype=np.int64)
    shard = shard_of(np.zeros((0, 16), np.float32), none, none, index)
    assert Search(5, shard)(given_collection.query_table(), given_collection.positive_table()).num_rows == 0


@pytest.mark.parametrize("wrong", [{"k": 0}, {"nprobe": 0}, {"nprobe": -3}, {"refine_factor": 0}, {"max_k": 99}])
def test_depths_that_find_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SearchConfig.model_validate(wrong)


def test_a_second_call_gives_the_same_table() -> None:
    given_collection = collection(120, [2, 1, 5], seed=9)
    search = Search(20, given_collection.shards(1)[0])
    first = search(given_collection.query_table(), given_collection.positive_table())
    assert search(given_collection.query_table(), given_collection.positive_table()).equals(first)
    assert to_numpy(first, "query_key").tolist() == sorted(
        to_numpy(first, "query_key").tolist(), key=given_collection.query_key.tolist().index
    )
