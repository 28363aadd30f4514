"""Another pipeline in the same frame: engines, reuse, kill and restart, plan, status, ranges of stages, a report."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from operators.errors import InputError
from pipelines.config import load
from pipelines.run import plan
from pipelines.runtime.status import status
from pipelines.runtime.storage.run_directory import RunDirectory
from pipelines.runtime.verify import verify
from tests.integration.conftest import run
from tests.integration.line_pipeline import LineConfig

LINES = [["", "a", "bb"], ["bb", "cc", "dddd"], [], ["a"]]


@pytest.fixture
def config(tmp_path: Path) -> LineConfig:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number, lines in enumerate(LINES):
        (folder / f"{number}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return LineConfig.model_validate({"run": str(tmp_path / "run"), "folder": folder, "engine": {"name": "local"}})


def on(config: LineConfig, engine: str, **more: Any) -> LineConfig:  # noqa: ANN401
    return config.model_copy(update={"engine": config.engine.model_copy(update={"name": engine}), **more})


def counts(run_directory: str) -> dict[int, int]:
    (file,) = Path(run_directory).glob("count/*/part-*.parquet")
    return {row["length"]: row["count"] for row in pq.read_table(file).to_pylist()}


def expected(shortest: int = 1) -> dict[int, int]:
    return dict(Counter(len(line) for lines in LINES for line in lines if len(line) >= shortest))


def test_it_runs_on_every_engine_and_reuses_what_is_there(config: LineConfig, engine: str) -> None:
    config = on(config, engine)
    result = run(config)
    assert counts(config.run) == expected()
    assert result["dropped"] == {"short": 1}
    assert all(one["reused"] for one in run(config)["stages"].values())
    changed = run(config.model_copy(update={"shortest": 2}))
    assert {name: one["reused"] for name, one in changed["stages"].items()} == {"measure": True, "count": False}


def test_plan_status_verify_and_report_know_its_stages(config: LineConfig) -> None:
    planned = plan(config)["stages"]
    assert {name: one["state"] for name, one in planned.items()} == {"measure": "run", "count": "run"}
    assert planned["measure"]["needs"] == "4 files"
    run(config, until="measure")
    seen = status(RunDirectory(config.run))["stages"]
    assert {name: one["state"] for name, one in seen.items()} == {"measure": "complete", "count": "waiting"}
    assert "report" in run(config, first="count")["outputs"]
    assert verify(RunDirectory(config.run))["state"] == "whole"
    report = json.loads((Path(config.run) / "report" / "report.json").read_text(encoding="utf-8"))
    assert report["most_common"] == 2
    assert report["stages"]["count"]["rows_out"] == len(expected())
    assert "<td>measure</td>" in (Path(config.run) / "report" / "report.html").read_text(encoding="utf-8")


def test_ranges_are_those_of_its_own_stages(config: LineConfig) -> None:
    with pytest.raises(InputError, match="The stages are measure, count, report"):
        run(config, until="encode")
    with pytest.raises(InputError, match="measure is not complete"):
        run(config, first="count")


@pytest.mark.parametrize("engine", ["local", "ray", "beam"])
def test_killed_by_the_command_line_it_goes_on(config: LineConfig, engine: str, tmp_path: Path) -> None:
    file = tmp_path / "lines.yaml"
    slow = on(config, engine, seconds=0.7)
    file.write_text(yaml.safe_dump(slow.model_dump(mode="json")), encoding="utf-8")
    command = [sys.executable, "-m", "pipelines.cli", "mine", str(file), "--set", "engine.workers=1", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(Path(config.run).glob("measure/*/_units/measure/*/*.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, 9)
    process.wait()
    committed = list(Path(config.run).glob("measure/*/_units/measure/*/*.json"))
    times = {path: path.stat().st_mtime_ns for path in committed}
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(finished.stdout.splitlines()[-1])["stages"]["count"]["rows_out"] == len(expected())
    assert counts(config.run) == expected()
    assert {path: path.stat().st_mtime_ns for path in committed} == times


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("graphs", "is no pipeline"),
        ("no.such.module:Config", "cannot be imported"),
        ("tests.integration.line_pipeline:CountLengths", "is no pipeline"),
        (7, "is no pipeline"),
    ],
)
def test_a_pipeline_that_does_not_exist_is_refused(named: object, said: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"pipeline": named, "run": "run"}), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        load(str(file))
