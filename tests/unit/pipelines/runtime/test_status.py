"""The status of a run from its directory alone, against a directory whose times are known."""

import os
from pathlib import Path
from typing import Any

import pytest

from operators.errors import InputError
from pipelines.runtime.status import rows_per_second, status
from pipelines.runtime.storage.lease import hold_lease
from pipelines.runtime.storage.run_directory import RunDirectory, StageFolder

BEGAN = 1_700_000_000


def begun(folder: StageFolder, units: int, done_before: int, done_at: list[float]) -> None:
    """A step that began at BEGAN, with a unit for every second after it; those done before it are older."""
    folder.begin_step("step", units, done_before)
    os.utime(folder.path("_units/step.json"), (BEGAN, BEGAN))
    for number, at in enumerate([-5.0] * done_before + done_at):
        folder.commit_units("step", f"{number}", {str(number): {"rows_out": 1}})
        (record,) = folder.unit_records("step", f"{number}")
        os.utime(folder.path(record), (BEGAN + at, BEGAN + at))


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(str(tmp_path))
    first, second, third = (run.stage(name, "0123") for name in ("prepare/corpus", "encode", "select"))
    run.write_stage_list("local", [("prepare/corpus", first), ("encode", second), ("select", third)])
    first.commit({"rows_in": 8, "rows_out": 7, "seconds": 2.0})
    begun(second, units=20, done_before=3, done_at=[1.0, 2.0, 3.0, 4.0])
    return run


def test_rates_and_the_time_left_are_those_since_the_step_went_on(directory: RunDirectory) -> None:
    found = status(directory)
    assert found["stages"] == {
        "prepare/corpus": {"state": "complete", "rows_in": 8, "rows_out": 7, "seconds": 2.0, "rows_per_second": 3.5},
        "encode": {
            "state": "begun",
            "steps": {"step": {"units": 20, "done": 7, "per_second": 1.0, "seconds_left": 13, "rows_in_work": 0}},
        },
        "select": {"state": "waiting"},
    }
    assert (found["state"], found["engine"], found["holder"]) == ("stopped", "local", None)


def test_whoever_holds_the_run_directory_is_named(directory: RunDirectory) -> None:
    with hold_lease(directory, "local"):
        found = status(directory)
    assert found["state"] == "running"
    assert found["holder"].endswith(f"/{os.getpid()}")
    assert 0 <= found["silent"] < 5


def test_a_run_with_every_manifest_is_complete(directory: RunDirectory) -> None:
    for name in ("encode", "select"):
        directory.stage(name, "0123").commit({"rows_in": 7, "rows_out": 7, "seconds": 1.0})
    assert status(directory)["state"] == "complete"


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run has begun here"):
        status(RunDirectory(str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    ("manifest", "rate"),
    [
        ({"rows_out": 100, "seconds": 2.0}, 50.0),
        ({"rows_out": 100, "seconds": 2.0, "resumed": True}, None),
        ({"rows_out": 100, "seconds": 2.0, "rows_reused": 60, "resumed": True}, 20.0),
        (
            {
                "rows_out": 100,
                "seconds": 0.001,
                "rows": {"corpus": {"rows_reused": 80}, "queries": {"rows_reused": 20}},
            },
            None,
        ),
        (
            {"rows_out": 100, "seconds": 0.5, "rows": {"corpus": {"rows_reused": 80}, "queries": {"rows_reused": 0}}},
            40.0,
        ),
        ({"rows_out": 0, "seconds": 2.0, "rows": {"triplet": 0}}, None),
        ({"rows_out": 5, "seconds": 0.0}, None),
    ],
)
def test_a_rate_is_of_what_was_done_in_those_seconds(manifest: dict[str, Any], rate: float | None) -> None:
    assert rows_per_second(manifest) == rate
