"""A corpus that grows by small pieces: few shards, and the rows of a corpus that was there from the start."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.runtime.progress import Progress
from pipelines.runtime.session import build
from tests.integration.conftest import dataset, run
from tests.integration.stopping import StoppedError, Stopping
from tests.integration.vector_sources import DOCUMENTS, QUERIES, vector_config, vector_sources

BASE, PIECE, SHARD_ROWS = 50, 10, 48


def in_pieces(data: dict[str, Any], folder: Path, documents: int) -> dict[str, Any]:
    """The first documents: a file of those that were there from the start, and one for each piece that came later."""
    folder.mkdir(exist_ok=True)
    corpus = pq.read_table(data["corpus"]["path"])
    for at in range(0, documents - BASE + 1, PIECE):
        piece = corpus.slice(0, BASE) if not at else corpus.slice(BASE + at - PIECE, PIECE)
        pq.write_table(piece, folder / f"{at:04d}.parquet")
    return {**data, "corpus": {**data["corpus"], "path": str(folder / "*.parquet")}}


@pytest.mark.parametrize("factory", ["exact", "IVF4,Flat"])
def test_growth_by_small_pieces_gives_the_rows_of_the_whole_in_few_shards(factory: str, tmp_path: Path) -> None:
    """Of `IVF4,Flat` all lists are probed, so it finds all, however it was trained."""
    options: dict[str, Any] = {"index": {"factory": factory, "shard_rows": SHARD_ROWS}}
    if factory != "exact":
        options["search"] = {"k": 20, "nprobe": 4, "refine_factor": 1}
    data = vector_sources(tmp_path / "sources")
    *sizes, last = range(BASE, DOCUMENTS + 1, PIECE)
    for documents in sizes:
        run(vector_config(tmp_path / "run", in_pieces(data, tmp_path / "grown", documents), **options), until="index")
    grown = in_pieces(data, tmp_path / "grown", last)
    result = run(vector_config(tmp_path / "run", grown, **options))["stages"]["index"]
    assert 0 < result["rows_reused"] < result["rows_out"]
    (latest,) = shards_of_runs(tmp_path / "run", result["rows_out"])
    assert len(latest) <= 4  # two that are full, and what 24 more documents are in; 9 if none were joined

    run(vector_config(tmp_path / "anew", grown, index={"factory": "exact"}))
    assert dataset(tmp_path / "run").equals(dataset(tmp_path / "anew"))


def shards_of_runs(run_directory: Path, rows: int) -> list[list[dict[str, Any]]]:
    """The shards of the runs that indexed so many documents."""
    manifests = (json.loads(path.read_text()) for path in run_directory.glob("index/*/_manifest-*.json"))
    return [manifest["parts"]["shards"] for manifest in manifests if manifest["rows_out"] == rows]


def test_shards_that_are_built_in_another_way_between_two_attempts_are_searched_again(tmp_path: Path) -> None:
    """A shard of all is searched; then some of its documents get a shard of their own, and that of all is damaged."""
    data = vector_sources(tmp_path / "sources")
    corpus = pq.read_table(data["corpus"]["path"])
    corpus = corpus.set_column(1, "text", corpus.column("doc_id"))  # none is dropped for another
    judged = {"query_id": [f"q{n}" for n in range(QUERIES)], "doc_id": [f"d{100 + n % 9}" for n in range(QUERIES)]}
    pq.write_table(pa.table(judged), data["judgements"])
    pieces = [str(tmp_path / f"{number}.parquet") for number in range(2)]
    for path, rows in zip(pieces, (corpus.slice(0, 96), corpus.slice(96)), strict=True):
        pq.write_table(rows, path)
    config = [
        vector_config(
            tmp_path / name, {**data, "corpus": {**data["corpus"], "path": paths}}, index={"shard_rows": 1000}
        )
        for name, paths in (("run", pieces), ("run", pieces[1:]), ("fresh", pieces))
    ]
    engine = Stopping("merge-20")
    with pytest.raises(StoppedError):
        build(config[0]).run("search/all", engine, Progress())
    run(config[1], until="index")
    (large,) = (
        file for file in (tmp_path / "run").glob("index/*/shards/*/keys.npy") if len(np.load(file)[0]) > len(corpus) / 2
    )
    large.unlink()
    run(config[0])
    run(config[2])
    assert len(list((tmp_path / "run").glob("index/*/shards/*"))) == 3
    assert dataset(tmp_path / "run").equals(dataset(tmp_path / "fresh"))
