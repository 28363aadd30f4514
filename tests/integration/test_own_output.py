"""What a run wrote is no source of it, and what others wrote is not replaced, whatever command comes first."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from operators.errors import InputError
from pipelines.text.evaluation import evaluate
from tests.integration.conftest import run
from tests.integration.vector_sources import vector_config, vector_sources

FORMATS = ["labeled-pair", "labeled-list", "triplet", "n-tuple", "flagembedding"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return vector_sources(tmp_path_factory.mktemp("sources"))


@pytest.mark.parametrize("pattern", ["**/*.jsonl", "run/export/*/triplet/*.jsonl", "run/dataset/triplet/*.jsonl"])
def test_a_glob_that_finds_what_the_run_wrote_is_refused(data: dict[str, Any], tmp_path: Path, pattern: str) -> None:
    """A triplet has the columns of a pair: it would be mined from silently."""
    folder = tmp_path / "run"
    run(vector_config(folder, data, export={"formats": FORMATS, "file_format": "jsonl"}))
    before = sorted(tmp_path.rglob("*"))
    pairs = {"pairs": str(tmp_path / pattern)}
    with pytest.raises(InputError, match="was written by a run in"):
        run(vector_config(folder, pairs, encoder={"model": str(tmp_path)}))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", ["prepare/corpus", "export", "data"])
def test_sources_of_others_within_the_run_directory_are_read(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    data = vector_sources(tmp_path / place)
    run(vector_config(tmp_path, data))
    run(vector_config(tmp_path, data, select={"num_negatives": 2}))


@pytest.mark.parametrize("name", ["config.json", "report/report.html"])
def test_an_evaluation_makes_no_files_of_others_ours(data: dict[str, Any], tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine", encoding="utf-8")
    (tmp_path / "prepare").mkdir()
    for command in (evaluate, run):
        with pytest.raises(InputError, match=name.partition("/")[0]):
            command(vector_config(tmp_path, data))
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"


def test_nothing_before_a_span_runs_even_where_it_is_damaged(data: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(vector_config(folder, data))
    (manifest,) = (folder / "search" / "all").glob("*/_manifest.json")
    part = manifest.parent / json.loads(manifest.read_text(encoding="utf-8"))["parts"]["candidates"][0]["path"]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 255
    part.write_bytes(content)
    shutil.rmtree(folder / "select")
    with pytest.raises(InputError, match="search/all is not complete"):
        run(vector_config(folder, data), "select")
    assert not run(vector_config(folder, data))["stages"]["search"]["reused"]
