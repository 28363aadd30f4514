"""Beam with several worker processes: the rows of local, and a run that goes on after one of them was killed."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from tests.integration.conftest import Collection, configuration, dataset, run, write_configuration

SECONDS_TO_WAIT = 120
# Many units, so that a kill finds a step under way.
SMALL: dict[str, Any] = {"data": {"partition_rows": 8}, "index": {"factory": "exact", "shard_rows": 32}}
WORKERS = ["--engine", "beam", "--set", "engine.workers=2"]


@pytest.fixture(scope="module")
def reference(collection: Collection, static_model: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    folder = tmp_path_factory.mktemp("reference")
    run(configuration(folder, collection, static_model, **SMALL))
    return dataset(folder)


def command(folder: Path, collection: Collection, model: Path) -> list[str]:
    config = write_configuration(folder, configuration(folder / "run", collection, model, **SMALL))
    return [sys.executable, "-m", "pipelines.cli", "mine", str(config), *WORKERS, "--json"]


def units(run_directory: Path, step: str) -> list[Path]:
    return sorted(run_directory.glob(f"{step}/*/*.json"), key=lambda path: path.stat().st_mtime_ns)


def worker_of(unit: Path) -> int:
    committed = json.loads(unit.read_text(encoding="utf-8"))["units"].values()
    return int(next(iter(committed))["worker"].rpartition("/")[2])


@pytest.mark.slow
@pytest.mark.parametrize("step", ["encode/*/_units/encode", "search/all/*/_units/search-50", "export/*/_units/write"])
def test_a_run_whose_worker_was_killed_goes_on(
    collection: Collection, static_model: Path, reference: pa.Table, tmp_path: Path, step: str
) -> None:
    again = command(tmp_path, collection, static_model)
    with (tmp_path / "errors").open("wb") as errors:
        driver = subprocess.Popen(again, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        deadline = time.monotonic() + SECONDS_TO_WAIT
        while len(units(tmp_path / "run", step)) < 3:
            assert driver.poll() is None, f"the run ended before {step}"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        psutil.Process(worker_of(units(tmp_path / "run", step)[-1])).kill()
        assert driver.wait(SECONDS_TO_WAIT) == 1, "the kill came too late"
    finally:
        driver.kill()
        driver.wait()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("**/_units/*/*/*.json")}

    finished = subprocess.run(again, capture_output=True, text=True, check=True)
    assert json.loads(finished.stdout.splitlines()[-1])["engine"] == "beam"
    assert dataset(tmp_path / "run").equals(reference)
    assert done == {path: path.stat().st_mtime_ns for path in done}
    assert len({worker_of(unit) for unit in units(tmp_path / "run", step)}) >= 2
