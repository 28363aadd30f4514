"""The Argo workflow: its steps, what is tried again, and its command, run here."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import load
from pipelines.runtime.exit_status import REFUSED
from pipelines.text import COMMANDS
from tests.integration.infra.conftest import INFRA, ROOT, documents

STAGES = (*COMMANDS, "report")

PLACE = re.compile(r"\{\{(.+?)\}\}")


@pytest.fixture
def spec() -> dict[str, Any]:
    (workflow,) = documents(INFRA / "argo" / "workflow.yaml")
    assert workflow["kind"] == "WorkflowTemplate"
    return dict(workflow["spec"])


@pytest.fixture
def stage(spec: dict[str, Any]) -> dict[str, Any]:
    (template,) = [one for one in spec["templates"] if one["name"] == "stage"]
    return dict(template)


def test_a_step_for_each_stage_one_after_the_other(spec: dict[str, Any]) -> None:
    (template,) = [one for one in spec["templates"] if one["name"] == spec["entrypoint"]]
    groups = template["steps"]
    assert [len(group) for group in groups] == [1] * len(STAGES), "steps of one group run at the same time"
    assert [step["name"] for (step,) in groups] == list(STAGES)
    for (step,) in groups:
        assert step["template"] == "stage"
        assert step["arguments"]["parameters"] == [{"name": "stage", "value": step["name"]}]


def test_what_is_refused_is_not_tried_again(stage: dict[str, Any]) -> None:
    retry = stage["retryStrategy"]
    assert retry["expression"] == f"asInt(lastRetry.exitCode) != {REFUSED}"
    assert int(retry["limit"]) > 0
    assert retry["retryPolicy"] == "Always"


def filled(words: list[str], values: dict[str, str]) -> list[str]:
    return [PLACE.sub(lambda place: values[place[1]], word) for word in words]


def test_the_command_does_one_stage(
    spec: dict[str, Any], stage: dict[str, Any], config_file: Path, tmp_path: Path
) -> None:
    container = stage["container"]
    parameters = {one["name"]: one["value"] for one in spec["arguments"]["parameters"]}
    settings = [word.removeprefix("--set=") for word in container["args"] if word.startswith("--set=")]
    config = load(str(ROOT / "configs" / Path(parameters["config"]).name), settings, "local")
    assert config.engine.encoder_gpus == "auto", "the pod has no GPU"

    def run(name: str) -> "subprocess.CompletedProcess[str]":
        values = {f"workflow.parameters.{key}": value for key, value in parameters.items()}
        values |= {"workflow.parameters.config": str(config_file), "inputs.parameters.stage": name}
        program, *words = filled([*container["command"], *container["args"]], values)
        assert program == "hardneg"
        command = [sys.executable, "-m", "pipelines.cli", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("encode").returncode == REFUSED
    done = run("prepare")
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout.splitlines()[-1])["stages"]) == ["prepare"]
    assert not (tmp_path / "run" / "encode").exists()


def test_secrets_come_from_a_secret_and_the_mounts_are_there(spec: dict[str, Any], stage: dict[str, Any]) -> None:
    container = stage["container"]
    assert container["envFrom"] == [{"secretRef": {"name": "hardneg-storage"}}]
    assert "env" not in container
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
