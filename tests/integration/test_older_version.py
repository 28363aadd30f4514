"""Run directories that a version without checksums wrote, and folders that the latest run does not use."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from operators.errors import InputError
from pipelines.runtime.storage import run_directory
from pipelines.runtime.storage.run_directory import RunDirectory
from pipelines.runtime.verify import show, verify
from tests.integration.conftest import run
from tests.integration.vector_sources import vector_config, vector_sources


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return vector_sources(tmp_path_factory.mktemp("sources"))


def made_older(folder: Path) -> None:
    for record in folder.rglob("*.json"):
        if "report" not in record.parts and record.name != "config.json":
            value = json.loads(record.read_text(encoding="utf-8"))
            del value["record_xxh3"]
            record.write_text(json.dumps(value), encoding="utf-8")


def test_what_an_older_version_wrote_is_not_called_damaged(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as older:
        older.setattr(run_directory, "FORMAT", 2)
        run(vector_config(folder, data))
    made_older(folder)
    with pytest.raises(InputError, match="a version of hardneg that kept no checksums"):
        verify(RunDirectory(str(folder)))

    run(vector_config(folder, data))
    result = verify(RunDirectory(str(folder)))
    assert (result["state"], result["damaged"]) == ("whole", [])
    assert len(result["older"]) == 9
    assert list(show(result))[-1].startswith("An older version wrote encode/")
    for name in result["older"]:
        shutil.rmtree(folder / name)
    assert verify(RunDirectory(str(folder)))["older"] == []


def test_damage_that_the_latest_run_would_not_mend_is_named(data: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first, latest = vector_config(folder, data), vector_config(folder, data, select={"num_negatives": 2})
    run(first)
    (export,) = (folder / "export").iterdir()
    run(latest)
    (export / "triplet" / "train-00000-of-00002.parquet").unlink()
    run(latest)
    result = verify(RunDirectory(str(folder)))
    assert result["state"] == "damaged"
    assert result["other"] == [f"export/{export.name}"]
    assert f"does not use export/{export.name}" in list(show(result))[-1]
    shutil.rmtree(export)
    assert verify(RunDirectory(str(folder)))["state"] == "whole"
