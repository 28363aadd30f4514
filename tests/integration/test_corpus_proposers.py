"""Candidates from the whole corpus, at random and by words: the same on every engine and for any partitions."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sentence_transformers import SentenceTransformer

from operators.errors import InputError
from operators.keys import keys_of
from pipelines.run import mine
from tests.integration.conftest import Collection, configuration, dataset

PROPOSERS: list[dict[str, Any]] = [
    {"proposer": "uniform", "limit": 6},
    {"proposer": "frequency", "limit": 6},
    {"proposer": "custom", "by": "number", "limit": 6},
    {"proposer": "metadata", "where": "number < 50", "source": "early", "limit": 6},
    {"proposer": "lexical", "limit": 20},
]
DRAWS = [
    {"strategy": "top", "num_negatives": 1, "source": source} for source in ("uniform", "frequency", "custom", "early")
] + [{"strategy": "top", "num_negatives": 2, "source": "lexical"}, {"strategy": "top", "num_negatives": 2}]
ORDER = [("query_id", "ascending"), ("positive_id", "ascending"), ("negative_id", "ascending")]


def test_candidates_of_the_whole_corpus_join_on_every_engine(
    collection: Collection, static_model: Path, tmp_path: Path, engine: str
) -> None:
    sections = {"proposers": PROPOSERS, "select": {"draws": DRAWS, "range_max": 50}}
    for name, rows in dict.fromkeys([(engine, 64), ("local", 64), ("local", 1000)]):
        config = configuration(
            tmp_path / f"{name}-{rows}",
            collection,
            static_model,
            **sections,
            data={"partition_rows": rows},
            engine={"name": name},
        )
        mined = mine(config, progress=False)
    found = dataset(tmp_path / f"{engine}-64")
    assert found.equals(dataset(tmp_path / "local-64"))
    assert found.sort_by(ORDER).equals(dataset(tmp_path / "local-1000").sort_by(ORDER))

    stages = [path for path in (tmp_path / f"{engine}-64" / "search").glob("propose_*/*/*") if path.is_dir()]
    assert {path.name for path in stages} == {"_units", "proposals"}, "what was temporary is gone"

    negatives = mined.output("select", "negatives").to_pylist()
    number = {int(key): n for n, key in enumerate(keys_of(pa.array(list(collection.documents))))}
    sources = Counter(source for row in negatives for source in row["sources"])
    assert sources.keys() == {"search", *(one.get("source", one["proposer"]) for one in PROPOSERS)}
    assert all(number[row["doc_key"]] < 50 for row in negatives if "early" in row["sources"])
    assert mined.report["proposed"]["uniform"] == 6 * len(collection.queries)
    # What words find is nearer than what is drawn at random.
    of = {
        source: np.mean([row["score"] for row in negatives if source in row["sources"]])
        for source in ("uniform", "lexical")
    }
    assert of["lexical"] > of["uniform"] + 0.05


def test_the_lexical_ranking_is_that_of_bm25s(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    import bm25s

    proposer = {"proposer": "lexical", "limit": 10}
    draw = {"strategy": "top", "num_negatives": 10, "source": "lexical"}
    config = configuration(
        tmp_path, collection, static_model, proposers=[proposer], select={"draws": [draw], "range_max": 10}
    )
    mined = mine(config, until="select", progress=False)
    proposed = mined.output("search/propose_lexical", "proposals")
    retriever = bm25s.BM25(k1=1.5, b=0.75, method="lucene", dtype="float64")
    texts = list(collection.documents.values())
    tokens = [bm25s.tokenize(text, stopwords=None, return_ids=False, show_progress=False)[0] for text in texts]
    retriever.index(tokens, show_progress=False)
    known = {word for text in tokens for word in text}
    place = {int(key): n for n, key in enumerate(keys_of(pa.array(list(collection.documents))))}
    keys = keys_of(pa.array(list(collection.queries)))
    for key, text in zip(keys[:50].tolist(), list(collection.queries.values())[:50], strict=True):
        words = bm25s.tokenize(text, stopwords=None, return_ids=False, show_progress=False)[0]
        scores = retriever.get_scores([word for word in words if word in known])
        ours = proposed.filter(pc.equal(proposed["query_key"], key)).sort_by("rank")["doc_key"].to_pylist()
        assert scores[[place[doc] for doc in ours]] == pytest.approx(np.sort(scores)[::-1][: len(ours)], rel=1e-5)
        assert len(ours) == min(10, int((scores > 0).sum()))


def test_a_weight_that_no_document_has_proposes_nothing_and_warns(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    config = configuration(tmp_path, collection, static_model, proposers=[{"proposer": "custom", "by": "clicks"}])
    mined = mine(config, progress=False)
    said = "custom proposed no document: no document has the metadata 'clicks' that proposers.custom.by names"
    assert any(said in line for line in mined.report["warnings"])


def test_what_proposes_nothing_says_which_metadata_labels_or_domains_nothing_has(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    """In JSONL a later row may have a column that the first rows have not: it is no reason to refuse the run."""
    expected: dict[str, tuple[dict[str, Any], str]] = {
        "where-domain": ({"proposer": "metadata", "where": "domain == 'law'"}, "no document has the metadata 'domain'"),
        "in-domain": ({"proposer": "metadata", "where": "domain in ['law']"}, "no document has the metadata 'domain'"),
        "of-query": ({"proposer": "uniform", "where": "number < query.date"}, "no query has the metadata 'date'"),
        "of-field": ({"proposer": "cross_domain", "field": "topic"}, "no document has the metadata 'topic'"),
        "of-book": ({"proposer": "same_document", "field": "book"}, "no document has the metadata 'book'"),
        "met": ({"proposer": "metadata", "where": "number < 0"}, "no document meets 'number < 0'"),
        "labels": ({"proposer": "explicit", "labels": ["far"]}, "no judgement has a score of 0 or less and one of the"),
        "domains": (
            {"proposer": "cross_domain", "field": "source", "domains": ["law"]},
            "no document has the metadata 'source' that proposers.domains.field names",
        ),
    }
    proposers = [{**one, "source": name.replace("-", "_")} for name, (one, _) in expected.items()]
    mined = mine(configuration(tmp_path, collection, static_model, proposers=proposers), progress=False)
    for name, (_, said) in expected.items():
        start = f"{name.replace('-', '_')} proposed no document: {said}"
        assert any(start in line for line in mined.report["warnings"]), (start, mined.report["warnings"])


def test_documents_named_by_numbers_and_texts_may_have_no_other_passages(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    rows = [{"_id": name, "text": text} for name, text in collection.documents.items()]
    books = [{**row, "book": n if n % 2 else f"b{n}"} for n, row in enumerate(rows)]
    path = tmp_path / "books.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in books), encoding="utf-8")
    judgements = str(collection.folder / "qrels" / "train.tsv")
    data = {"corpus": str(path), "queries": str(collection.folder / "queries.jsonl"), "judgements": judgements}
    proposers = [{"proposer": "same_document", "field": "book"}]
    config = configuration(tmp_path / "run", None, static_model, data=data, proposers=proposers)
    said = "same_document proposed no document: no positive shares its 'book' with another document"
    assert any(said in line for line in mine(config, progress=False).report["warnings"])


def test_metadata_of_another_kind_end_the_run_in_one_line(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    proposer = {"proposer": "metadata", "where": "number == 'x'"}
    config = configuration(tmp_path, collection, static_model, proposers=[proposer])
    with pytest.raises(InputError, match=r"proposers\.metadata: .*number is a number, and 'x' is text"):
        mine(config, until="select", progress=False)


def test_neighbours_of_the_positives_are_those_of_brute_force(
    collection: Collection, static_model: Path, tmp_path: Path, engine_in_time: str
) -> None:
    config = configuration(
        tmp_path,
        collection,
        static_model,
        encoder={"vector_dtype": "float32"},
        index="exact",
        proposers=[{"proposer": "cluster", "limit": 5}],
        engine={"name": engine_in_time},
    )
    proposed = mine(config, until="select", progress=False).output("search/propose_cluster", "proposals")
    model = SentenceTransformer(str(static_model), device="cpu")
    vectors = model.encode(list(collection.documents.values()), normalize_embeddings=True)
    names = list(collection.documents)
    place, key = {name: n for n, name in enumerate(names)}, keys_of(pa.array(names)).tolist()
    found: dict[int, list[int]] = {}
    for row in proposed.sort_by([("query_key", "ascending"), ("rank", "ascending")]).to_pylist():
        found.setdefault(row["query_key"], []).append(key.index(row["doc_key"]))
    queries = dict(zip(keys_of(pa.array(list(collection.queries))).tolist(), collection.queries, strict=True))
    assert found.keys() == queries.keys()
    for query_key, query in queries.items():
        own = [place[name] for name, score in collection.judgements[query].items() if score > 0]
        nearest = (vectors[own] @ vectors.T).max(axis=0)
        nearest[own] = -np.inf
        assert nearest[found[query_key]] == pytest.approx(np.sort(nearest)[::-1][:5], abs=1e-6)


def test_passages_of_the_documents_of_the_positives_are_proposed(
    docstrings: list[dict[str, str]], static_model: Path, tmp_path: Path, engine_in_time: str
) -> None:
    """Seven passages are one book; three passages are of none."""
    rows = [{"_id": f"d{n}", "text": pair["positive"], "book": n // 7} for n, pair in enumerate(docstrings[:150])]
    for row in rows[-3:]:
        del row["book"]
    queries = {f"q{n}": docstrings[n]["query"] for n in range(0, 150, 2)}
    judged = [(query, f"d{int(query[1:])}") for query in queries] + [
        (query, f"d{int(query[1:]) // 3}") for query in queries
    ]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked = "".join(json.dumps({"query_id": query, "text": text}) + "\n" for query, text in queries.items())
    (tmp_path / "queries.jsonl").write_text(asked, encoding="utf-8")
    lines = sorted({f"{query}\t{doc}\t1\n" for query, doc in judged})
    (tmp_path / "judgements.tsv").write_text("query_id\tdoc_id\tscore\n" + "".join(lines), encoding="utf-8")
    config = configuration(
        tmp_path / "run",
        None,
        static_model,
        data={
            "corpus": {"path": str(tmp_path / "corpus.jsonl"), "columns": {"doc_id": "_id"}},
            "queries": str(tmp_path / "queries.jsonl"),
            "judgements": str(tmp_path / "judgements.tsv"),
        },
        proposers=[{"proposer": "same_document", "field": "book", "limit": 8}],
        engine={"name": engine_in_time},
    )
    proposed = mine(config, until="select", progress=False).output("search/propose_same_document", "proposals")
    names = {int(key): f"d{n}" for n, key in enumerate(keys_of(pa.array([row["_id"] for row in rows])))}
    book = {str(row["_id"]): row.get("book") for row in rows}
    found: dict[int, set[str]] = {}
    ranks: dict[int, set[int]] = {}
    for row in proposed.to_pylist():
        found.setdefault(row["query_key"], set()).add(names[row["doc_key"]])
        ranks.setdefault(row["query_key"], set()).add(row["rank"])
    shifted = 0
    for key, query in zip(keys_of(pa.array(list(queries))).tolist(), queries, strict=True):
        own = {doc for one, doc in judged if one == query}
        books = {book[doc] for doc in own} - {None}
        expected = {doc for doc, of in book.items() if of in books} - own
        assert found.get(key, set()) <= expected
        assert len(found.get(key, set())) == min(8, len(expected))
        of_query = ranks.get(key, set())
        assert len(of_query) == len(found.get(key, set()))
        assert of_query <= set(range(len(expected) + len(own)))
        shifted += of_query != set(range(len(of_query)))
    assert shifted, "positives, which are not proposed, count in the ranks"
