"""`load_dataset` opens what was written, in every format and view, whatever partitions and metadata lack."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Features, load_dataset

from operators.datasets.export import FORMATS, FileFormat, layout_of
from tests.integration.conftest import configuration, run

PARTITION = 8
NEGATIVES = 2
# Which queries have metadata, and what they score with documents that are not theirs.
SHAPES: dict[str, dict[str, Any]] = {
    "whole": {"near": [True] * 3, "metadata": [True] * 3},
    "without metadata": {"near": [True] * 3, "metadata": [False] * 3},
    "metadata after the first partition": {"near": [True] * 3, "metadata": [False, True, True]},
    "metadata in the first partition": {"near": [True] * 3, "metadata": [True, False, False]},
    "first partition empty": {"near": [False, True, True], "metadata": [True, False, True]},
    "last partition empty": {"near": [True, True, False], "metadata": [False, True, True]},
    "one partition with rows": {"near": [False, True, False], "metadata": [False, True, False]},
    "no rows": {"near": [False] * 3, "metadata": [True] * 3},
}
OPENED = [
    (layout, file_format)
    for layout in FORMATS
    for file_format in ("parquet", "jsonl")
    if not layout_of(layout).jsonl_only or file_format == "jsonl"
]


def write_sources(folder: Path, near: list[bool], metadata: list[bool]) -> dict[str, Any]:
    """Three partitions of queries; those of a partition that is not near find nothing that scores above 0."""
    generator = np.random.default_rng(0)
    documents = np.abs(generator.standard_normal((PARTITION * 3, 4)))
    lines: dict[str, list[dict[str, Any]]] = {"corpus": [], "queries": [], "judgements": []}
    for number, vector in enumerate(documents):
        part = number // PARTITION
        beside = {"source": f"s{number}"} if metadata[part] else {}
        sign = 1 if near[part] else -1
        lines["corpus"].append({"doc_id": f"d{number}", "text": f"document {number}", "vector": list(vector), **beside})
        query = {"query_id": f"q{number}", "text": f"query {number}", "vector": list(sign * vector), **beside}
        lines["queries"].append(query)
        lines["judgements"].append({"query_id": f"q{number}", "doc_id": f"d{number}"})
    for name, rows in lines.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    vector = {"columns": {"vector": "vector"}}
    return {
        "corpus": {"path": str(folder / "corpus.jsonl"), **vector},
        "queries": {"path": str(folder / "queries.jsonl"), **vector},
        "judgements": {"path": str(folder / "judgements.jsonl")},
        "partition_rows": PARTITION,
    }


@pytest.fixture(scope="module", params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def datasets(shape: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The `dataset` folder of a run that wrote all formats as Parquet, and of one that wrote them as JSON lines."""
    folder = tmp_path_factory.mktemp("sources")
    data = write_sources(folder, **SHAPES[shape])
    written = {}
    for file_format in ("parquet", "jsonl"):
        export = {"formats": list(FORMATS), "file_format": file_format}
        select = {"min_score": 0.0, "num_negatives": NEGATIVES, "range_max": 20}
        run(configuration(folder / file_format, None, None, data=data, select=select, export=export))
        written[file_format] = folder / file_format / "dataset"
    return written


@pytest.mark.parametrize(("layout", "file_format"), OPENED)
@pytest.mark.parametrize("view", ["default", "full"])
def test_every_format_opens_with_its_columns_and_types(
    datasets: dict[str, Path], shape: str, layout: str, file_format: FileFormat, view: str, tmp_path: Path
) -> None:
    place = str(datasets[file_format] / layout)
    schema = layout_of(layout).arrow_schema(NEGATIVES)
    columns = layout_of(layout).training_columns(NEGATIVES)
    if view == "full" or file_format == "jsonl":
        columns = schema.names
    types = Features({name: kind for name, kind in Features.from_arrow_schema(schema).items() if name in columns})

    if SHAPES[shape]["near"] == [False] * 3:  # `load_dataset` opens no split without rows as a table
        stream = load_dataset(place, view, split="train", streaming=True, cache_dir=str(tmp_path))
        assert list(stream) == []
        assert stream.features == types
        return
    opened = load_dataset(place, view, split="train", cache_dir=str(tmp_path))
    assert opened.features == types
    queries = sum(PARTITION for near in SHAPES[shape]["near"] if near)
    rows = {"triplet": queries * NEGATIVES, "labeled-pair": queries * (NEGATIVES + 1)}
    assert opened.num_rows == rows.get(layout, queries)
    if "query_metadata" in opened.column_names:
        there = [number // PARTITION for number in (int(one[1:]) for one in opened["query_id"])]
        assert [text is not None for text in opened["query_metadata"]] == [SHAPES[shape]["metadata"][n] for n in there]


def test_files_are_numbered_without_gaps(datasets: dict[str, Path]) -> None:
    for file_format, place in datasets.items():
        for layout in FORMATS:
            ending = "jsonl" if layout_of(layout).jsonl_only else file_format
            names = sorted(file.name for file in (place / layout).glob("train-*"))
            assert names == [f"train-{number:05d}-of-00003.{ending}" for number in range(3)]


def test_other_readers_open_the_parquet_files_of_empty_partitions(datasets: dict[str, Path]) -> None:
    for layout in [one for one in FORMATS if not layout_of(one).jsonl_only]:
        for file in (datasets["parquet"] / layout).glob("*.parquet"):
            assert pq.read_table(file).schema.equals(layout_of(layout).arrow_schema(NEGATIVES))


def test_what_was_mined_anew_is_what_opens_again_from_one_cache(tmp_path: Path) -> None:
    data = write_sources(tmp_path, **SHAPES["whole"])
    places = []
    for name, chosen in (("one", {}), ("one", {"range_min": 2}), ("another", {"range_min": 3})):
        select = {"num_negatives": NEGATIVES, "range_max": 20, **chosen}
        run(configuration(tmp_path / name, None, None, data=data, select=select))
        place = tmp_path / name / "dataset" / "triplet"
        places.append(place.resolve())
        for view in ("default", "full"):
            opened = load_dataset(str(place), view, split="train", cache_dir=str(tmp_path / "cache"))
            written = [row for file in sorted(place.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
            assert opened.to_list() == [{name: row[name] for name in opened.column_names} for row in written]
    assert len(set(places)) == 3
