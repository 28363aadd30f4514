"""The Prefect flow, run by Prefect with a server of its own, in an environment of its own."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.text import COMMANDS
from tests.integration.conftest import Collection, configuration, dataset, run
from tests.integration.infra.conftest import INFRA, ROOT, calls, environment, recorded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Later versions of FastAPI than these do not start its server.
STAGES = (*COMMANDS, "report")

PREFECT = ["prefect==3.8.8", "fastapi==0.150.0"]

RunFlow = Callable[[Path, str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run_flow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFlow:
    """Run the flow once; without the address of a server Prefect starts one, and ends it."""
    assert request.config.cache is not None
    commands = environment("prefect", PREFECT, request.config.cache)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    variables.update(
        PREFECT_HOME=str(tmp_path_factory.mktemp("prefect")),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120",  # the first start makes its database
        PYTHONPATH=str(ROOT),
    )

    def run_once(config: Path, command: str) -> "subprocess.CompletedProcess[str]":
        called = [str(commands / "python"), str(INFRA / "prefect" / "flow.py"), str(config), command]
        return subprocess.run(called, env=variables, capture_output=True, text=True, check=False)

    return run_once


def test_a_run_of_the_flow_is_a_run(
    run_flow: RunFlow, config_file: Path, collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    done = run_flow(config_file, recorded(tmp_path, fails_once="index"))
    assert done.returncode == 0, done.stdout + done.stderr
    asked = [call[call.index("--from") + 1] for call in calls(tmp_path)]
    assert asked == [*STAGES[:3], *STAGES[2:]], "index failed once, and was tried again"
    run(configuration(tmp_path / "whole", collection, static_model))
    assert dataset(tmp_path / "run").equals(dataset(tmp_path / "whole"))
    assert (tmp_path / "run" / "report" / "report.html").is_file()


def test_what_is_refused_is_not_tried_again(run_flow: RunFlow, config_file: Path, tmp_path: Path) -> None:
    config_file.write_text(config_file.read_text(encoding="utf-8") + "no_such_key: 1\n", encoding="utf-8")
    done = run_flow(config_file, recorded(tmp_path))
    assert len(calls(tmp_path)) == 1
    assert done.returncode != 0
    assert "RefusedError" in done.stdout + done.stderr
    assert "no_such_key" in done.stdout + done.stderr
    assert not (tmp_path / "run").exists()
