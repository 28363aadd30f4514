"""Suspected false negatives as a file to judge: its rows against the sources, on every engine, and what redoes it."""

import csv
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.candidates.suspects import SuspectsConfig
from operators.keys import keys_of
from pipelines.results import Mined
from pipelines.run import mine
from pipelines.runtime.verify import verify
from pipelines.text.stages import suspects
from tests.integration.vector_sources import vector_config, vector_sources

DOCUMENTS, QUERIES, LIMIT = 120, 40, 40
SECTIONS: dict[str, Any] = {
    "select": {
        "relative_margin": 0.4,
        "max_positive_similarity": 0.7,
        "max_positive_resemblance": 0.9,
        "max_score": None,
        "range_min": 2,
    },
    "proposers": [{"proposer": "lexical", "limit": 10}],
    "false_negatives": {},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Alike documents, queries with one to three positives, and texts with all that CSV has to quote."""
    folder = tmp_path_factory.mktemp("sources")
    section = vector_sources(folder, documents=DOCUMENTS, queries=QUERIES, groups=20)
    corpus = pq.read_table(folder / "corpus.parquet")
    texts = pa.array([text_of(n) for n in range(DOCUMENTS)])
    corpus = corpus.set_column(1, "text", texts).append_column(
        "title", pa.array([f"title {n}" for n in range(DOCUMENTS)])
    )
    pq.write_table(corpus, folder / "corpus.parquet")
    judged = [(f"q{q}", f"d{2 * q + more}", 1) for q in range(QUERIES) for more in range(1 + q % 3)]
    judged += [(f"q{q}", f"d{2 * q + 3}", 0) for q in range(QUERIES)]
    columns = dict(zip(("query_id", "doc_id", "score"), map(list, zip(*judged, strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "judgements.parquet")
    return section


def text_of(document: int) -> str:
    return f'"Question" {document}, answered; twice:\n\tyes, and\r\nno é中 {document % 7}'


def mined(run: Path | str, data: dict[str, Any], **sections: Any) -> Mined:  # noqa: ANN401
    return mine(vector_config(run, data, **{**SECTIONS, **sections}), progress=False)


def file_of(run: Path) -> Path:
    (file,) = run.glob("suspects/*/suspects.csv")
    return file


def csv_rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(file.read_bytes().decode("utf-8-sig"), newline="")))


@pytest.fixture(scope="module")
def reference(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Mined, Path]:
    """A run of the local engine, in partitions of 16 queries."""
    folder = tmp_path_factory.mktemp("suspects")
    return mined(folder, data), folder


def test_every_pair_that_a_rule_dropped_is_there_once_with_its_texts(
    reference: tuple[Mined, Path], data: dict[str, Any]
) -> None:
    run, folder = reference
    ids = [*(f"q{n}" for n in range(QUERIES)), *(f"d{n}" for n in range(DOCUMENTS))]
    names = dict(zip(keys_of(pa.array(ids)).tolist(), ids, strict=True))
    judged = {(row["query_id"], row["doc_id"]) for row in pq.read_table(data["judgements"]).to_pylist()}
    wanted: dict[tuple[str, str], dict[str, Any]] = {}
    for row in run.suspected.to_pylist():
        pair = names[row["query_key"]], names[row["doc_key"]]
        if pair not in judged:
            wanted.setdefault(pair, {**row, "reasons": set()})["reasons"].add(row["reason"])
    assert len(wanted) < len({(row["query_key"], row["doc_key"]) for row in run.suspected.to_pylist()})
    found = run.suspects.to_pylist()
    assert len(found) == len(wanted) == run.stages["suspects"]["rows_in"] > 200
    assert {(row["query_id"], row["document_id"]) for row in found} == wanted.keys()
    for row in found:
        one = wanted[row["query_id"], row["document_id"]]
        number = int(row["document_id"][1:])
        assert row["query"] == f"question {row['query_id'][1:]}"
        assert row["document"] == f"title {number} {text_of(number)}"
        assert row["reasons"] == sorted(one["reasons"])
        same = ("score", "sources", "false_negative_probability", "max_positive_similarity", "mean_positive_similarity")
        assert {name: row[name] for name in same} == {name: one[name] for name in same}
        assert row["relevant"] is None
        ranks = {"search": row["rank"], "lexical": row["lexical_rank"]}
        assert row["sources"] == [source for source, rank in ranks.items() if rank is not None]
        p = row["false_negative_probability"]
        assert row["value"] == 0 or row["value"] == pytest.approx(4 * p * (1 - p), abs=1e-6)
    assert len({tuple(row["reasons"]) for row in found}) > 2
    assert [row["value"] for row in found] == sorted((row["value"] for row in found), reverse=True)
    assert 0 < sum(row["value"] > 0 for row in found) < len(found)
    signal = "max_positive_resemblance"
    computed = {
        (row["query_key"], row["doc_key"]): row[signal]
        for row in run.output(f"search/signal_{signal}", "signals").to_pylist()
    }
    key = {name: key for key, name in names.items()}
    assert all(row[f"signal_{signal}"] == computed[key[row["query_id"]], key[row["document_id"]]] for row in found)
    assert run.report["suspects"] == {"pairs": len(found), "written": len(found)}
    assert run.outputs["suspects"] == str(file_of(folder))


def test_the_csv_is_the_same_table(reference: tuple[Mined, Path]) -> None:
    run, folder = reference
    rows, table = csv_rows(file_of(folder)), run.suspects
    assert list(rows[0]) == table.column_names
    for name in ("query", "document", "query_id", "document_id"):
        assert [row[name] for row in rows] == table.column(name).to_pylist()
    assert [row["reasons"] for row in rows] == ["; ".join(reasons) for reasons in table.column("reasons").to_pylist()]
    assert np.allclose([float(row["value"]) for row in rows], table.column("value").to_numpy())


def test_neither_engine_nor_partitions_change_the_file(
    reference: tuple[Mined, Path],
    data: dict[str, Any],
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(suspects, "MERGED_AT_ONCE", 3)
    run = mined(tmp_path, {**data, "partition_rows": 5}, suspects={"limit": LIMIT}, engine={"name": engine})
    assert run.suspects.equals(reference[0].suspects.slice(0, LIMIT))
    assert len(list(tmp_path.glob("suspects/*/_units/merge-*.json"))) == 2
    assert not list(tmp_path.glob("suspects/*/first"))
    assert run.stages["suspects"]["rows_in"] == reference[0].stages["suspects"]["rows_in"]
    assert csv_rows(file_of(tmp_path)) == csv_rows(file_of(reference[1]))[:LIMIT]


def test_another_limit_redoes_this_stage_alone(
    reference: tuple[Mined, Path], data: dict[str, Any], tmp_path: Path
) -> None:
    run = shutil.copytree(reference[1], tmp_path / "run", symlinks=True)
    for limit in (0, 7):
        again = mined(run, data, suspects={"limit": limit})
        assert {name for name, facts in again.stages.items() if not facts["reused"]} == {"suspects"}
        assert again.suspects.num_rows == limit
        assert again.suspects.schema == reference[0].suspects.schema
        assert Path(again.outputs["suspects"]).read_bytes().count(b'"relevant"') == 1
    assert mined(run, data, suspects={"limit": 7}).stages["suspects"]["reused"]


def test_verify_covers_the_files_and_what_a_judge_filled_in_is_kept(tmp_path: Path) -> None:
    config = vector_config(tmp_path / "run", vector_sources(tmp_path / "sources"))
    mine(config, progress=False)
    file = file_of(tmp_path / "run")
    written = file.read_bytes()
    assert verify(config.directory())["state"] == "whole"
    for number, judged in enumerate((b"1", b"0")):
        file.write_bytes(written + judged)
        assert [one["path"] for one in verify(config.directory())["damaged"]] == [
            f"suspects/{file.parent.name}/suspects.csv"
        ]
        again = mine(config, progress=False)
        assert not again.stages["suspects"]["reused"]
        assert file.read_bytes() == written
        kept = file.with_name("suspects.edited.csv" if not number else "suspects.edited.2.csv")
        assert kept.read_bytes() == written + judged
    assert verify(config.directory())["state"] == "whole"
    mine(config.model_copy(update={"suspects": SuspectsConfig(limit=1)}), progress=False)
    assert len(list(file.parent.glob("*.csv"))) == 3


def test_where_nothing_is_suspected_there_is_a_file_without_rows(tmp_path: Path) -> None:
    """In a store, too."""
    data = vector_sources(tmp_path / "sources")
    for run in (str(tmp_path / "run"), "memory://suspects/none"):
        done = mine(
            vector_config(run, data, select={"max_score": 100.0}, clean={"exact_duplicates": "keep_first"}),
            progress=False,
        )
        assert done.suspects.num_rows == 0
        assert {"query", "document", "relevant", "query_id", "document_id", "value"} <= set(done.suspects.column_names)
        assert done.outputs["suspects"].startswith(run)
        assert "suspected; " not in str(done.report)
    assert csv_rows(file_of(tmp_path / "run")) == []


def test_ids_of_bytes_and_queries_without_texts(tmp_path: Path) -> None:
    """What is judged not relevant is not asked again, though no proposer names it."""
    data = vector_sources(tmp_path / "sources")
    folder = tmp_path / "sources"
    for kind in ("corpus", "queries", "judgements"):
        table = pq.read_table(folder / f"{kind}.parquet")
        for name in {"doc_id", "query_id"} & set(table.column_names):
            ids = pa.array([one.encode().rjust(4, b"\xff") for one in table.column(name).to_pylist()], pa.binary(4))
            table = table.set_column(table.column_names.index(name), name, ids)
        if kind == "queries":
            table = table.set_column(1, "text", pa.nulls(len(table), pa.string()))
        pq.write_table(table, folder / f"{kind}.parquet")
    config = {"select": {"max_score": -0.2}, "clean": {"drop_empty": False}}
    first = mine(vector_config(tmp_path / "first", data, **config), progress=False).suspects
    ids = {name: set(first.column(name).to_pylist()) for name in ("query_id", "document_id")}
    assert {bytes.fromhex(one).strip(b"\xff")[:1] for one in ids["query_id"]} == {b"q"}
    assert {bytes.fromhex(one).strip(b"\xff")[:1] for one in ids["document_id"]} == {b"d"}
    assert set(first.column("query").to_pylist()) == {""}
    assert set(first.column("reasons").to_pylist()[0]) == {"max_score"}

    judged = first.slice(0, 10).to_pylist()
    known = pq.read_table(folder / "judgements.parquet").to_pylist()
    known = [{**row, "score": 1} for row in known]
    known += [
        {"query_id": bytes.fromhex(row["query_id"]), "doc_id": bytes.fromhex(row["document_id"]), "score": 0}
        for row in judged
    ]
    kinds = pa.schema({"query_id": pa.binary(4), "doc_id": pa.binary(4), "score": pa.int64()})
    pq.write_table(pa.Table.from_pylist(known, kinds), folder / "judgements.parquet")
    again = mine(vector_config(tmp_path / "again", data, **config), progress=False).suspects
    assert again.num_rows == first.num_rows - len(judged)
    columns = ["query_id", "document_id", "value"]
    assert again.select(columns).equals(first.select(columns).slice(len(judged)))
