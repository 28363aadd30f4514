"""Killed at any moment and started again, a run finishes with the same result and repeats nothing that was done."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import Collection, configuration, dataset, run, write_configuration

STAGES = (
    "prepare/corpus",
    "prepare/queries",
    "encode",
    "index",
    "search/all",
    "search/short",
    "search/signal_list_similarity",
    "search/signal_false_negative_probability",
    "select",
    "suspects",
    "export",
)
# On Ray each costs half a minute.
OTHER_STAGES = ("prepare/corpus", "encode", "search/all", "search/signal_list_similarity", "select", "export")
SECONDS_TO_WAIT = 120


def command(config: Path, engine: str, name: str = "mine") -> list[str]:
    workers = ["--set", "engine.workers=2"] if engine == "ray" else []
    return [sys.executable, "-m", "pipelines.cli", name, str(config), "--engine", engine, *workers, "--json"]


def units_of(run_directory: Path, stage: str) -> dict[Path, int]:
    """The units of a stage that are committed, with the time at which they were."""
    return {path: path.stat().st_mtime_ns for path in run_directory.glob(f"{stage}/*/_units/*/*/*.json")}


def kill_within(process: subprocess.Popen[bytes], run_directory: Path, stage: str) -> bool:
    """Kill -9 the driver when the stage has begun; tell whether it was caught before the stage was complete."""
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not units_of(run_directory, stage):
        assert process.poll() is None, f"the run ended before {stage}"
        assert time.monotonic() < deadline, f"{stage} did not begin"
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGSTOP)  # to list its children takes longer than a short stage
    below = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(below, timeout=1)
    for left in alive:  # Ray's agents notice the end of their node after more than a minute
        with suppress(psutil.NoSuchProcess):
            left.kill()
    return not list(run_directory.glob(f"{stage}/*/_manifest*.json"))


@pytest.mark.parametrize(
    ("engine", "stages"),
    [
        ("local", STAGES),
        ("ray", OTHER_STAGES),
        pytest.param("ray", STAGES, marks=pytest.mark.slow),
        pytest.param("beam", STAGES, marks=pytest.mark.slow),
    ],
    ids=["local", "ray", "ray, every stage", "beam"],
)
@pytest.mark.timeout(900)
def test_a_run_killed_in_every_stage_finishes_with_the_same_result(
    collection: Collection, static_model: Path, tmp_path: Path, engine: str, stages: Sequence[str]
) -> None:
    options = {
        "data": {"partition_rows": 16},
        "index": {"factory": "exact", "shard_rows": 32},
        "select": {"target_false_negative_rate": 0.02},
    }
    run(configuration(tmp_path / "reference", collection, static_model, **options))

    run_directory = tmp_path / "killed"
    config = write_configuration(tmp_path, configuration(run_directory, collection, static_model, **options))
    committed: dict[Path, int] = {}
    caught = []
    for stage in stages:
        process = subprocess.Popen(command(config, engine), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        caught.append(kill_within(process, run_directory, stage))
        committed.update(units_of(run_directory, stage))
    finished = subprocess.run(command(config, engine), capture_output=True, text=True, check=True)

    result = json.loads(finished.stdout.splitlines()[-1])
    assert result["stages"]["prepare"]["reused"]
    assert sum(caught) >= len(stages) - 2, f"the kills came too late: {dict(zip(stages, caught, strict=True))}"
    assert dataset(run_directory).equals(dataset(tmp_path / "reference"))
    assert not [path for path, done_at in committed.items() if path.stat().st_mtime_ns != done_at]


def test_a_calibration_that_was_killed_writes_the_same_model(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    options = {"data": {"partition_rows": 16}}
    written = {}
    for name in ("reference", "killed"):
        config = write_configuration(tmp_path, configuration(tmp_path / name, collection, static_model, **options))
        if name == "killed":
            process = subprocess.Popen(command(config, "local", "calibrate"), stdout=subprocess.DEVNULL)
            assert kill_within(process, tmp_path / name, "calibrate/views"), "the kill came too late"
            assert not (tmp_path / name / "calibration").exists()
        subprocess.run(command(config, "local", "calibrate"), capture_output=True, check=True)
        written[name] = [path.read_bytes() for path in sorted((tmp_path / name / "calibration").glob("*.json"))]
    assert written["reference"] == written["killed"]
