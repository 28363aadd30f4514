"""A disk that is full: exit status 1 and one line, wherever it shows first, and nothing half written stays."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.integration.vector_sources import vector_config, vector_sources


@pytest.mark.parametrize("blocks", [0, 1, 4])
def test_a_full_disk_may_pass(tmp_path: Path, blocks: int) -> None:
    (tmp_path / "sources").mkdir()
    config = vector_config(tmp_path / "run", vector_sources(tmp_path / "sources"))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    command = shlex.join([sys.executable, "-m", "pipelines.cli", "mine", str(tmp_path / "config.yaml")])
    limited = ["bash", "-c", f"ulimit -f {blocks}; exec {command}"]
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("hardneg: File too large")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.unfinished"))
    assert (tmp_path / "run").exists() == (blocks > 0)
    assert subprocess.run(shlex.split(command), capture_output=True, check=False).returncode == 0
