"""`make cluster-demo` does what it says, and leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


def servers() -> set[int]:
    names = {"raylet", "gcs_server", "weed"}
    return {process.pid for process in psutil.process_iter(["name"]) if process.info["name"] in names}


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_submits_watches_checks_and_takes_everything_down() -> None:
    before = servers()
    make = ["make", "-o", ".venv/.installed", f"BIN={Path(sys.executable).parent}", "cluster-demo"]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ray job submit --working-dir . -- hardneg mine configs/cluster_demo.yaml" in done.stdout
    assert "s3://hardneg/run: running on ray" in done.stdout
    assert "s3://hardneg/run: complete on ray" in done.stdout
    assert "the same from the cluster and from one process" in done.stdout
    assert not servers() - before
