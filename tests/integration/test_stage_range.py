"""A run in pieces: `--from` and `--until` give what one run gives, and nothing starts on what is not there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from operators.errors import InputError
from pipelines.runtime.stage_range import StageRange
from pipelines.text import COMMANDS
from tests.integration.conftest import Collection, configuration, dataset, run

STAGES = (*COMMANDS, "report")


def written(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_stage_by_stage_gives_what_one_run_gives(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    pieces = configuration(tmp_path / "pieces", collection, static_model)
    results: dict[str, dict[str, Any]] = {}
    for number, stage in enumerate(STAGES):
        results[stage] = run(pieces, stage, stage)
        ran = {name for name, facts in results[stage]["stages"].items() if not facts["reused"]}
        assert ran == ({stage} if stage != "report" else set())
        assert list(results[stage]["stages"]) == list(STAGES[: min(number + 1, len(COMMANDS))])
        assert (tmp_path / "pieces" / "dataset").exists() == (stage in {"export", "report"})
        assert (tmp_path / "pieces" / "report").exists() == (stage == "report")
    whole = run(configuration(tmp_path / "whole", collection, static_model))
    assert dataset(tmp_path / "pieces").equals(dataset(tmp_path / "whole"))
    assert set(results["report"]) == set(whole)
    assert set(results["report"]["outputs"]) == set(whole["outputs"])
    assert results["report"]["dropped"] == whole["dropped"]
    report = json.loads((tmp_path / "pieces" / "report" / "report.json").read_text(encoding="utf-8"))
    assert list(report["stages"]) == list(STAGES[:-1])


def test_report_alone_writes_only_the_report(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    config = configuration(tmp_path, collection, static_model)
    run(config, until="export")
    before = written(tmp_path)
    run(config, "report", "report")
    after = written(tmp_path)
    assert {path: after[path] for path in before} == before
    new = {str(path.relative_to(tmp_path)) for path in set(after) - set(before)}
    assert new == {"config.json", "report/report.html", "report/report.json"}


def test_report_publishes_an_export_that_is_not(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    config = configuration(tmp_path, collection, static_model)
    run(config)
    again = configuration(tmp_path, collection, static_model, select={"relative_margin": 0.1})
    published = dataset(tmp_path)
    run(again, until="select")
    assert dataset(tmp_path).equals(published)
    run(again, "suspects", "report")
    assert not dataset(tmp_path).equals(published)


def mine(config: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pipelines.cli", "mine", str(config), "--json", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_comes_before_must_be_there(config_file: Path, tmp_path: Path) -> None:
    refused = mine(config_file, "--from", "encode")
    assert refused.returncode == 2
    run_directory = tmp_path / "run"
    assert refused.stderr == (
        f"hardneg: {run_directory}: prepare/model is not complete for this configuration; "
        "run `hardneg mine CONFIG --until prepare` first.\n"
    )
    assert not refused.stdout
    assert not run_directory.exists()

    done = mine(config_file, "--until", "prepare")
    assert done.returncode == 0
    assert list(json.loads(done.stdout)["stages"]) == ["prepare"]
    before = written(run_directory)
    refused = mine(config_file, "--from", "select", "--until", "export")
    assert refused.returncode == 2
    assert "encode is not complete" in refused.stderr
    assert "--until search" in refused.stderr
    assert written(run_directory) == before

    changed = mine(config_file, "--from", "encode", "--set", "clean.min_words=3")
    assert changed.returncode == 2, "what is there was prepared with other settings"
    assert written(run_directory) == before


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ("selct", "report", ["--from selct", "'select'", "prepare, encode"]),
        ("prepare", "mine", ["--until mine", "no such stage"]),
        ("search/all", "report", ["--from search/all", "'search'"]),
        ("search", "index", ["--from search --until index", "index comes before search"]),
    ],
)
def test_a_range_that_does_not_exist_is_refused(first: str, last: str, said: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        StageRange(first, last, list(COMMANDS))
    for part in said:
        assert part in str(refused.value)
