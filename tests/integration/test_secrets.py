"""Nothing that a run writes or says has a key in it: not the run directory, not its output, not the engine's logs."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.object_store import Identity, ObjectStore
from tests.integration.conftest import Collection, configuration

SECONDS_TO_RUN = 200
ENGINES = {
    "local": ["--engine", "local"],
    "ray": ["--engine", "ray", "--set", "engine.workers=2"],
    "beam": ["--engine", "beam"],
    "beam on two processes": ["--engine", "beam", "--set", "engine.workers=2"],
}


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder of a short path: that of a Unix socket, which Ray keeps in it, has 107 characters at most."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def keys_of(identity: Identity) -> list[bytes]:
    return [identity.key.encode(), identity.secret.encode()]


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True], ids=["whole", "failing"])
@pytest.mark.parametrize("given", ["environment", "configuration"])
@pytest.mark.parametrize("engine", ENGINES)
def test_no_key_is_written_down(
    *,
    collection: Collection,
    static_model: Path,
    object_store: ObjectStore,
    bucket: str,
    short_folder: Path,
    tmp_path: Path,
    engine: str,
    given: str,
    fails: bool,
) -> None:
    store, fs = object_store, object_store.file_system()
    fs.put(f"{collection.folder}/", f"{bucket}/beir/", recursive=True)
    if fails:  # on a worker: two texts under one id
        other = json.dumps({"_id": "d1", "title": "", "text": "another text"}).encode()
        fs.pipe_file(f"{bucket}/beir/corpus.jsonl", fs.cat_file(f"{bucket}/beir/corpus.jsonl") + other + b"\n")
    settings = configuration(f"{bucket}/run", None, static_model, data={"beir": f"{bucket}/beir"}).model_dump(
        mode="json"
    )
    environment = {**os.environ, "RAY_TMPDIR": str(short_folder)}
    if given == "environment":
        environment.update(store.environment())
    else:
        settings["storage_options"] = settings["data"]["storage_options"] = store.storage_options()
    settings["engine"]["cache"] = str(tmp_path / "cache")
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pipelines.cli", "mine", str(config), *ENGINES[engine], "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=SECONDS_TO_RUN)
    assert done.returncode == (2 if fails else 0), done.stderr.decode()

    everything = tmp_path / "everything"
    everything.mkdir()
    if not fails:
        fs.get(f"{bucket}/run", str(everything), recursive=True)
    logs = files_below(short_folder)
    written = {**files_below(everything), **logs, "output": done.stdout, "errors": done.stderr}
    assert fails or len(files_below(everything)) > 20
    assert bool(logs) == (engine == "ray")
    found = {name: key for name, text in written.items() for key in keys_of(store.admin) if key in text}
    assert not found
