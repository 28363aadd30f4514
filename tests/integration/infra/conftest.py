"""What the tests of infra/ share: the folder, its files, packages of the project, and environments of their own."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
INFRA = ROOT / "infra"
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, f'build_{sys.argv[1]}')(sys.argv[2])"


def documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def package(kind: str, tree: Path, target: Path) -> Path:
    """Build an `sdist` or a `wheel` of a tree with what is installed."""
    target.mkdir()
    subprocess.run([sys.executable, "-c", BUILD, kind, str(target)], cwd=tree, check=True, capture_output=True)
    (built,) = target.iterdir()
    return built


def modules(root: Path) -> set[str]:
    """The modules of the project, as paths below the root."""
    return {
        str(path.relative_to(root)) for package in ("operators", "pipelines") for path in (root / package).rglob("*.py")
    }


def environment(name: str, requirements: list[str], cache: pytest.Cache) -> Path:
    """The folder of commands of an environment of its own, made once per cache."""
    folder = cache.mkdir(f"environment-{name}")
    complete = folder / "complete"
    if not (complete.exists() and complete.read_text(encoding="utf-8").split() == requirements):
        shutil.rmtree(folder / "venv", ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, capture_output=True)
        install = [str(folder / "venv" / "bin" / "pip"), "install", "--quiet", *requirements]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{requirements} cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
        complete.write_text(" ".join(requirements), encoding="utf-8")
    return folder / "venv" / "bin"


RECORD = """
import json, pathlib, subprocess, sys
folder, fails_once, *arguments = sys.argv[1:]
calls = pathlib.Path(folder) / "calls"
before = calls.read_text().splitlines() if calls.exists() else []
calls.write_text("".join(line + "\\n" for line in [*before, json.dumps(arguments)]))
if fails_once in arguments and not any(fails_once in json.loads(line) for line in before):
    sys.exit(1)
sys.exit(subprocess.run([sys.executable, "-m", "pipelines.cli", *arguments]).returncode)
"""


def recorded(folder: Path, fails_once: str = "-") -> str:
    """How to call `hardneg` so that the folder keeps what it was called with; one stage fails the first time."""
    program = folder / "hardneg.py"
    program.write_text(RECORD, encoding="utf-8")
    return shlex.join([sys.executable, str(program), str(folder), fails_once])


def calls(folder: Path) -> list[list[str]]:
    """What `hardneg` was called with."""
    return [json.loads(line) for line in (folder / "calls").read_text(encoding="utf-8").splitlines()]
