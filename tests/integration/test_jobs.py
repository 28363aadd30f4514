"""`ray job submit` runs the checkout on a cluster: its code and its exit status, and the rows of the local engine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.ray_nodes import Cluster, Node, ray_cluster
from tests.integration.conftest import Collection, configuration, dataset, run, write_configuration

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
SECONDS_TO_RUN = 200
WHERE = "import json, os, pipelines; print(json.dumps([os.getcwd(), pipelines.__file__, os.listdir()]))"
SMALL: dict[str, Any] = {"index": {"factory": "exact", "shard_rows": 128}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes; the head takes jobs, by a token that the others have too."""
    with ray_cluster([Node()] * 3, dashboard=True) as started:
        yield started


def job(cluster: Cluster, *command: str) -> tuple[int, str]:
    done = cluster.submit_job(ROOT, command, SECONDS_TO_RUN)
    return done.returncode, done.stdout


def written(folder: Path, collection: Collection, model: Path, **sections: Any) -> str:  # noqa: ANN401
    engine = {"name": "ray", "address": "auto", "workers": 3}
    config = configuration(folder / "run", collection, model, engine=engine, **sections)
    return str(write_configuration(folder, config))


def test_a_job_mines_the_rows_of_local(
    cluster: Cluster, collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    run(configuration(tmp_path / "local", collection, static_model, **SMALL))
    config = written(tmp_path, collection, static_model, **SMALL)
    status, output = job(cluster, "hardneg", "mine", config, "--json")
    assert status == 0, output
    (line,) = [line for line in output.splitlines() if line.startswith('{"run"')]
    assert json.loads(line)["engine"] == "ray"
    assert dataset(tmp_path / "run").equals(dataset(tmp_path / "local"))


def test_a_refused_configuration_fails_the_job_and_says_why(
    cluster: Cluster, collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    config = written(tmp_path, collection, static_model)
    status, output = job(cluster, "hardneg", "mine", config, "--set", "select.range_max=999")
    assert status == 1
    assert "select.range_max (999) is deeper than search.k (50) finds." in output
    assert "failed with exit code 2" in output
    assert not (tmp_path / "run").exists()


def test_a_job_runs_the_code_of_the_working_directory_and_takes_no_more_along(cluster: Cluster) -> None:
    status, output = job(cluster, "python", "-c", WHERE)
    assert status == 0, output
    (line,) = [line for line in output.splitlines() if line.startswith("[")]
    folder, module, there = json.loads(line)
    assert folder != str(ROOT)
    assert Path(module).is_relative_to(folder)
    assert {"configs", "operators", "pipelines"} <= set(there)
    assert not {".git", ".venv", "runs", "shared", ".mypy_cache"} & set(there)
