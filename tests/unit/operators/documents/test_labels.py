"""Judgements: labels of numbers are scores, labels of words need the configuration to name those that are positive."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.documents.check import check
from operators.documents.data import DataConfig
from operators.documents.judgements import judged_by_labels, with_keys
from operators.documents.read import read
from operators.errors import InputError
from tests.unit.operators.documents.files import WRITERS, Row, file_of, refusal_of

FORMATS = pytest.mark.parametrize("name", sorted(WRITERS))


def _judged(path: Path, *rest: Path, positive: list[Any] | None = None, **config: Any) -> list[float]:  # noqa: ANN401
    labels = DataConfig.model_validate({"beir": "x", "positive_labels": positive or []}).positive_labels
    tables = [with_keys(table) for one in (path, *rest) for table in read(file_of(one, "judgements", **config))]
    judged: list[float] = judged_by_labels(path.name, pa.concat_tables(tables), labels).column("relevance").to_pylist()
    return judged


def _written(folder: Path, name: str, columns: dict[str, list[Any]]) -> Path:
    size = len(next(iter(columns.values())))
    rows: list[Row] = [
        {"query_id": f"q{i}", "doc_id": f"d{i}", **{column: values[i] for column, values in columns.items()}}
        for i in range(size)
    ]
    (folder / name).write_bytes(WRITERS[name](rows))
    return folder / name


@FORMATS
@pytest.mark.parametrize("column", ["label", "rel", "relevance", "score"])
@pytest.mark.parametrize("values", [[0, 1, 2, 0], [0.0, 1.0, 0.5, -1.0], ["0", "1", "2.0", "0"], [1, 1, 0, 0]])
def test_numbers_are_scores_under_any_name(tmp_path: Path, name: str, column: str, values: list[Any]) -> None:
    assert _judged(_written(tmp_path, name, {column: values})) == [float(value) for value in values]


@FORMATS
@pytest.mark.parametrize("column", ["label", "rel", "relevance"])
def test_truth_values_are_scores(tmp_path: Path, name: str, column: str) -> None:
    assert _judged(_written(tmp_path, name, {column: [True, False, True]})) == [1, 0, 1]


@FORMATS
@pytest.mark.parametrize("column", ["label", "rel", "relevance"])
def test_words_are_refused_with_the_labels_there_are_until_some_are_positive(
    tmp_path: Path, name: str, column: str
) -> None:
    path = _written(tmp_path, name, {column: ["SUPPORT", "CONTRADICT", "0", "SUPPORT"]})
    with pytest.raises(InputError, match=r"'0', 'CONTRADICT', 'SUPPORT'.*data\.positive_labels"):
        _judged(path)
    with pytest.raises(InputError, match=r"data\.positive_labels"):
        check([file_of(path, "judgements")])
    check([file_of(path, "judgements")], ("SUPPORT",))
    assert _judged(path, positive=["SUPPORT"]) == [1, 0, 0, 1]
    assert _judged(path, positive=["SUPPORT", 0]) == [1, 0, 1, 1]
    with pytest.raises(InputError, match=r"'SUPORT', which is no label.*'SUPPORT'"):
        _judged(path, positive=["SUPORT", "SUPPORT"])


@FORMATS
@pytest.mark.parametrize("labels", [["A", "B", "A"], [1, 0, 1]])
def test_a_score_decides_beside_a_label_and_the_label_is_kept(tmp_path: Path, name: str, labels: list[Any]) -> None:
    for score in ("score", "relevance", "rel"):
        path = _written(tmp_path, name, {"label": labels, score: [0, 2, 1]})
        assert _judged(path) == [0, 2, 1]
        assert _judged(path, positive=[labels[0]]) == [0, 0, 1]
        (table,) = read(file_of(path, "judgements"))
        assert table.column("label").to_pylist() == [str(label) for label in labels]


@FORMATS
def test_numbers_can_be_named_as_positive(tmp_path: Path, name: str) -> None:
    path = _written(tmp_path, name, {"label": [1, 2, 3]})
    assert _judged(path, positive=[2, "3.0"]) == [0, 1, 1]
    with pytest.raises(InputError, match="which is no label"):
        _judged(path, positive=["good"])


@pytest.mark.parametrize("missing", [None, ""])
@FORMATS
def test_a_row_without_a_label_is_refused_and_named(tmp_path: Path, name: str, missing: str | None) -> None:
    path = _written(tmp_path, name, {"label": ["a", missing, "b"]})
    for positive in ([], ["a"]):
        with pytest.raises(InputError, match=r"1 judgements have no label.* 'd1' for the query 'q1'"):
            _judged(path, positive=positive)
    scored = _written(tmp_path, name, {"label": ["a", missing, "b"], "score": [1, 1, 1]})
    assert _judged(scored) == [1, 1, 1]
    assert _judged(scored, positive=["a"]) == [1, 0, 0]


def test_files_with_a_score_with_labels_and_with_neither_stand_beside_each_other(tmp_path: Path) -> None:
    scored = _written(tmp_path, "x.csv", {"score": [0, 3]})
    numbered = _written(tmp_path, "x.tsv", {"label": ["0", "1"]})
    bare = _written(tmp_path, "x.jsonl", {"other": ["y", "z"]})
    assert _judged(scored, numbered, bare) == [0, 3, 0, 1, 1, 1]
    words = _written(tmp_path, "x.parquet", {"label": ["yes", "no"]})
    with pytest.raises(InputError, match="'0', '1', 'no', 'yes'"):
        _judged(numbered, words)
    assert _judged(numbered, words, positive=["1", "yes"]) == [0, 1, 1, 0]


def test_without_score_and_label_every_judgement_is_a_positive(tmp_path: Path) -> None:
    assert _judged(_written(tmp_path, "x.tsv", {"other": ["y", "z"]})) == [1, 1]


def test_a_column_that_is_named_as_the_score_or_the_label_is_that(tmp_path: Path) -> None:
    path = _written(tmp_path, "x.csv", {"score": ["a", "b"], "grade": [0, 1]})
    assert _judged(path, columns={"score": "grade"}) == [0, 1]
    assert _judged(path, positive=["b"], columns={"label": "score"}) == [0, 1]
    assert "data.positive_labels" in refusal_of(path, "judgements")


def test_the_score_of_a_beir_folder_may_have_another_name(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    qrels = tmp_path / "qrels" / "train.tsv"
    for column in ("score", "relevance", "label", "rel"):
        qrels.write_text(f"query-id\tcorpus-id\t{column}\nq\td\t0\nq\te\t1\n")
        (file,) = DataConfig(beir=str(tmp_path)).files("judgements")
        (table,) = read(file)
        assert judged_by_labels("", with_keys(table), ()).column("relevance").to_pylist() == [0, 1]
    for header in ("query-id\tcorpus-id", "query\tcorpus-id\tscore", "q\t0\td\t1"):
        qrels.write_text(header + "\n" + "\t".join("x" * (header.count("\t") + 1)) + "\n")
        (file,) = DataConfig(beir=str(tmp_path)).files("judgements")
        with pytest.raises(InputError, match="its first line is: query-id, corpus-id, score"):
            list(read(file))


def test_the_evidence_of_scifact_needs_its_positive_labels(scifact: Path, tmp_path: Path) -> None:
    claims = [json.loads(line) for line in (scifact / "claims_train.jsonl").read_text().splitlines()]
    rows: list[Row] = [
        {"query_id": claim["id"], "doc_id": document, "label": evidence[0]["label"]}
        for claim in claims
        for document, evidence in claim["evidence"].items()
    ]
    (tmp_path / "x.jsonl").write_bytes(WRITERS["x.jsonl"](rows))
    with pytest.raises(InputError, match="'CONTRADICT', 'SUPPORT'"):
        _judged(tmp_path / "x.jsonl")
    assert _judged(tmp_path / "x.jsonl", positive=["SUPPORT"]) == [row["label"] == "SUPPORT" for row in rows]


LABELS = st.lists(
    st.one_of(st.sampled_from(["0", "1", "2", "a", "b", "true", "1.5"]), st.none()), min_size=1, max_size=6
)


@given(LABELS, st.booleans(), st.sets(st.sampled_from(["0", "1", "a", "b"])))
def test_any_labels_are_judged_as_a_loop_judges_them_or_refused(
    labels: list[str | None], scored: bool, positive: set[str]
) -> None:
    columns = {"query_id": ["q"] * len(labels), "doc_id": [f"d{i}" for i in range(len(labels))]}
    table = pa.table({**columns, "label": pa.array(labels, pa.string())})
    if scored:
        table = table.append_column("score", pa.array([float(i % 3) for i in range(len(labels))], pa.float32()))
    try:
        judged = judged_by_labels("x", with_keys(table), sorted(positive)).column("relevance").to_pylist()
    except InputError:
        assert None in labels or positive - set(labels) or (not positive and {"a", "b"} & set(labels))
        return
    value = {"true": 1.0, "1.5": 1.5, "0": 0.0, "1": 1.0, "2": 2.0}
    numeric = not {"a", "b"} & {*labels, *positive}
    for i, label in enumerate(labels):
        given_score = float(i % 3) if scored else None
        if positive:
            same = {value[one] for one in positive} if numeric else positive
            hit = (value.get(label or "") if numeric else label) in same
            assert judged[i] == ((1.0 if given_score is None else given_score) if hit else 0.0)
        else:
            assert judged[i] == (value[str(label)] if given_score is None else given_score)
