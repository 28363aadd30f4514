"""Texts of evaluation sets are kept out of the training data, the same ones on every engine."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.documents.contamination import EvaluationTexts
from operators.errors import InputError
from pipelines.results import Mined
from pipelines.run import mine
from pipelines.text.evaluation import evaluate
from pipelines.text.stages import prepare_evaluation
from tests.integration.conftest import Collection, configuration, dataset, write_collection
from tests.integration.vector_sources import vector_config, vector_sources

# The first queries of the collection are held out: some as they are, some with another word, some in capitals. The
# documents of two are.
COPIES, EDITED, CAPITALS = range(10), range(10, 14), range(14, 18)
OF_DOCUMENTS = (40, 41)


def edited(text: str) -> str:
    return " ".join(["Somehow", *text.split()])


@pytest.fixture(scope="module")
def held_out(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """A test split whose judged queries are those above; the others of its file are judged nowhere."""
    changed = {**{f"q{n}": edited for n in EDITED}, **{f"q{n}": str.upper for n in CAPITALS}}
    queries = {query: changed.get(query, str)(text) for query, text in collection.queries.items()}
    documents = {f"e{n}": edited(collection.documents[f"d{n}"]) for n in OF_DOCUMENTS}
    judgements = {f"q{n}": {f"e{OF_DOCUMENTS[n % 2]}": 1} for n in (*COPIES, *EDITED, *CAPITALS)}
    written = write_collection(tmp_path_factory.mktemp("held_out") / "beir", documents, queries, judgements)
    (written.folder / "qrels" / "train.tsv").rename(written.folder / "qrels" / "test.tsv")
    return written


def guarded(sets: Mapping[str, Any], **limits: float) -> dict[str, Any]:
    return {"contamination": {"sets": sets, **limits}}


def mined(place: Path, *args: Any, until: str | None = None, **sections: Any) -> Mined:  # noqa: ANN401
    return mine(configuration(place, *args, **sections), progress=False, until=until)


def test_queries_and_documents_of_a_set_are_in_no_row_on_any_engine(
    collection: Collection, held_out: Collection, static_model: Path, tmp_path: Path, engine: str
) -> None:
    sections = guarded({"held-out": {"beir": str(held_out.folder), "drop_documents": True}}, max_query_resemblance=0.5)
    run = mined(tmp_path / engine, collection, static_model, **sections, engine={"name": engine})
    if engine != "local":
        local = mined(tmp_path / "local", collection, static_model, **sections)
        assert dataset(tmp_path / engine).equals(dataset(tmp_path / "local"))
        assert run.output("prepare/queries", "contaminated").equals(local.output("prepare/queries", "contaminated"))

    out = {row["id"]: row for row in run.output("prepare/queries", "contaminated").to_pylist()}
    assert {f"q{n}" for n in COPIES} == {one for one, row in out.items() if row["reason"] == "in_evaluation_set"}
    assert {f"q{n}" for n in (*EDITED, *CAPITALS)} <= out.keys()
    assert all(row["evaluation_id"] == one for one, row in out.items() if int(one[1:]) <= CAPITALS[-1])
    rows = dataset(tmp_path / engine).to_pylist()
    assert not {collection.queries[one] for one in out} & {row["query"] for row in rows}
    documents = run.output("prepare/corpus", "contaminated").column("id").to_pylist()
    assert {f"d{n}" for n in OF_DOCUMENTS} <= set(documents)
    texts = {collection.documents[one] for one in documents}
    assert not texts & {row[side] for row in rows for side in ("positive", "negative")}

    assert run.dropped["query_in_evaluation_set"] == len(COPIES)
    assert run.dropped["query_near_evaluation_set"] == len(out) - len(COPIES)
    assert run.dropped["document_near_evaluation_set"] == len(documents)
    said = run.report["contamination"]["held-out"]
    counts = {"in_evaluation_set": len(COPIES), "near_evaluation_set": len(out) - len(COPIES)}
    assert said["queries"] == {"texts": len(COPIES) + len(EDITED) + len(CAPITALS), **counts, "shared_positive": 0}
    assert said["documents"] == {"texts": 2, "in_evaluation_set": 0, "near_evaluation_set": len(documents)}


def test_partitions_and_files_of_the_source_change_nothing_that_is_dropped(
    collection: Collection, held_out: Collection, static_model: Path, tmp_path: Path
) -> None:
    sections = guarded({"held-out": {"beir": str(held_out.folder), "drop_documents": True}})
    whole = mined(tmp_path / "whole", collection, static_model, **sections, until="prepare")
    data: dict[str, Any] = {"judgements": str(collection.folder / "qrels" / "train.tsv"), "partition_rows": 7}
    for kind in ("corpus", "queries"):
        lines = (collection.folder / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        for number in range(3):
            (tmp_path / f"{kind}-{number}.jsonl").write_text("".join(lines[number::3]), encoding="utf-8")
        data[kind] = str(tmp_path / f"{kind}-*.jsonl")
    parts = mined(tmp_path / "parts", None, static_model, **sections, data=data, until="prepare")
    assert parts.dropped == whole.dropped
    for side in ("prepare/corpus", "prepare/queries"):
        one, other = (run.output(side, "contaminated").sort_by("id") for run in (whole, parts))
        assert one.equals(other)


def test_a_run_that_ends_while_documents_are_dropped_goes_on_and_drops_the_same(
    collection: Collection, held_out: Collection, static_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (collection.folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    for number in range(3):
        (tmp_path / f"corpus-{number}.jsonl").write_text("".join(lines[number::3]), encoding="utf-8")
    judgements = str(collection.folder / "qrels" / "train.tsv")
    data = {"queries": str(collection.folder / "queries.jsonl"), "judgements": judgements}
    sections: dict[str, Any] = guarded({"held-out": {"beir": str(held_out.folder), "drop_documents": True}})
    sections["data"] = {**data, "corpus": str(tmp_path / "corpus-*.jsonl")}
    whole = mined(tmp_path / "whole", None, static_model, **sections, until="prepare")

    looked, look = [], EvaluationTexts.__call__

    def ends_in_the_third_file(self: EvaluationTexts, table: pa.Table, side: Literal["doc", "query"]) -> Any:  # noqa: ANN401
        looked.append(side)
        if len(looked) == 3:
            raise OSError("the machine is gone")
        return look(self, table, side)

    monkeypatch.setattr(EvaluationTexts, "__call__", ends_in_the_third_file)
    with pytest.raises(OSError, match="gone"):
        mined(tmp_path / "ended", None, static_model, **sections, until="prepare")
    again = mined(tmp_path / "ended", None, static_model, **sections, until="prepare")
    assert looked == ["doc"] * 4 + ["query"], "two files were done before"
    assert again.dropped == whole.dropped
    for side in ("prepare/corpus", "prepare/queries"):
        assert again.output(side, "contaminated").equals(whole.output(side, "contaminated"))


def test_another_guard_encodes_nothing_again(
    collection: Collection, held_out: Collection, static_model: Path, tmp_path: Path
) -> None:
    """Without documents to drop, the corpus is not even prepared again."""
    first = mined(tmp_path, collection, static_model)
    queries = {"queries": str(held_out.folder / "queries.jsonl"), "judgements": str(held_out.folder / "qrels/test.tsv")}
    again = mined(tmp_path, collection, static_model, **guarded({"held-out": queries}))
    assert first.stages["prepare"]["sides"]["corpus"]["rows_out"] == 500
    sides = again.stages["prepare"]["sides"]
    assert sides["corpus"]["reused"]
    assert not sides["queries"]["reused"]
    assert "evaluation_corpus" not in sides
    assert again.stages["encode"]["rows"]["corpus"]["rows_reused"] == 500
    assert again.stages["index"]["rows_reused"] == 500
    assert len(dataset(tmp_path)) < first.stages["export"]["rows_out"]
    assert mined(tmp_path, collection, static_model).stages["prepare"]["reused"]


def test_shared_positives_are_counted_and_many_are_a_warning(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    """The documents are those of the training data, under other ids; every fourth query has one as a positive."""
    documents = {f"x{n}": collection.documents[f"d{n}"] for n in range(0, 200, 4)}
    asked = {f"t{n}": f"an unrelated question, number {n}" for n in range(0, 200, 4)}
    test = write_collection(tmp_path / "test", documents, asked, {f"t{n}": {f"x{n}": 1} for n in range(0, 200, 4)})
    sections = guarded({"test": {"beir": str(test.folder), "split": "train"}})
    run = mined(tmp_path / "run", collection, static_model, **sections)
    expected = sum(
        any(score and int(d[1:]) % 4 == 0 and int(d[1:]) < 200 for d, score in judged.items())
        for judged in collection.judgements.values()
    )
    assert run.report["contamination"]["test"]["queries"]["shared_positive"] == expected > 20
    said = f"prepare/queries: {expected:,} of 200 queries have a positive that contamination.sets.test judges relevant"
    assert any(line.startswith(said) for line in run.report["warnings"])
    assert "near_evaluation_set" not in json.dumps(run.dropped)


def test_evaluation_ranks_the_documents_that_are_kept_out_of_training(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "qrels").mkdir()
    test = write_collection(tmp_path / "test", collection.documents, collection.queries, {"q0": {"d0": 1}})
    (test.folder / "qrels" / "train.tsv").rename(test.folder / "qrels" / "test.tsv")
    (collection.folder / "qrels" / "test.tsv").write_bytes((test.folder / "qrels" / "test.tsv").read_bytes())
    config = configuration(
        tmp_path / "run",
        collection,
        static_model,
        **guarded({"test": {"beir": str(test.folder), "drop_documents": True}}),
    )
    try:
        measured = evaluate(config)
    finally:
        (collection.folder / "qrels" / "test.tsv").unlink()
    assert measured["queries"] == 1


@pytest.mark.parametrize(
    ("one", "said"),
    [
        ({"queries": "nowhere.jsonl"}, ["contamination.sets.test.queries.path", "nowhere.jsonl", "no file"]),
        ({"beir": "{folder}", "split": "dev"}, ["contamination.sets.test.beir", "dev.tsv", "Splits there: train"]),
        ({"beir": "{folder}", "split": "train"}, ["contamination.sets.test", "those of data"]),
        ({"queries": "{folder}/queries.jsonl"}, ["contamination.sets.test", "those of data"]),
        ({"queries": "{empty}"}, ["empty.jsonl", "no rows"]),
        (
            {"queries": {"path": "{folder}/queries.jsonl", "columns": {"text": "body"}}, "judgements": "{judged}"},
            ["'body'", "contamination.sets.test.queries.columns.text"],
        ),
        ({"queries": "{folder}/queries.jsonl", "judgements": "{judged}"}, ["contamination.sets.test", "judged query"]),
        ({"queries": "{copied}"}, ["contamination.sets.test", "all 200 queries", "training set itself"]),
    ],
)
def test_a_set_that_cannot_be_right_is_refused_before_anything_is_kept(
    one: dict[str, Any], said: list[str], collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    files = {
        "folder": collection.folder,
        **{name: tmp_path / f"{name}.jsonl" for name in ("empty", "judged", "copied")},
    }
    files["empty"].write_text("")
    files["judged"].write_text('{"query_id": "nobody", "doc_id": "d0"}\n')
    files["copied"].write_bytes((collection.folder / "queries.jsonl").read_bytes())
    filled = json.loads(
        json.dumps(one)
        .replace("{folder}", str(collection.folder))
        .replace("{empty}", str(files["empty"]))
        .replace("{judged}", str(files["judged"]))
        .replace("{copied}", str(files["copied"]))
    )
    with pytest.raises(InputError) as refused:
        mined(tmp_path / "run", collection, static_model, **guarded({"test": filled}))
    for part in said:
        assert part in str(refused.value)
    assert len(str(refused.value)) <= 400
    assert not (tmp_path / "run").exists()


def test_queries_without_texts_are_refused_for_nothing_could_be_compared(tmp_path: Path) -> None:
    data = vector_sources(tmp_path / "sources")
    queries = tmp_path / "sources" / "queries.parquet"
    table = pq.read_table(queries)
    pq.write_table(table.set_column(1, "text", pa.nulls(table.num_rows, pa.string())), queries)
    (tmp_path / "test.jsonl").write_text('{"query_id": "t", "text": "question 3"}\n')
    sections: dict[str, Any] = {"clean": {"drop_empty": False}}
    sections |= guarded({"test": {"queries": str(tmp_path / "test.jsonl")}})
    with pytest.raises(InputError, match="contamination: the queries of data have no text"):
        mine(vector_config(tmp_path / "run", data, **sections), progress=False)


def test_sets_of_more_texts_than_are_compared_with_are_refused(
    collection: Collection, held_out: Collection, static_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_evaluation, "MOST_TEXTS", 17)
    with pytest.raises(InputError, match="more than 17 queries"):
        mined(tmp_path / "run", collection, static_model, **guarded({"test": {"beir": str(held_out.folder)}}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("contamination", "said"),
    [
        ({"sets": {}}, "at least 1"),
        ({"sets": {"a/b": {"queries": "q.jsonl"}}}, "is no name for a set"),
        ({"sets": {"a": {"judgements": "j.tsv"}}}, "give either beir, or queries"),
        ({"sets": {"a": {"queries": "q.jsonl", "drop_documents": True}}}, "no documents are named"),
        ({"sets": {"a": {"queries": "q.jsonl", "corpus": "c.jsonl"}}}, "corpus is of no use"),
        ({"sets": {"a": {"queries": "q.jsonl"}}, "max_query_resemblance": 0.1}, "greater than or equal to 0.3"),
    ],
)
def test_a_section_that_says_nothing_is_refused(contamination: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        configuration(tmp_path, None, None, data={"beir": "x"}, contamination=contamination)
