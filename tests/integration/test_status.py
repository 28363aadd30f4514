"""`hardneg status` while another process works on the run, after that was killed, and after the run is complete."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest

from infra.local.object_store import ObjectStore
from tests.integration.conftest import Collection, configuration, write_configuration

SECONDS_TO_WAIT = 60


def hardneg(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipelines.cli", *arguments]


def status_of(run: str) -> dict[str, Any]:
    done = subprocess.run(hardneg("status", run, "--json"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_run_is_watched_from_outside(
    collection: Collection,
    static_model: Path,
    object_store: ObjectStore,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in object_store.environment().items():
        monkeypatch.setenv(name, value)
    run = f"{bucket}/run"
    config = write_configuration(tmp_path, configuration(run, collection, static_model, data={"partition_rows": 4}))

    working = subprocess.Popen(hardneg("mine", str(config), "--engine", "local"), stderr=subprocess.DEVNULL)
    fs, root = fsspec.core.url_to_fs(run, use_listings_cache=False)
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while len(fs.glob(f"{root}/encode/*/_units/encode/*/*.json")) < 1:
        assert working.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running = status_of(run)
    working.kill()
    working.wait()
    stopped = status_of(run)
    subprocess.run(hardneg("mine", str(config), "--engine", "local"), check=True, capture_output=True)
    complete = status_of(str(config))

    assert (running["state"], running["engine"]) == ("running", "local")
    assert running["holder"].endswith(f"/{working.pid}")
    assert running["stages"]["prepare/corpus"]["rows_out"] == len(collection.documents)
    step = running["stages"]["encode"]["steps"]["encode"]
    assert step["units"] == -(-len(collection.documents) // 4) + len(collection.queries) // 4
    assert 1 <= step["done"] < step["units"]
    assert running["stages"]["export"] == {"state": "waiting"}
    assert stopped["state"] == "stopped"
    assert complete["state"] == "complete"
    assert complete["holder"] is None
    assert all(stage["state"] == "complete" for stage in complete["stages"].values())
