"""The image: what hadolint says of it, and that what is copied into it is enough to install from."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.integration.infra.conftest import INFRA, ROOT, modules, package

DOCKERFILE = INFRA / "image" / "Dockerfile"
TEXT = DOCKERFILE.read_text(encoding="utf-8")
COPIED = [source for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.M) for source in line.split()[:-1]]


def hadolint(path: Path) -> "subprocess.CompletedProcess[str]":
    found = Path(sys.executable).with_name("hadolint")
    if not found.exists():
        pytest.skip("hadolint is not installed")
    command = [str(found), "--no-color", "--failure-threshold", "style", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_hadolint_has_nothing_to_say() -> None:
    done = hadolint(DOCKERFILE)
    assert done.returncode == 0, done.stdout


def test_hadolint_would_say_it(tmp_path: Path) -> None:
    floating = tmp_path / "Dockerfile"
    floating.write_text(re.sub(r"python:[\w.-]+", "python:latest", TEXT), encoding="utf-8")
    assert "DL3007" in hadolint(floating).stdout


def test_bases_are_pinned_and_no_stage_that_runs_is_root() -> None:
    bases = re.findall(r"^FROM (\S+) AS (\S+)$", TEXT, re.M)
    stages = {stage for _, stage in bases}
    assert len(bases) == len(re.findall(r"^FROM", TEXT, re.M))
    for base, _ in bases:
        assert base in stages or re.search(r":\d+\.\d+\.\d+", base), base
    users = re.findall(r"^USER (\S+)$", TEXT, re.M)
    assert users
    assert set(users) == {"1000"}


def test_what_is_copied_is_let_through_and_installs_whole(tmp_path: Path) -> None:
    let_through = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{source}" for source in COPIED} <= set(let_through)
    tree = tmp_path / "tree"
    tree.mkdir()
    for source in COPIED:
        path = ROOT / source
        if path.is_dir():
            shutil.copytree(path, tree / source)
        else:
            shutil.copy(path, tree)
    wheel = package("wheel", tree, tmp_path / "dist")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if name.endswith(".py")} == {*modules(ROOT), "hardneg.py"}
    assert "pipelines/reports/report.html" in names


def test_the_lock_names_the_wheels_that_the_arguments_change() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    beam = re.search(r"^apache-beam==(\S+)$", lock, re.M)
    assert beam is not None
    assert f"apache/beam_python3.11_sdk:{beam[1]} " in TEXT
    assert len(re.findall(r"^faiss-cpu==\S+$", lock, re.M)) == 1
    assert re.search(r"^setuptools==", lock, re.M), "the image builds without an environment of its own"


def test_the_line_that_fetches_the_model_is_a_program(minilm: Path) -> None:
    (program,) = re.findall(r'^RUN python -c "(.+)" "\$\{MODEL\}"$', TEXT, re.M)
    subprocess.run([sys.executable, "-c", program, str(minilm)], cwd=ROOT, check=True)
    nowhere = subprocess.run([sys.executable, "-c", program, "./nowhere"], cwd=ROOT, capture_output=True, check=False)
    assert nowhere.returncode != 0, "an image without its model is not made"
