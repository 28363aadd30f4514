"""The command line: its commands come from the pipeline, results go to standard output alone."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from operators.errors import InputError
from pipelines.cli import app
from pipelines.text import COMMANDS

RUNNER = CliRunner()


def lines_config(folder: Path) -> Path:
    texts = folder / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("one\ntwo\n", encoding="utf-8")
    config = {
        "pipeline": "tests.integration.line_pipeline:LineConfig",
        "run": str(folder / "run"),
        "folder": str(texts),
        "engine": {"name": "local"},
    }
    file = folder / "lines.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


def test_help_lists_every_stage_and_what_it_does() -> None:
    shown = " ".join(RUNNER.invoke(app, ["--help"]).stdout.split())
    for name in (*COMMANDS, "mine", "plan", "status", "verify", "evaluate", "report"):
        assert f" {name} " in shown


def test_every_command_works_on_another_pipeline(tmp_path: Path) -> None:
    config = str(lines_config(tmp_path))
    planned = RUNNER.invoke(app, ["plan", config, "--json"], catch_exceptions=False)
    assert list(json.loads(planned.stdout)["stages"]) == ["measure", "count"]
    mined = RUNNER.invoke(app, ["mine", config, "--until", "measure", "--json"], catch_exceptions=False)
    assert list(json.loads(mined.stdout)["stages"]) == ["measure"]
    shown = RUNNER.invoke(app, ["mine", config], catch_exceptions=False).stdout
    assert "report.html" in shown
    assert "MiB peak memory" in shown
    assert "measure" in RUNNER.invoke(app, ["plan", config], catch_exceptions=False).stdout
    for run in (config, str(tmp_path / "run")):
        assert json.loads(RUNNER.invoke(app, ["status", run, "--json"]).stdout)["state"] == "complete"
        assert json.loads(RUNNER.invoke(app, ["verify", run, "--json"]).stdout)["state"] == "whole"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["encode", "CONFIG"], "no such stage"),
        (["mine", "CONFIG", "--from", "count"], "measure is not complete"),
        (["evaluate", "CONFIG"], "only the text pipeline"),
        (["mine", "CONFIG", "--engine", "spark"], "no such engine"),
        (["mine", "CONFIG", "--set", "shortest"], "key.path=value"),
        (["mine", "CONFIG", "--set", "shortst=2"], "Did you mean 'shortest'"),
        (["mine", "CONFIG", "--", "--runner=DirectRunner"], "go with `--engine beam`"),
    ],
)
def test_what_cannot_work_is_refused(arguments: list[str], said: str, tmp_path: Path) -> None:
    config = str(lines_config(tmp_path))
    result = RUNNER.invoke(app, [config if one == "CONFIG" else one for one in arguments])
    assert isinstance(result.exception, InputError)
    assert said in str(result.exception)
    assert not result.stdout
