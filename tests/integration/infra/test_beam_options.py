"""Beam's options: read by the runners' own classes; and the package that workers install."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options import pipeline_options as beam
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.portability.stager import Stager
from apache_beam.transforms.environments import DockerEnvironment, Environment

from tests.integration.infra.conftest import INFRA, ROOT, modules, package

EVERY = [beam.StandardOptions, beam.SetupOptions, beam.PortableOptions, beam.DebugOptions]
KNOWN = {
    "dataflow": [*EVERY, beam.GoogleCloudOptions, beam.WorkerOptions],
    "flink": [*EVERY, beam.JobServerOptions, beam.FlinkRunnerOptions],
    "spark": [*EVERY, beam.JobServerOptions, beam.SparkRunnerOptions],
}
IMAGE = "registry.example/hardneg:beam"


def flags(runner: str) -> list[str]:
    """The options as the shell of the command in the README gives them."""
    path = INFRA / "beam" / f"{runner}.options"
    command = path.read_text(encoding="utf-8").splitlines()[0].partition("$(")[2].removesuffix(")")
    assert command in (INFRA / "beam" / "README.md").read_text(encoding="utf-8")
    return subprocess.run(command, shell=True, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()


def unknown(runner: str, given: list[str]) -> list[str]:
    parser = beam._BeamArgumentParser(allow_abbrev=False)
    for options in KNOWN[runner]:
        options._add_argparse_args(parser)
    return list(parser.parse_known_args(given)[1])


@pytest.mark.parametrize("runner", KNOWN)
def test_the_runner_knows_every_option(runner: str) -> None:
    given = flags(runner)
    assert len(given) > 5
    assert all(re.fullmatch(r"--[a-z_]+(=\S+)?", flag) for flag in given)
    assert not unknown(runner, given)
    misspelt = [given[1].replace("--", "--the_"), *given]
    assert unknown(runner, misspelt) == misspelt[:1]


@pytest.mark.parametrize("runner", ["flink", "spark"])
def test_workers_are_started_from_the_image(runner: str) -> None:
    options = beam.PipelineOptions(flags(runner)).view_as(beam.PortableOptions)
    environment = Environment.get_env_cls_from_urn("beam:env:docker:v1").from_options(options)
    assert isinstance(environment, DockerEnvironment)
    assert environment.container_image == IMAGE
    assert options.view_as(beam.StandardOptions).runner.lower() == f"{runner}runner"


class DataflowRunner:
    """The validator asks for a runner's name alone."""


def errors(given: list[str]) -> list[str]:
    validator: Any = PipelineOptionsValidator
    return list(validator(beam.PipelineOptions(given), DataflowRunner()).validate())


def test_dataflow_gets_all_its_options() -> None:
    given = flags("dataflow")
    assert not errors(given)
    assert beam.PipelineOptions(given).view_as(beam.WorkerOptions).sdk_container_image == IMAGE
    (error,) = errors([flag for flag in given if not flag.startswith("--project")])
    assert "project" in error


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from a copy of the project."""
    folder = tmp_path_factory.mktemp("package")
    left = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "runs", "build", "dist")
    shutil.copytree(ROOT, folder / "project", ignore=left)
    return package("sdist", folder / "project", folder / "dist")


def test_the_package_is_whole_and_installs_and_imports(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in names if re.match(r"(operators|pipelines)/.*\.py$", name)} == modules(ROOT)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", str(tmp_path / "target"), str(sdist)], check=True, capture_output=True)
    looks = "import operators, pipelines.cli, pipelines.run; print(operators.__file__, pipelines.cli.__file__)"
    paths = subprocess.run(
        [sys.executable, "-c", looks],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "target")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert [str(Path(path).relative_to(tmp_path / "target")) for path in paths] == [
        "operators/__init__.py",
        "pipelines/cli.py",
    ]


def test_beam_stages_the_package(sdist: Path, tmp_path: Path) -> None:
    options = beam.PipelineOptions([f"--extra_package={sdist}", "--sdk_location=container"])
    staged = Stager.create_job_resources(options, str(tmp_path))
    assert any(sdist.name.encode() in resource.role_payload for resource in staged)
    named = (INFRA / "beam" / "README.md").read_text(encoding="utf-8")
    assert f"dist/{sdist.name}" in named
