"""Bad input is refused before the long work starts: one clear message, exit status 2, and nothing is written."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.errors import InputError
from pipelines.config import load
from tests.integration.conftest import Collection, configuration, dataset, run, write_collection
from tests.integration.vector_sources import vector_config, vector_sources

Damage = Callable[[dict[str, Any], Path], None]


def files(folder: Path, *, vectors: int = 0) -> dict[str, Any]:
    """Write a corpus, queries and judgements that are right, and return their sources."""
    ids = [f"d{n}" for n in range(8)]
    corpus: dict[str, Any] = {"doc_id": ids, "text": [f"document number {n}" for n in range(8)]}
    queries: dict[str, Any] = {"query_id": ["q0", "q1"], "text": ["first question", "second question"]}
    if vectors:
        generator = np.random.default_rng(0)
        corpus["vector"] = list(generator.standard_normal((8, vectors)))
        queries["vector"] = list(generator.standard_normal((2, vectors)))
    write(folder / "corpus.parquet", corpus)
    write(folder / "queries.parquet", queries)
    write(folder / "judgements.parquet", {"query_id": ["q0", "q1"], "doc_id": ["d0", "d1"]})
    columns = {"columns": {"vector": "vector"}} if vectors else {}
    return {
        "corpus": {"path": str(folder / "corpus.parquet"), **columns},
        "queries": {"path": str(folder / "queries.parquet"), **columns},
        "judgements": {"path": str(folder / "judgements.parquet")},
    }


def write(path: Path, columns: dict[str, Any]) -> None:
    pq.write_table(pa.table(columns), path)


def missing_file(data: dict[str, Any], folder: Path) -> None:
    data["corpus"]["path"] = str(folder / "nowhere.parquet")


def wrong_column(data: dict[str, Any], folder: Path) -> None:
    data["corpus"]["columns"] = {"text": "body"}


def unknown_document(data: dict[str, Any], folder: Path) -> None:
    write(folder / "judgements.parquet", {"query_id": ["q0", "q1", "q1"], "doc_id": ["d0", "d77", "d78"]})


def unknown_query(data: dict[str, Any], folder: Path) -> None:
    write(folder / "judgements.parquet", {"query_id": ["q0", "q9"], "doc_id": ["d0", "d1"]})


def repeated_id(data: dict[str, Any], folder: Path) -> None:
    write(folder / "corpus.parquet", {"doc_id": ["d0", "d1", "d1"], "text": ["one", "two", "another two"]})


def repeated_query(data: dict[str, Any], folder: Path) -> None:
    write(folder / "queries.parquet", {"query_id": ["q0", "q1", "q1"], "text": ["one", "two", "another two"]})


def list_for_a_query(data: dict[str, Any], folder: Path) -> None:
    write(folder / "queries.parquet", {"query_id": ["q0", "q1"], "text": [["a", "b"], ["c"]]})


def empty_corpus(data: dict[str, Any], folder: Path) -> None:
    write(folder / "corpus.parquet", {"doc_id": ["d0", "d1"], "text": [" ", ""]})


def unknown_split_of_a_folder(data: dict[str, Any], folder: Path) -> None:
    documents = {"d0": "one document", "d1": "another"}
    beir = write_collection(folder / "beir", documents, {"q0": "a question"}, {"q0": {"d0": 1}})
    data.clear()
    data.update(beir=str(beir.folder), split="tset")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (missing_file, ["data.corpus.path", "nowhere.parquet", "no file"]),
        (wrong_column, ["corpus.parquet", "'body'", "doc_id, text", "data.corpus.columns.text"]),
        (unknown_document, ["judgements.parquet", "2 judgements", "unknown document", "'d77', 'd78'", "on_dangling"]),
        (unknown_query, ["judgements.parquet", "1 judgement names an unknown query (id 'q9')", "on_dangling"]),
        (repeated_id, ["'d1'", "different texts"]),
        (repeated_query, ["'q1'", "two different texts"]),
        (list_for_a_query, ["queries.parquet", "'text'", "list", "data.queries.columns.text"]),
        (empty_corpus, ["corpus.parquet", "no document is left"]),
        (unknown_split_of_a_folder, ["tset.tsv", "Splits there: train"]),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(
    damage: Damage, said: list[str], static_model: Path, engine: str, tmp_path: Path
) -> None:
    data = files(tmp_path)
    damage(data, tmp_path)
    engine_options = {"name": engine}
    with pytest.raises(InputError) as refused:
        run(configuration(tmp_path / "run", None, static_model, data=data, engine=engine_options))
    for part in said:
        assert part in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        ([[1.0, 2.0], [1.0, 2.0, 3.0]], ["row 2", "3 values", "2"]),
        ([[1.0, 2.0], [1.0, float("nan")]], ["row 2", "not finite"]),
    ],
)
def test_broken_vectors_are_refused_with_their_row(vectors: list[list[float]], said: list[str], tmp_path: Path) -> None:
    data = files(tmp_path, vectors=2)
    columns = {"doc_id": ["d0", "d1"], "text": ["one", "two"], "vector": vectors}
    write(tmp_path / "corpus.parquet", columns)
    with pytest.raises(InputError) as refused:
        run(configuration(tmp_path / "run", None, None, data=data))
    for part in ["corpus.parquet", "'vector'", *said]:
        assert part in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_queries_with_other_vectors_than_the_corpus_are_refused_before_the_search(tmp_path: Path) -> None:
    data = files(tmp_path, vectors=4)
    write(tmp_path / "queries.parquet", {"query_id": ["q0", "q1"], "text": ["a", "b"], "vector": [[1.0, 2.0]] * 2})
    with pytest.raises(InputError, match=r"4 values, those of the queries 2"):
        run(configuration(tmp_path / "run", None, None, data=data))


def test_dangling_judgements_can_be_dropped_and_are_counted(static_model: Path, tmp_path: Path) -> None:
    data = files(tmp_path)
    write(
        tmp_path / "judgements.parquet",
        {"query_id": ["q0", "q1", "q1", "q9"], "doc_id": ["d0", "d1", "d77", "d2"]},
    )
    data["on_dangling"] = "drop"
    result = run(configuration(tmp_path / "run", None, static_model, data=data))
    assert result["dropped"]["judgement_of_unknown_document"] == 1
    assert result["dropped"]["judgement_of_unknown_query"] == 1
    assert result["stages"]["prepare"]["sides"]["queries"]["rows_out"] == 2


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("select.num_negatives=200", ["num_negatives (200)", "candidate window", "range_max"]),
        ("select.relativ_margin=0.1", ["select.relativ_margin", "'relative_margin'"]),
        ("serach.k=10", ["serach", "'search'"]),
        (
            "select.sampling_strategy=best",
            ["select.sampling_strategy", "Choose one of disagreement, distance_weighted, diverse, random", "'best'"],
        ),
        ("search.k=-1", ["search.k", "a number of at least 1 is wanted", "-1"]),
        ("select.range_max=300", ["select.range_max (300)", "search.k (100)"]),
        ("index=IVF10,PQ", ["IVF10,PQ", "auto, exact"]),
        ("encoder.model=null", ["encoder.model is missing"]),
        ("data.split", ["key.path=value"]),
        ("run=null", ["run", "a text is wanted"]),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_would_be_right(setting: str, said: list[str], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("run: somewhere\ndata: {beir: folder}\nencoder: {model: some/model}\n", encoding="utf-8")
    with pytest.raises(InputError) as refused:
        load(str(config), [setting])
    for part in said:
        assert part in str(refused.value)


def test_a_wrong_key_in_the_file_is_named_with_the_file(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("run: somewhere\ndata: {beri: folder}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.yaml: data\.beri: there is no such key\. Did you mean 'beir'"):
        load(str(config))


@pytest.mark.parametrize(
    "setting",
    [
        "storage_options=hidden-secret",
        "data.storage_options=hidden-secret",
        "data.corpus.storage_options=[hidden-secret]",
        "storage_options.secret=[hidden-secret",
        "storage_options.secret: [hidden-secret",
    ],
)
def test_wrong_storage_options_are_refused_without_repeating_them(setting: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("run: somewhere\ndata: {beir: folder}\nencoder: {model: some/model}\n", encoding="utf-8")
    with pytest.raises(InputError) as refused:
        load(str(config), [setting])
    assert "storage_options" in str(refused.value)
    assert "hidden-secret" not in str(refused.value)


def test_a_file_that_is_no_yaml_is_refused_with_its_line_and_without_quoting_it(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("run: somewhere\nstorage_options: {secret: hidden-secret]\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.yaml, line 2: not YAML: ") as refused:
        load(str(config))
    assert "hidden-secret" not in str(refused.value)


def test_the_command_line_exits_with_2_and_one_message(collection: Collection, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    raw = {"run": str(tmp_path / "run"), "data": {"beir": str(collection.folder)}, "encoder": {"model": "./nowhere"}}
    config.write_text(json.dumps(raw), encoding="utf-8")
    command = [sys.executable, "-m", "pipelines.cli", "mine", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    expected = "encoder.model: no folder at ./nowhere. Correct the path, or name a model of the hub."
    assert done.stderr == f"hardneg: {expected}\n"
    assert not done.stdout
    assert not (tmp_path / "run").exists()


def test_nothing_in_a_model_folder_is_unpickled_or_executed(
    collection: Collection, minilm: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in minilm.iterdir():
        if file.is_file() and file.name != "model.safetensors":
            (model / file.name).write_bytes(file.read_bytes())
    witness = tmp_path / "executed"
    # A pickle that writes a file when it is read.
    pickled = f"cbuiltins\nexec\n(Vopen({str(witness)!r}, 'w').close()\ntR."
    (model / "pytorch_model.bin").write_bytes(pickled.encode())
    with pytest.raises(InputError, match=r"encoder\.model"):
        run(configuration(tmp_path / "run", collection, model))
    assert not witness.exists()


def test_query_files_with_vectors_of_other_lengths_are_refused_and_named(tmp_path: Path) -> None:
    data = files(tmp_path, vectors=4)
    for number in (4, 6):
        vectors = [[1.0] * number]
        write(tmp_path / f"q{number}.parquet", {"query_id": [f"q{number % 4 // 2}"], "text": ["a"], "vector": vectors})
    data["queries"]["path"] = [str(tmp_path / "q4.parquet"), str(tmp_path / "q6.parquet")]
    with pytest.raises(InputError, match=r"data\.queries: .*4 values in .*q4\.parquet and 6 values in .*q6\.parquet"):
        run(configuration(tmp_path / "run", None, None, data=data))
    data = files(tmp_path, vectors=4)
    write(tmp_path / "more.parquet", {"doc_id": ["x"], "text": ["more"], "vector": [[1.0] * 6]})
    data["corpus"]["path"] = [str(tmp_path / "corpus.parquet"), str(tmp_path / "more.parquet")]
    with pytest.raises(InputError, match=r"data\.corpus: .*4 values in .*corpus.* and 6 values in .*more\.parquet"):
        run(configuration(tmp_path / "run", None, None, data=data))
    assert not (tmp_path / "run").exists()


def test_labels_that_are_words_are_refused_until_some_are_positive(static_model: Path, tmp_path: Path) -> None:
    data = files(tmp_path)
    labels = {"query_id": ["q0", "q0", "q1"], "doc_id": ["d0", "d1", "d1"], "label": ["good", "bad", "good"]}
    write(tmp_path / "judgements.parquet", labels)
    with pytest.raises(InputError, match=r"'bad', 'good'.*data\.positive_labels"):
        run(configuration(tmp_path / "run", None, static_model, data=data))
    assert not (tmp_path / "run").exists()
    data["positive_labels"] = ["good"]
    run(configuration(tmp_path / "run", None, static_model, data=data))
    triplets = dataset(tmp_path / "run")
    pairs = set(zip(*(triplets.column(name).to_pylist() for name in ("query_id", "positive_id")), strict=True))
    assert pairs == {("q0", "d0"), ("q1", "d1")}


def test_what_does_not_fit_the_length_of_the_vectors_is_refused_before_the_long_work(
    static_model: Path, tmp_path: Path
) -> None:
    data = vector_sources(tmp_path / "sources")
    texts = data | {"queries": data["queries"]["path"]}
    of_index = vector_config(tmp_path / "run", data, index={"factory": "PCA99,Flat"})
    of_model = vector_config(tmp_path / "run", texts, encoder={"model": str(static_model)})
    for config, said in ((of_index, "PCA makes 99 values of 8"), (of_model, "corpus have 8 values, .* model 64")):
        with pytest.raises(InputError, match=said):
            run(config)
        assert not (tmp_path / "run").exists()
