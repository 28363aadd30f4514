"""The Airflow DAG, run by Airflow in an environment of its own."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.run import run
from pipelines.span import STAGES
from tests.integration.conftest import Collection, configuration, dataset
from tests.integration.infra.conftest import INFRA, ROOT, calls, environment, recorded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

AIRFLOW = "apache-airflow==3.3.2"

RunDag = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run_dag(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunDag:
    """Run the DAG once with parameters, as `airflow dags test` does: in one process, with retries."""
    assert request.config.cache is not None
    commands = environment("airflow", AIRFLOW, request.config.cache)
    variables = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(INFRA / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run([str(commands / "airflow"), "db", "migrate"], env=variables, check=True, capture_output=True)

    def run_once(**params: str) -> "subprocess.CompletedProcess[str]":
        command = [str(commands / "airflow"), "dags", "test", "hardneg", "--conf", json.dumps(params)]
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    return run_once


def test_a_run_of_the_dag_is_a_run(
    run_dag: RunDag, config_file: Path, collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    done = run_dag(config=str(config_file), command=recorded(tmp_path, fails_once="index"))
    assert done.returncode == 0, done.stdout + done.stderr
    asked = [call[call.index("--from") + 1] for call in calls(tmp_path)]
    assert asked == [*STAGES[:3], *STAGES[2:]], "index failed once, and was tried again"
    assert all(f"run={tmp_path / 'run'}" in call for call in calls(tmp_path)[1:])
    run("mine", configuration(tmp_path / "whole", collection, static_model))
    assert dataset(tmp_path / "run").equals(dataset(tmp_path / "whole"))
    assert (tmp_path / "run" / "report" / "report.html").is_file()


def test_what_is_refused_is_not_tried_again(run_dag: RunDag, config_file: Path, tmp_path: Path) -> None:
    config_file.write_text(config_file.read_text(encoding="utf-8") + "no_such_key: 1\n", encoding="utf-8")
    done = run_dag(config=str(config_file), command=recorded(tmp_path))
    assert len(calls(tmp_path)) == 1
    assert "AirflowFailException" in done.stdout + done.stderr
    assert "no_such_key" in done.stdout + done.stderr
    assert done.returncode != 0
    assert not (tmp_path / "run").exists()
