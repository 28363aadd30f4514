"""Mining from end to end, on every engine: the result, what is kept with it, and what is reused."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sentence_transformers import SentenceTransformer

from pipelines.text.evaluation import evaluate
from pipelines.text.stages import prepare_corpus
from pipelines.text.stages.search.candidates import replaced
from tests.conftest import save_static_model
from tests.integration.conftest import Collection, configuration, dataset, run, write_collection


@pytest.fixture(scope="module")
def reference(collection: Collection, static_model: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The triplets of the local engine."""
    folder = tmp_path_factory.mktemp("reference")
    run(configuration(folder, collection, static_model))
    return dataset(folder)


def brute_force(collection: Collection, model: Path, num_negatives: int) -> dict[tuple[str, str], list[str]]:
    """Rank everything with numpy and take the first documents that are no positives."""
    encoder = SentenceTransformer(str(model), device="cpu")
    documents, queries = list(collection.documents), list(collection.queries)
    scores = encoder.encode(list(collection.queries.values())) @ encoder.encode(list(collection.documents.values())).T
    expected = {}
    for row, query in enumerate(queries):
        positives = [d for d, score in collection.judgements[query].items() if score > 0]
        ranked = [documents[i] for i in np.argsort(-scores[row], kind="stable") if documents[i] not in positives]
        expected.update({(query, positive): ranked[:num_negatives] for positive in positives})
    return expected


def test_top_negatives_are_those_of_a_brute_force_ranking(
    collection: Collection, static_model: Path, reference: pa.Table
) -> None:
    mined: dict[tuple[str, str], list[str]] = {}
    for row in reference.to_pylist():
        mined.setdefault((row["query_id"], row["positive_id"]), []).append(row["negative_id"])
    assert mined == brute_force(collection, static_model, 4)


