"""Parity: search, merge and select choose what sentence-transformers' own `mine_hard_negatives` chooses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from operators.candidates.config import SelectConfig
from operators.candidates.select import Select
from operators.datasets.export import layout_of
from operators.datasets.layout import NegativeRows
from operators.keys import keys_of
from operators.schemas import POSITIVES, QUERIES, TEXTS, matrix_of
from operators.vectors.encode import Encode
from operators.vectors.encoder import EncoderConfig, Side
from operators.vectors.merge import Merge
from operators.vectors.model_load import load_model
from operators.vectors.search import Search
from operators.vectors.similarity import score_pairs
from tests.unit.operators.tables import positive_vectors, shard_of

TOPICS = [
    "cell membrane protein receptor signal kinase pathway tumor growth inhibitor enzyme gene",
    "river flood rain storm coast wind wave harbor ship anchor sail island",
    "market price trade bank loan interest credit tax budget income wage profit",
    "violin opera singer melody rhythm drum concert stage theatre actor drama poem",
]


@dataclass(frozen=True)
class Pairs:
    """Texts of a corpus and (query, positive) pairs: two queries of three have one positive, the others up to four."""

    corpus: list[str]
    pairs: list[tuple[str, str]]

    @property
    def queries(self) -> list[str]:
        return list(dict.fromkeys(query for query, _ in self.pairs))

    @property
    def most_positives(self) -> int:
        return max(sum(query == other for other, _ in self.pairs) for query in self.queries)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """No two texts have the same words: a static model would give them the same vector."""
    rng = np.random.default_rng(0)
    texts: dict[frozenset[str], str] = {}
    while len(texts) < 280:
        topic = TOPICS[rng.integers(len(TOPICS))].split()
        words = [*rng.choice(topic, rng.integers(2, 6), replace=False), *rng.choice(" ".join(TOPICS).split(), 2)]
        texts[frozenset(words)] = " ".join(words)
    corpus, queries = list(texts.values())[:220], list(texts.values())[220:]

    def alike(query: str) -> list[str]:
        return sorted(corpus, key=lambda text: (-len(set(text.split()) & set(query.split())), text))

    return Pairs(
        corpus,
        [
            (query, positive)
            for i, query in enumerate(queries)
            for positive in rng.choice(alike(query)[:8], 1 if i % 3 else rng.integers(2, 5), replace=False).tolist()
        ],
    )


def mined_by_peer(pairs: Pairs, model: Any, depth: int, settings: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: ANN401
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    anchors, positives = zip(*pairs.pairs, strict=True)
    mined = mine_hard_negatives(
        Dataset.from_dict({"query": list(anchors), "positive": list(positives)}),
        model,
        corpus=pairs.corpus,
        range_max=depth - pairs.most_positives,  # the peer searches so much deeper
        output_format="n-tuple",
        output_scores=True,
        verbose=False,
        **settings,
    )
    rows: list[dict[str, Any]] = mined.to_list()
    return rows


def vectors_of(texts: list[str], folder: Path, side: Side) -> pa.Table:
    keys = keys_of(pa.array(texts))
    config = EncoderConfig(model=str(folder), dtype="float32", vector_dtype="float32")
    return Encode(config, side, load_model(config, "cpu"))(
        pa.table({"key": keys, "text_key": keys, "text": pa.array(texts)})
    )


def mined_here(pairs: Pairs, folder: Path, depth: int, settings: dict[str, Any]) -> list[dict[str, Any]]:
    config = SelectConfig(range_max=depth - pairs.most_positives, margin_positive="lowest", **settings)
    queries, corpus = vectors_of(pairs.queries, folder, "query"), vectors_of(pairs.corpus, folder, "document")
    matrix = matrix_of(corpus.column("vector")).astype(np.float32)
    keys = keys_of(pa.array(pairs.corpus))
    positives = judged(pairs, matrix_of(queries.column("vector")).astype(np.float32), matrix)
    # Three shards, cut where the texts happen to lie.
    shards = [shard_of(matrix[rows], keys[rows], keys[rows]) for rows in np.array_split(np.arange(len(keys)), 3)]
    found = [Search(depth, shard)(queries, positives) for shard in shards]
    candidates = Merge(depth)(keys_of(pa.array(pairs.queries)), found)
    # The peer counts the positives that it finds in its depth.
    candidates = candidates.filter(pc.less(candidates.column("rank"), depth))
    selection = Select(config)(candidates, positives.select(POSITIVES.names))
    rows: list[dict[str, Any]] = layout_of("n-tuple")(
        NegativeRows(selection.negatives, *texts_of(pairs), config.num_negatives)
    ).to_pylist()
    return rows


def judged(pairs: Pairs, queries: npt.NDArray[np.float32], corpus: npt.NDArray[np.float32]) -> pa.Table:
    query = np.array([pairs.queries.index(query) for query, _ in pairs.pairs])
    document = np.array([pairs.corpus.index(positive) for _, positive in pairs.pairs])
    rows = zip(
        keys_of(pa.array([query for query, _ in pairs.pairs])).tolist(),
        keys_of(pa.array([positive for _, positive in pairs.pairs])).tolist(),
        score_pairs(queries, query, corpus, document).tolist(),
        strict=True,
    )
    return positive_vectors(
        [{"query_key": query, "doc_key": key, "text_key": key, "score": score} for query, key, score in rows],
        corpus[document],
    )


def texts_of(pairs: Pairs) -> tuple[pa.Table, pa.Table]:
    query_keys, doc_keys = keys_of(pa.array(pairs.queries)).tolist(), keys_of(pa.array(pairs.corpus)).tolist()
    queries = [
        {"query_id": text, "text": text, "query_key": key, "text_key": key}
        for text, key in zip(pairs.queries, query_keys, strict=True)
    ]
    documents = [
        {"doc_key": key, "doc_id": text, "text": text} for text, key in zip(pairs.corpus, doc_keys, strict=True)
    ]
    return pa.Table.from_pylist(queries, QUERIES), pa.Table.from_pylist(documents, TEXTS)


SETTINGS: dict[str, dict[str, Any]] = {
    "no filter": {"num_negatives": 5},
    "relative margin": {"num_negatives": 4, "relative_margin": 0.05},
    "absolute margin": {"num_negatives": 3, "absolute_margin": 0.0625},
    "max_score": {"num_negatives": 6, "max_score": 0.75},
    "min_score": {"num_negatives": 8, "min_score": 0.45},
    "range_min": {"num_negatives": 4, "range_min": 7},
    "all of them": {
        "num_negatives": 3,
        "range_min": 2,
        "relative_margin": 0.02,
        "absolute_margin": 0.01,
        "max_score": 0.7,
        "min_score": 0.2,
    },
}


@pytest.mark.parametrize("depth", [24, 60])
@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_negatives_in_the_same_order(name: str, depth: int, pairs: Pairs, static_model: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(static_model), device="cpu")
    peer = mined_by_peer(pairs, model, depth, SETTINGS[name])
    here = mined_here(pairs, static_model, depth, SETTINGS[name])

    count = SETTINGS[name]["num_negatives"]
    columns = ["query", "positive", *(f"negative_{i + 1}" for i in range(count))]
    scores = ["positive_score", *(f"negative_score_{i + 1}" for i in range(count))]
    assert len(peer) > 20
    assert [[row[column] for column in columns] for row in here] == [
        [row[column] for column in columns] for row in peer
    ]
    assert np.abs(np.array([[row[s] for s in scores] for row in here]) - [row["scores"] for row in peer]).max() < 1e-6
