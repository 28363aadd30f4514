"""Many shards that are asked for their share of k give the candidates of one shard, and a stopped round goes on."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.runtime.progress import Progress
from pipelines.runtime.session import build
from pipelines.runtime.storage.folder import Folder
from pipelines.runtime.storage.records import Record
from pipelines.text.stages.search import rounds
from tests.integration.conftest import run
from tests.integration.stopping import StoppedError, Stopping
from tests.integration.vector_sources import QUERIES, vector_config, vector_sources

DOCUMENTS, K = 640, 40
STEPS = (f"search-{K}", f"merge-{K}", f"search-again-{K}", f"merge-again-{K}")
CLUSTERED = "clustered"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Documents in random order, and alike ones side by side."""
    folder = tmp_path_factory.mktemp("sources")
    return {
        "random": vector_sources(folder / "random", documents=DOCUMENTS),
        CLUSTERED: vector_sources(folder / CLUSTERED, documents=DOCUMENTS, groups=8),
    }


def settings(shards: int = 40, **sections: Any) -> dict[str, Any]:  # noqa: ANN401 - of Config
    """Partitions of 16 queries and 16 documents, and a dataset for which some queries are searched deeper."""
    index = {"factory": "exact", "shard_rows": DOCUMENTS // shards, **sections.pop("index", {})}
    select = {"max_positive_similarity": 0.2, "num_negatives": 10}
    return {
        "index": index,
        "search": {"k": K, "max_k": 2 * K, **sections.pop("search", {})},
        "select": select,
        **sections,
    }


def candidates(folder: Path, stage: str = "all") -> pa.Table:
    pattern = "search/all/*/merged-*/*.parquet" if stage == "all" else "search/short/*/candidates/*.parquet"
    found = sorted(folder.glob(pattern))
    assert found
    return pa.concat_tables([pq.read_table(file) for file in found])


def units(folder: Path, step: str, stage: str = "all") -> dict[str, dict[str, Any]]:
    found = folder.glob(f"search/{stage}/*/_units/{step}/*/*.json")
    records = [json.loads(file.read_text(encoding="utf-8"))["units"] for file in found]
    return {name: stats for record in records for name, stats in record.items()}


def rows(folder: Path) -> int:
    """How many rows the search of all queries wrote for the merge."""
    return sum(one["rows_out"] for step in (STEPS[0], STEPS[2]) for one in units(folder, step).values())


@pytest.mark.parametrize("kind", ["random", CLUSTERED])
def test_forty_shards_give_what_one_gives(
    sources: dict[str, dict[str, Any]], kind: str, tmp_path: Path, engine_in_time: str
) -> None:
    run(vector_config(tmp_path / "one", sources[kind], **settings(shards=1)))
    run(vector_config(tmp_path / "forty", sources[kind], **settings(), engine={"name": engine_in_time}))
    for stage in ("all", "short"):
        assert candidates(tmp_path / "forty", stage).equals(candidates(tmp_path / "one", stage))
    assert bool(units(tmp_path / "forty", STEPS[2])) is (kind == CLUSTERED)
    # 4 k and 5 for each shard at first, and less than k for each of the k / 8 that are asked again.
    assert rows(tmp_path / "forty") <= QUERIES * (4 * K + 5 * 40 + (K / 8 * K if kind == CLUSTERED else 0))
    left = {path.name for path in (tmp_path / "forty").glob("search/*/*/*")}
    assert not {name for name in left if name.startswith(("found", "first", "missing", "again"))}


def test_judgements_are_not_read_for_every_shard(
    sources: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[str]()
    does = Folder.content

    def content(folder: Folder, record: Record) -> pa.Buffer:
        read.append(record["path"])
        return does(folder, record)

    monkeypatch.setattr(Folder, "content", content)
    reads = []
    for shards in (2, 10, 40):
        config = vector_config(tmp_path / str(shards), sources["random"], **settings(shards))
        run(config, until="index")
        read.clear()
        run(config, until="search")
        reads.append(sum(path.startswith("judgements/") for path in read))
    assert reads == [4, 4, 4]  # two partitions: who wants what, and what was judged


@pytest.mark.parametrize("factory", ["IVF4,PQ4x4", "HNSW8"])
def test_shards_with_codes_give_what_they_give_when_all_are_asked_for_all(
    sources: dict[str, dict[str, Any]], factory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(shards=10, index={"factory": factory}, search={"nprobe": 2, "refine_factor": 1})
    run(vector_config(tmp_path / "share", sources[CLUSTERED], **chosen))
    monkeypatch.setattr(rounds, "asked_of", lambda k, *_: k)
    run(vector_config(tmp_path / "all", sources[CLUSTERED], **chosen))
    assert units(tmp_path / "share", STEPS[2])
    assert not units(tmp_path / "all", STEPS[2])
    assert rows(tmp_path / "share") < rows(tmp_path / "all")
    for stage in ("all", "short"):
        assert candidates(tmp_path / "share", stage).equals(candidates(tmp_path / "all", stage))


@pytest.fixture(scope="module")
def indexed(sources: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexed") / "run"
    run(vector_config(folder, sources[CLUSTERED], **settings()), until="index")
    return folder


@pytest.fixture(scope="module")
def searched(sources: dict[str, dict[str, Any]], indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched") / "run"
    shutil.copytree(indexed, folder)
    search(folder, sources[CLUSTERED], Stopping())
    return folder


def search(folder: Path, data: dict[str, Any], engine: Stopping) -> None:
    build(vector_config(folder, data, **settings())).run("search/all", engine, Progress())


@pytest.mark.parametrize("after", [0, 1, 1000])
@pytest.mark.parametrize("step", STEPS)
def test_a_round_that_was_stopped_anywhere_goes_on_and_does_nothing_twice(
    sources: dict[str, dict[str, Any]], indexed: Path, searched: Path, tmp_path: Path, step: str, after: int
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(indexed, folder)
    with pytest.raises(StoppedError):
        search(folder, sources[CLUSTERED], Stopping(step, after))
    done = {name: set(units(folder, name)) for name in STEPS}
    assert len(done[step]) == min(after, len(units(searched, step)))
    going_on = Stopping()
    search(folder, sources[CLUSTERED], going_on)
    assert candidates(folder).equals(candidates(searched))
    for name in STEPS:
        assert not done[name] & set(going_on.given.get(name, []))
        assert done[name] | set(going_on.given.get(name, [])) == set(units(searched, name))


def test_only_the_partition_whose_candidates_are_damaged_is_searched_again(
    sources: dict[str, dict[str, Any]], searched: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(searched, folder)
    (damaged,) = folder.glob(f"search/all/*/merged-{K}/part-00001.parquet")
    damaged.unlink()
    engine = Stopping()
    search(folder, sources[CLUSTERED], engine)
    assert candidates(folder).equals(candidates(searched))
    given = {name for names in engine.given.values() for name in names}
    merges = {name for step in (STEPS[1], STEPS[3]) for name in engine.given.get(step, [])}
    assert {name[:5] for name in merges} == {name[-5:] for name in given - merges} == {"00001"}


def test_candidates_that_are_whole_are_not_searched_again_for_other_files_of_the_stage(
    sources: dict[str, dict[str, Any]], searched: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(searched, folder)
    (manifest,) = folder.glob("search/all/*/_manifest.json")
    manifest.unlink()
    engine = Stopping()
    search(folder, sources[CLUSTERED], engine)
    assert candidates(folder).equals(candidates(searched))
    assert not engine.given