@pytest.mark.parametrize("workers", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_ray_gives_the_rows_of_local_with_any_number_of_workers(
    collection: Collection, static_model: Path, reference: pa.Table, ray_session: None, tmp_path: Path, workers: int
) -> None:
    engine = {"name": "ray", "workers": workers, "encoder_workers": workers}
    result = run(configuration(tmp_path, collection, static_model, engine=engine))
    assert result["engine"] == "ray"
    assert dataset(tmp_path).equals(reference)


CHOSEN = ["query_id", "positive_id", "negative_id"]


def test_buckets_and_shards_change_nothing(
    collection: Collection,
    with_vectors: dict[str, Any],
    reference: pa.Table,
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prepare_corpus, "DOCUMENTS_PER_BUCKET", 100)
    index = {"factory": "exact", "shard_rows": 150}
    config = configuration(tmp_path, None, None, data=with_vectors, index=index, engine={"name": engine})
    result = run(config)
    assert len(list(tmp_path.glob("index/*/shards/*"))) == 4
    assert result["stages"]["prepare"]["sides"]["corpus"]["rows_out"] == len(collection.documents)
    assert dataset(tmp_path).select(CHOSEN).equals(reference.select(CHOSEN))


def test_ids_scores_and_metadata_reach_the_output(collection: Collection, reference: pa.Table) -> None:
    for row in reference.slice(0, 50).to_pylist():
        assert row["query"] == collection.queries[row["query_id"]]
        assert json.loads(row["query_metadata"]) == {"source": row["query_id"]}
        for side in ("positive", "negative"):
            assert row[side] == collection.documents[row[f"{side}_id"]]
            assert json.loads(row[f"{side}_metadata"]) == {"number": int(row[f"{side}_id"][1:])}
            assert -1 <= row[f"{side}_score"] <= 1


def test_every_candidate_is_accounted_for(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    result = run(configuration(tmp_path, collection, static_model, select={"relative_margin": 0.1}))
    found = [pq.read_table(f) for f in sorted(tmp_path.glob("search/all/*/merged-*/*.parquet"))]
    deeper = [pq.read_table(f) for f in sorted(tmp_path.glob("search/short/*/candidates/*.parquet"))]
    candidates = replaced(pa.concat_tables(found), pa.concat_tables(deeper))
    per_query = {
        q: candidates.column("query_key").to_pylist().count(q) for q in set(candidates.column("query_key").to_pylist())
    }
    positives = pa.concat_tables(
        [pa.ipc.open_file(f).read_all() for f in sorted(tmp_path.glob("search/all/*/positives/*"))]
    )
    found = sum(per_query[q] for q in positives.column("query_key").to_pylist())
    reasons = {"positive", "relative_margin", "range_max", "not_drawn"}
    assert set(result["dropped"]) == reasons
    assert found == result["stages"]["select"]["rows_in"]
    assert found == result["stages"]["select"]["rows_out"] + sum(result["dropped"].values())
    suspected = pa.concat_tables([pq.read_table(f) for f in sorted(Path(result["outputs"]["suspected"]).glob("*"))])
    assert suspected.num_rows == result["dropped"]["relative_margin"]


def test_a_second_run_redoes_nothing(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    first = run(configuration(tmp_path, collection, static_model))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    second = run(configuration(tmp_path, collection, static_model))
    assert not any(stage["reused"] for stage in first["stages"].values())
    assert all(stage["reused"] for stage in second["stages"].values())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")} == before


def test_another_margin_redoes_only_selection_in_seconds_and_loads_no_model(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    run(configuration(tmp_path, collection, static_model))
    changed = configuration(tmp_path, collection, static_model, select={"relative_margin": 0.2})
    program = (
        "import json, sys\nfrom pipelines.text.config import Config\nfrom pipelines.run import mine\n"
        "result = mine(Config.model_validate_json(sys.argv[1])).to_dict()\n"
        "assert not {'torch', 'sentence_transformers', 'ray'} & set(sys.modules)\nprint(json.dumps(result))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, changed.model_dump_json()], capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout.splitlines()[-1])
    again = [name for name, stage in result["stages"].items() if not stage["reused"]]
    assert again == [
        "search",
        "select",
        "suspects",
        "export",
    ]  # the queries that the margin leaves short are searched deeper
    assert result["stages"]["search"]["sides"]["all"]["reused"]
    assert result["seconds"] < 5
    row = dataset(tmp_path).to_pylist()[0]
    assert row["negative_score"] <= row["positive_score"] - abs(row["positive_score"]) * 0.2


def test_two_checkpoints_under_one_path_share_no_vectors(
    collection: Collection, minilm: Path, static_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    scores = []
    for seed in (1, 2):
        save_static_model(minilm, model, seed)
        result = run(configuration(tmp_path / "run", collection, model))
        prepared = {side: one["reused"] for side, one in result["stages"]["prepare"]["sides"].items()}
        assert prepared == {"model": False, "corpus": seed == 2, "queries": seed == 2}
        assert not result["stages"]["encode"]["reused"]
        scores.append(dataset(tmp_path / "run").column("positive_score").to_numpy())
    assert not np.allclose(scores[0][:50], scores[1][:50], atol=1e-3)


def test_a_positives_text_under_another_id_is_never_a_negative(
    collection: Collection, static_model: Path, engine_in_time: str, tmp_path: Path
) -> None:
    documents = {**collection.documents, "copy": f"  {collection.documents['d5']}\n"}
    copied = write_collection(tmp_path / "beir", documents, collection.queries, collection.judgements)
    for duplicates in ("keep", "keep_first"):
        config = configuration(
            tmp_path / duplicates,
            copied,
            static_model,
            clean={"exact_duplicates": duplicates},
            engine={"name": engine_in_time},
        )
        result = run(config)
        pairs = {(r["query_id"], r["negative_id"]) for r in dataset(tmp_path / duplicates).to_pylist()}
        of_copy = [query for query, negative in pairs if negative == "copy"]
        assert not [query for query in of_copy if "d5" in collection.judgements[query]]
        assert result["dropped"].get("positive_text", 0) > 0 if duplicates == "keep" else not of_copy
    assert result["dropped"]["document_exact_duplicate"] == 1


def test_a_judgement_of_a_dropped_copy_follows_the_kept_document(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    documents = {**collection.documents, "copy": collection.documents["d5"]}
    judgements = {**collection.judgements, "q5": {"copy": 1}}
    run(
        configuration(
            tmp_path / "run",
            write_collection(tmp_path / "beir", documents, collection.queries, judgements),
            static_model,
        ),
    )
    assert {r["positive_id"] for r in dataset(tmp_path / "run").to_pylist() if r["query_id"] == "q5"} == {"d5"}


def test_a_query_with_400_positives_does_not_deepen_the_search_of_others(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    judgements = {**collection.judgements, "q0": {f"d{n}": 1 for n in range(400)}}
    many = write_collection(tmp_path / "beir", collection.documents, collection.queries, judgements)
    run(configuration(tmp_path / "run", many, static_model))
    tables = [pq.read_table(f) for f in sorted((tmp_path / "run").glob("search/all/*/merged-*/*.parquet"))]
    found = pa.concat_tables(tables).group_by("query_key").aggregate([("doc_key", "count")]).column("doc_key_count")
    counts = sorted(found.to_pylist())
    assert counts[-1] > 100
    assert counts[-2] <= 50 + 3
    assert {r["negative_id"] for r in dataset(tmp_path / "run").to_pylist() if r["query_id"] == "q0"} <= {
        f"d{n}" for n in range(400, 500)
    }


def test_fewer_documents_than_wanted_gives_what_there_is(
    collection: Collection, static_model: Path, engine_in_time: str, tmp_path: Path
) -> None:
    documents = {f"d{n}": collection.documents[f"d{n}"] for n in range(4)}
    few = write_collection(tmp_path / "beir", documents, {"q0": collection.queries["q0"]}, {"q0": {"d0": 1}})
    config = configuration(
        tmp_path / "run",
        few,
        static_model,
        engine={"name": engine_in_time},
        export={"formats": ["triplet", "n-tuple"]},
    )
    run(config)
    triplets = dataset(tmp_path / "run").to_pylist()
    assert sorted(row["negative_id"] for row in triplets) == ["d1", "d2", "d3"]
    assert dataset(tmp_path / "run", "n-tuple").num_rows == 0


def test_ivf_pq_with_every_list_probed_mines_what_exact_search_does(
    with_vectors: dict[str, Any], reference: pa.Table, engine: str, tmp_path: Path
) -> None:
    config = configuration(
        tmp_path,
        None,
        None,
        data=with_vectors,
        index={"factory": "IVF4,PQ8x4", "shard_rows": 200},
        search={"nprobe": 4, "refine_factor": 8},
        engine={"name": engine},
    )
    run(config)
    assert list(tmp_path.glob("index/*/shards/*/codes.faiss"))
    assert dataset(tmp_path).select(CHOSEN).equals(reference.select(CHOSEN))


def test_given_vectors_are_searched_as_they_are(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    documents = generator.standard_normal((300, 16)).astype(np.float32)
    queries = generator.standard_normal((20, 16)).astype(np.float32)
    corpus = {"doc_id": [f"d{n}" for n in range(300)], "text": [f"text {n}" for n in range(300)]}
    asked = {"query_id": [f"q{n}" for n in range(20)], "text": [f"query {n}" for n in range(20)]}
    pq.write_table(pa.table({**corpus, "v": list(documents)}), tmp_path / "corpus.parquet")
    pq.write_table(pa.table({**asked, "v": list(queries)}), tmp_path / "queries.parquet")
    judged = pa.table({"query_id": asked["query_id"], "doc_id": corpus["doc_id"][:20]})
    pq.write_table(judged, tmp_path / "judgements.parquet")
    data = {
        "corpus": {"path": str(tmp_path / "corpus.parquet"), "columns": {"vector": "v"}},
        "queries": {"path": str(tmp_path / "queries.parquet"), "columns": {"vector": "v"}},
        "judgements": str(tmp_path / "judgements.parquet"),
    }
    config = configuration(
        tmp_path / "run", None, None, data=data, encoder={"similarity": "dot", "vector_dtype": "float32"}
    )
    run(config)
    for row in dataset(tmp_path / "run").to_pylist():
        query = int(row["query_id"][1:])
        score = float(queries[query] @ documents[int(row["negative_id"][1:])])
        assert row["negative_score"] == pytest.approx(score, rel=1e-5)
    scores = queries @ documents.T
    scores[np.arange(20), np.arange(20)] = -np.inf
    best = {(f"q{q}", f"d{d}") for q in range(20) for d in np.argsort(-scores[q])[:4]}
    assert {(r["query_id"], r["negative_id"]) for r in dataset(tmp_path / "run").to_pylist()} == best


def test_pairs_are_corpus_queries_and_judgements_at_once(
    docstrings: list[dict[str, str]], static_model: Path, engine_in_time: str, tmp_path: Path
) -> None:
    rows = [{"query": pair["query"], "positive": pair["positive"], "module": pair["name"]} for pair in docstrings[:100]]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = {"pairs": str(tmp_path / "pairs.jsonl")}
    run(configuration(tmp_path / "run", None, static_model, data=data, engine={"name": engine_in_time}))
    answers = {row["query"]: row["positive"] for row in rows}
    mined = dataset(tmp_path / "run").to_pylist()
    assert len(mined) == 400
    assert all(row["positive"] == answers[row["query"]] != row["negative"] for row in mined)
    assert {row["negative"] for row in mined} <= set(answers.values())
    assert json.loads(mined[0]["query_metadata"]) == {"module": rows[0]["module"]}


def test_the_run_directory_may_be_any_file_system(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    engine = {"cache": str(tmp_path), "cache_size": "1MiB"}
    config = configuration("memory://runs/anywhere", collection, static_model, engine=engine)
    first, second = run(config), run(config)
    assert list(tmp_path.glob("copies/*/vectors.faiss"))
    assert re.fullmatch(r"memory://runs/anywhere/export/[0-9a-f]{16}/triplet", first["outputs"]["triplet"])
    assert all(stage["reused"] for stage in second["stages"].values())


def test_evaluation_agrees_with_sentence_transformers(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    relevant = {q: {d for d, score in judged.items() if score > 0} for q, judged in collection.judgements.items()}
    evaluator = InformationRetrievalEvaluator(collection.queries, collection.documents, relevant, write_csv=False)
    theirs = evaluator(SentenceTransformer(str(static_model), device="cpu"))
    ours = evaluate(configuration(tmp_path, collection, static_model), "train")["measures"]
    for name, key in (("ndcg@10", "ndcg@10"), ("mrr@10", "mrr@10"), ("recall@10", "recall@10")):
        assert ours[name] == pytest.approx(theirs[f"cosine_{key}"], abs=1e-6)


def test_another_split_reuses_the_vectors_of_the_corpus(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    beir = write_collection(tmp_path / "beir", collection.documents, collection.queries, collection.judgements)
    (beir.folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n", encoding="utf-8")
    config = configuration(tmp_path / "run", beir, static_model)
    run(config)
    before = len(list((tmp_path / "run").glob("encode/*/vectors/*")))
    evaluated = evaluate(config, "test")
    assert evaluated["queries"] == 1
    assert len(list((tmp_path / "run").glob("encode/*/vectors/*"))) == before + 1


def grown(folder: Path, collection: Collection, documents: int) -> Collection:
    """The first documents of the collection, and the queries whose positives are all among them."""
    kept = dict(list(collection.documents.items())[:documents])
    queries = dict(list(collection.queries.items())[:90])
    return write_collection(folder, kept, queries, {query: collection.judgements[query] for query in queries})


@pytest.mark.parametrize("index", ["exact", "IVF8,PQ32x4fs"])
def test_a_corpus_that_grew_encodes_and_indexes_only_what_is_new(
    collection: Collection, static_model: Path, engine_in_time: str, tmp_path: Path, index: str
) -> None:
    options: dict[str, Any] = {"index": {"factory": index, "shard_rows": 128}, "engine": {"name": engine_in_time}}
    small = grown(tmp_path / "small", collection, 320)
    run(configuration(tmp_path / "run", small, static_model, **options))
    before = {
        path: path.stat().st_mtime_ns
        for stage in ("encode", "index")
        for path in (tmp_path / "run" / stage).glob("*/[vst]*/**/*")
        if path.is_file()
    }
    large = grown(tmp_path / "large", collection, 500)
    result = run(configuration(tmp_path / "run", large, static_model, **options))
    encoded = result["stages"]["encode"]["rows"]
    assert encoded["queries"] == {"rows_in": 90, "rows_out": 90, "rows_reused": 90}
    assert encoded["corpus"] == {"rows_in": 500, "rows_out": 500, "rows_reused": 320}
    assert result["stages"]["index"]["rows_reused"] == 256  # the third shard was not full, and is now
    assert not [path for path, done_at in before.items() if path.stat().st_mtime_ns != done_at]
    assert len(list((tmp_path / "run").glob("index/*/trained/*"))) == (index != "exact")

    run(configuration(tmp_path / "anew", large, static_model, **{**options, "index": {"factory": "exact"}}))
    mined, anew = (dataset(tmp_path / name).select(CHOSEN).to_pylist() for name in ("run", "anew"))
    same = {tuple(row.values()) for row in mined} & {tuple(row.values()) for row in anew}
    assert len(mined) == len(anew)
    assert len(same) >= (1 if index == "exact" else 0.95) * len(anew)
