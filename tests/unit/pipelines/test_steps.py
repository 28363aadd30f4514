"""Why a worker failed, as it is carried to the command: its kind and its text, of this attempt alone."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from operators.errors import InputError, TransientError
from pipelines.steps import Step, StepProgress
from pipelines.storage.records import DamagedError
from pipelines.storage.run_directory import StageFolder

FAILURES = [
    InputError("corpus.jsonl, line 3: no text"),
    TransientError("not enough memory"),
    DamagedError("s3://bucket/run/encode/0123", "vectors/a.arrow", "the file is missing"),
]


@pytest.fixture
def folder(tmp_path: Path) -> StageFolder:
    return StageFolder(str(tmp_path / "stage"))


def fail(step: Step, failure: Exception) -> None:
    with pytest.raises(type(failure)), step.failing("unit"):
        raise failure


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_carried_with_its_kind(folder: StageFolder, failure: Exception) -> None:
    step = Step(folder, "step")
    assert step.take_failure() is None
    fail(step, failure)
    carried = step.take_failure()
    assert (type(carried), str(carried)) == (type(failure), str(failure))
    assert step.take_failure() is None


def test_a_late_worker_of_another_attempt_is_not_heard(folder: StageFolder) -> None:
    """It is still at work when the next attempt has begun, and fails when that fails for another reason."""
    late, now = Step(folder, "step"), Step(folder, "step")
    fail(late, InputError("an old refusal"))
    assert now.take_failure() is None
    fail(late, InputError("an old refusal"))
    fail(now, TransientError("the disk is full"))
    assert str(now.take_failure()) == "the disk is full"
    assert folder.names("_units/step") == []


def test_a_unit_is_done_while_its_files_are_there(folder: StageFolder) -> None:
    step = Step(folder, "step")

    def write(unit: str) -> dict[str, Any]:
        return {"file": folder.write_bytes(f"{unit}.npy", b"123"), "rows_out": 1}

    for unit in ("one", "two"):
        step.committed(unit, partial(write, unit))
    assert StepProgress(step, frozenset({"one", "two"})).done.keys() == {"one", "two"}
    folder.write_bytes("one.npy", b"12")
    progress = StepProgress(step, frozenset({"one", "two"}))
    assert progress.done.keys() == {"two"}
    progress.look()
    assert progress.done.keys() == {"two"}
    step.committed("one", partial(write, "one"))
    progress.look()
    assert {name: stats["found"] for name, stats in progress.done.items()} == {"one": False, "two": True}
