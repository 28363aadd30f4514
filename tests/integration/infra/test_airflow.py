"""The Airflow DAG, run by Airflow in an environment of its own."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.local.ray_nodes import RAY, SECONDS_TO_START, Node, ray_cluster, waited_for
from pipelines.text import COMMANDS
from tests.integration.conftest import Collection, configuration, dataset, run
from tests.integration.infra.conftest import INFRA, ROOT, calls, environment, recorded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STAGES = (*COMMANDS, "report")

AIRFLOW = ["apache-airflow==3.3.2"]

RunDag = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run_dag(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunDag:
    """Run the DAG once with parameters, as `airflow dags test` does: in one process, with retries."""
    assert request.config.cache is not None
    commands = environment("airflow", AIRFLOW, request.config.cache)
    variables = {
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(INFRA / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "PYTHONPATH": str(ROOT),
    }
    migrate = [str(commands / "airflow"), "db", "migrate"]
    subprocess.run(migrate, env={**os.environ, **variables}, check=True, capture_output=True)

    def run_once(**params: str) -> "subprocess.CompletedProcess[str]":
        command = [str(commands / "airflow"), "dags", "test", "hardneg", "--conf", json.dumps(params)]
        return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)

    return run_once


def test_a_run_of_the_dag_is_a_run(
    run_dag: RunDag, config_file: Path, collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    done = run_dag(config=str(config_file), command=recorded(tmp_path, fails_once="index"))
    assert done.returncode == 0, done.stdout + done.stderr
    asked = [call[call.index("--from") + 1] for call in calls(tmp_path)]
    assert asked == [*STAGES[:3], *STAGES[2:]], "index failed once, and was tried again"
    assert all(f"run={tmp_path / 'run'}" in call for call in calls(tmp_path)[1:])
    run(configuration(tmp_path / "whole", collection, static_model))
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


@pytest.fixture
def jobs_address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a Ray node takes jobs."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{RAY.parent}{os.pathsep}{os.environ['PATH']}")
    with ray_cluster([Node()], dashboard=True) as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        assert waited_for(lambda: answers(f"{cluster.jobs_address}/api/version"), SECONDS_TO_START)
        yield cluster.jobs_address


def answers(url: str) -> bool:
    """Tell whether there is a server: also one that wants a token."""
    try:
        urllib.request.urlopen(url, timeout=2)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.mark.cluster
def test_stages_are_jobs_where_an_address_is_given(
    run_dag: RunDag, jobs_address: str, config_file: Path, tmp_path: Path
) -> None:
    right = config_file.read_text(encoding="utf-8")
    config_file.write_text(right + "no_such_key: 1\n", encoding="utf-8")
    refused = run_dag(config=str(config_file), command=recorded(tmp_path), address=jobs_address)
    assert refused.returncode != 0
    assert len(calls(tmp_path)) == 1, "the exit status of the job is not that of `ray job submit`"
    assert "no_such_key" in refused.stdout + refused.stderr

    config_file.write_text(right, encoding="utf-8")
    done = run_dag(config=str(config_file), command=recorded(tmp_path), address=jobs_address)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(calls(tmp_path)) == 1 + len(STAGES)
    assert dataset(tmp_path / "run").num_rows
    assert (tmp_path / "run" / "report" / "report.html").is_file()
