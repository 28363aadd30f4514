"""A pipeline of small stages: what is reused, what is checked when, and what a refusal leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from operators.errors import InputError
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.engines.local import LocalEngine
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.pipeline import Outcome, Pipeline
from pipelines.runtime.plan import describe
from pipelines.runtime.progress import Progress
from pipelines.runtime.stage import Stage, Summary
from pipelines.runtime.storage.run_directory import RunDirectory, StageFolder


@dataclass(frozen=True)
class Number(Stage):
    """Writes the sum of its inputs and of its own value."""

    name: str
    value: int
    inputs: tuple[str, ...] = ()
    kept_when_refused: bool = True
    checked_after: tuple[str, ...] = ()
    refuses: bool = False
    refused_by_check: bool = False
    log: list[str] = field(default_factory=list)

    def settings(self) -> Mapping[str, Any]:
        return {"value": self.value}

    def check(self, outputs: Mapping[str, StageOutput]) -> None:
        self.log.append(f"check {self.name} after {', '.join(sorted(outputs))}")
        if self.refused_by_check:
            raise InputError(f"{self.name} refuses.")

    def run(self, execution: Execution) -> Summary:
        self.log.append(f"run {self.name}")
        before = sum(one.manifest["total"] for one in execution.inputs.values())

        def work(unit: Unit) -> Stats:
            if self.refuses:
                raise InputError(f"{self.name} refuses.")
            return {"file": write(execution.folder, unit.args["total"])}

        (stats,) = execution.map("write", lambda: work, [Unit("one", {"total": before + self.value})])
        return Summary(1, 1, {"number": [stats["file"]]}, facts={"total": before + self.value}, temporary=["unused"])


def write(folder: StageFolder, total: int) -> dict[str, Any]:
    folder.write_table("unused/part-00000.parquet", pa.table({"number": [0]}))
    return folder.write_table("part-00000.parquet", pa.table({"number": [total]}))


def refuses(name: str, value: int, how: str) -> Number:
    """A stage that refuses its input when it runs, or when it looks at what is complete."""
    when = {"refuses": how == "refuses", "refused_by_check": how == "refused_by_check"}
    return replace(Number(name, value, ("cheap",), checked_after=("cheap",)), **when)  # type: ignore[arg-type]


def pipeline(place: Path, stages: Sequence[Stage]) -> Pipeline:
    return Pipeline(stages, RunDirectory(str(place)))


def ran(made: Pipeline, until: str) -> Outcome:
    return made.run(until, LocalEngine(), Progress())


def files(place: Path) -> set[str]:
    return {str(path.relative_to(place)).split("/")[0] for path in place.rglob("*") if path.is_file()}


def test_only_what_depends_on_a_change_runs_again(tmp_path: Path) -> None:
    log: list[str] = []

    def stages(second: int) -> list[Stage]:
        return [
            Number("first", 1, log=log),
            Number("second", second, ("first",), log=log),
            Number("third", 3, ("second",), log=log),
            Number("other", 4, ("first",), log=log),
        ]

    outcome = ran(pipeline(tmp_path, stages(2)), "other")
    assert {name: one.manifest["total"] for name, one in outcome.completed.items()} == {
        "first": 1,
        "second": 3,
        "third": 6,
        "other": 5,
    }
    assert not list(tmp_path.rglob("unused")), "temporary folders go when the stage is complete"
    log.clear()
    again = ran(pipeline(tmp_path, stages(5)), "other")
    assert log == ["run second", "run third"]
    assert again.reused == {"first": True, "second": False, "third": False, "other": True}
    assert again.completed["third"].manifest["total"] == 9
    states = {name: one["state"] for name, one in describe(pipeline(tmp_path, stages(6))).items()}
    assert states == {"first": "reuse", "second": "run", "third": "run", "other": "reuse"}


def test_a_stage_whose_file_is_gone_runs_again(tmp_path: Path) -> None:
    log: list[str] = []
    made = [Number("first", 1, log=log), Number("second", 2, ("first",), log=log)]
    ran(pipeline(tmp_path, made), "second")
    (file,) = tmp_path.glob("second/*/part-00000.parquet")
    file.unlink()
    log.clear()
    ran(pipeline(tmp_path, made), "second")
    assert log == ["run second"]
    assert file.exists()


def test_a_check_comes_as_soon_as_what_it_looks_at_is_complete(tmp_path: Path) -> None:
    log: list[str] = []
    made = [
        Number("cheap/a", 1, log=log),
        Number("cheap/b", 2, log=log),
        Number("long", 3, ("cheap/a",), log=log),
        Number("last", 4, ("long",), checked_after=("cheap/a", "cheap/b", "left out"), log=log),
    ]
    ran(pipeline(tmp_path, made), "last")
    assert log == ["run cheap/a", "run cheap/b", "check last after cheap/a, cheap/b", "run long", "run last"]


def test_a_group_is_all_of_its_stages(tmp_path: Path) -> None:
    made = [Number("group/a", 1), Number("group/b", 2), Number("last", 3)]
    assert list(ran(pipeline(tmp_path, made), "group").completed) == ["group/a", "group/b"]


@pytest.mark.parametrize("how", ["refuses", "refused_by_check"])
def test_a_refusal_leaves_nothing_of_a_run_that_had_only_cheap_output(tmp_path: Path, how: str) -> None:
    cheap = Number("cheap", 1, kept_when_refused=False)
    refusing = refuses("last", 2, how)
    with pytest.raises(InputError, match="last refuses"):
        ran(pipeline(tmp_path, [cheap, refusing]), "last")
    assert not files(tmp_path)


@pytest.mark.parametrize("how", ["refuses", "refused_by_check"])
def test_a_refusal_leaves_what_was_there_and_what_cost_much(tmp_path: Path, how: str) -> None:
    cheap, costly = Number("cheap", 1, kept_when_refused=False), Number("costly", 2, ("cheap",))
    ran(pipeline(tmp_path / "before", [cheap]), "cheap")
    refusing = refuses("last", 3, how)
    with pytest.raises(InputError):
        ran(pipeline(tmp_path / "before", [cheap, refusing]), "last")
    assert "cheap" in files(tmp_path / "before")

    late = Number("last", 3, ("costly",), refuses=True)
    with pytest.raises(InputError):
        ran(pipeline(tmp_path / "costly", [cheap, costly, late]), "last")
    assert {"cheap", "costly"} <= files(tmp_path / "costly")
    assert "last" not in files(tmp_path / "costly")


def test_what_is_not_complete_is_named_with_the_command(tmp_path: Path) -> None:
    made = pipeline(tmp_path, [Number("first", 1), Number("second", 2, ("first",))])
    with pytest.raises(InputError, match=r"first is not complete.*--until second"):
        made.check_complete("second")
    ran(made, "second")
    made.check_complete("second")


def test_files_of_others_stay_when_a_refusal_clears(tmp_path: Path) -> None:
    cheap = Number("cheap", 1, kept_when_refused=False)
    refusing = Number("last", 2, ("cheap",), refuses=True)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError):
        ran(pipeline(tmp_path, [cheap, refusing]), "last")
    assert files(tmp_path) == {"notes.txt"}
