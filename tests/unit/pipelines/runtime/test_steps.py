"""Why a worker failed, as it is carried to the command: its kind and its text, of this attempt alone."""

import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from operators.errors import InputError, TransientError
from pipelines.runtime.steps import Commits, Step, StepProgress
from pipelines.runtime.storage.records import DamagedError
from pipelines.runtime.storage.run_directory import StageFolder

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
    assert step.pop_failure() is None
    fail(step, failure)
    carried = step.pop_failure()
    assert (type(carried), str(carried)) == (type(failure), str(failure))
    assert step.pop_failure() is None


def test_a_late_worker_of_another_attempt_is_ignored(folder: StageFolder) -> None:
    """It is still at work when the next attempt has begun, and fails when that fails for another reason."""
    late, now = Step(folder, "step"), Step(folder, "step")
    fail(late, InputError("an old refusal"))
    assert now.pop_failure() is None
    fail(late, InputError("an old refusal"))
    fail(now, TransientError("the disk is full"))
    assert str(now.pop_failure()) == "the disk is full"
    assert folder.names("_units/step") == []


def test_a_unit_is_done_while_its_files_are_there(folder: StageFolder) -> None:
    step = Step(folder, "step")

    def write(unit: str) -> dict[str, Any]:
        return {"file": folder.write_bytes(f"{unit}.npy", b"123"), "rows_out": 1}

    with step.committing("one") as commits:
        for unit in ("one", "two"):
            commits.once(unit, partial(write, unit))
    assert StepProgress(step, frozenset({"one", "two"})).done.keys() == {"one", "two"}
    folder.write_bytes("one.npy", b"12")
    progress = StepProgress(step, frozenset({"one", "two"}))
    assert progress.done.keys() == {"two"}
    progress.refresh()
    assert progress.done.keys() == {"two"}
    with step.committing("one") as commits:
        assert commits.done.keys() == {"two"}
        commits.once("one", partial(write, "one"))
    progress.refresh()
    assert {name: stats["found"] for name, stats in progress.done.items()} == {"one": False, "two": True}


def test_units_before_a_failure_are_committed_and_none_is_done_twice(folder: StageFolder) -> None:
    step, asked = Step(folder, "step"), list[str]()

    def work(unit: str, fails: bool) -> dict[str, Any]:
        asked.append(unit)
        if fails:
            raise TransientError("no memory")
        return {"rows_out": 1}

    for failing in ("3", ""):
        with suppress(TransientError), step.committing("0") as commits:
            for unit in map(str, range(5)):
                commits.once(unit, partial(work, unit, unit == failing))
    assert asked == ["0", "1", "2", "3", "3", "4"]
    progress = StepProgress(step, frozenset(map(str, range(5))))
    assert len(progress.done) == 5


def test_long_units_are_committed_one_by_one_and_short_ones_together(
    folder: StageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, pause in (("long", 0.0), ("short", 60.0)):
        monkeypatch.setattr("pipelines.runtime.steps.SECONDS_BETWEEN_COMMITS", pause)
        monkeypatch.setattr("pipelines.runtime.steps.COMMITS_APART", 0)
        with Step(folder, name).committing("0") as commits:
            for unit in range(6):
                commits.once(str(unit), dict)
    assert [len(folder.unit_records(name)) for name in ("long", "short")] == [6, 1]


@pytest.mark.parametrize(("commit", "least", "most"), [(0.002, 0.04, 5), (0.3, 5, 5)])
def test_the_next_commit_waits_for_twenty_times_the_seconds_of_the_last_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit: float, least: float, most: float
) -> None:
    class Slow(StageFolder):
        def commit_units(self, step: str, batch: str, units: Mapping[str, Mapping[str, Any]]) -> None:
            time.sleep(commit)
            super().commit_units(step, batch, units)

    monkeypatch.setattr("pipelines.runtime.steps.SECONDS_BETWEEN_COMMITS", 0.0)
    monkeypatch.setattr("pipelines.runtime.steps.SECONDS_AT_MOST", 5)
    commits = Commits(Step(Slow(str(tmp_path / "stage")), "step"), "0")
    commits.once("0", dict)
    assert least <= commits.pause <= most
    commits.once("1", dict)
    assert commits.waiting.keys() == {"1"}


def test_a_damaged_record_costs_its_units_alone(folder: StageFolder) -> None:
    step = Step(folder, "step")
    for batch in ("0", "3"):
        with step.committing(batch) as commits:
            for unit in range(int(batch), int(batch) + 3):
                commits.once(str(unit), dict)
    (first, _) = folder.unit_records("step")
    folder.write_bytes(first, folder.read_bytes(first)[:-2])
    assert StepProgress(step, frozenset(map(str, range(6)))).done.keys() == {"3", "4", "5"}
    assert first not in folder.found("_units")


def test_a_unit_whose_file_was_removed_is_seen_when_it_is_done_again(folder: StageFolder) -> None:
    step = Step(folder, "step")

    def write() -> dict[str, Any]:
        return {"file": folder.write_bytes("one.npy", b"123"), "rows_out": 1}

    for _ in range(2):
        progress = StepProgress(step, frozenset({"one"}))
        with step.committing("one") as commits:
            commits.once("one", write)
        progress.refresh()
        assert progress.done.keys() == {"one"}
        folder.remove("one.npy")
