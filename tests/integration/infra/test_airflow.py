"""The Airflow DAG, run by Airflow in an environment of its own."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.run import run
from pipelines.span import STAGES
from tests.integration.conftest import Collection, configuration, dataset
from tests.integration.infra.conftest import INFRA, ROOT, calls, environment, recorded
from tests.integration.test_cluster import free_port, tree, waited_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

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


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address that takes the jobs of a Ray node."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    ports = {name: free_port() for name in ("port", "ray-client-server-port", "dashboard-port")}
    ports |= {name: free_port() for name in ("dashboard-agent-listen-port", "dashboard-agent-grpc-port")}
    # Not pytest's folder: the path of a Unix socket has 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
        command += ["--num-cpus=1", "--object-store-memory=150000000", f"--temp-dir={folder}"]
        command += ["--include-dashboard=true", *(f"--{name}={port}" for name, port in ports.items())]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as node:
            below = []
            try:
                address = f"http://127.0.0.1:{ports['dashboard-port']}"
                assert waited_for(lambda: answers(f"{address}/api/version"), 60)
                yield address
            finally:
                below = tree(node.pid)
                node.terminate()
        waited_for(lambda: not any(process.is_running() for process in below), 20)
        for left in below:
            if left.is_running():
                left.kill()


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
    run_dag: RunDag, dashboard: str, config_file: Path, tmp_path: Path
) -> None:
    right = config_file.read_text(encoding="utf-8")
    config_file.write_text(right + "no_such_key: 1\n", encoding="utf-8")
    refused = run_dag(config=str(config_file), command=recorded(tmp_path), address=dashboard)
    assert refused.returncode != 0
    assert len(calls(tmp_path)) == 1, "the exit status of the job is not that of `ray job submit`"
    assert "no_such_key" in refused.stdout + refused.stderr

    config_file.write_text(right, encoding="utf-8")
    done = run_dag(config=str(config_file), command=recorded(tmp_path), address=dashboard)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(calls(tmp_path)) == 1 + len(STAGES)
    assert dataset(tmp_path / "run").num_rows
    assert (tmp_path / "run" / "report" / "report.html").is_file()
