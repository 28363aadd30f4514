"""The report: what stages add is merged, groups are summed, and the page escapes what it shows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.reports.report import dropped, lines_of, stage_facts, write_report
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.pipeline import Outcome, Pipeline
from pipelines.runtime.stage import Figure, Histogram, Section, Stage, Summary
from pipelines.runtime.storage.run_directory import RunDirectory, StageFolder


@dataclass(frozen=True)
class WithFacts(Stage):
    """A stage that is complete, and adds to the report."""

    name: str
    facts: Mapping[str, Any]
    dropped_prefix: str = ""

    def settings(self) -> Mapping[str, Any]:
        return {}

    def run(self, execution: Execution) -> Summary:
        raise NotImplementedError

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        samples = {"a": np.array([0.5, 0.7], np.float32), "b": np.zeros(0, np.float32)}
        figure = Figure("Numbers", (["", "n"], [["a", 2]]), Histogram("x", samples))
        return Section(self.facts, [f"{self.name} <b>"], [figure])


def outcome(manifests: Mapping[str, Mapping[str, Any]]) -> Outcome:
    whole = {"rows_in": 10, "rows_out": 8, "seconds": 1.5, "dropped": {}}
    outputs = {name: StageOutput(StageFolder("none"), {**whole, **one}) for name, one in manifests.items()}
    return Outcome(outputs, {name: "again" in name for name in manifests})


def test_groups_are_summed_and_keep_their_sides() -> None:
    facts = stage_facts(outcome({"a/again": {"compute_seconds": 1.0}, "a/new": {"rows_reused": 3}, "b": {}}))
    assert list(facts) == ["a", "b"]
    assert (facts["a"]["rows_in"], facts["a"]["seconds"], facts["a"]["reused"]) == (20, 3.0, False)
    assert facts["a"]["compute_seconds"] == 1.0
    assert facts["a"]["sides"]["new"]["rows_reused"] == 3
    assert [name for name, _ in lines_of(facts)] == ["a again", "a new", "b"]


def test_reasons_are_added_up_under_the_prefix_of_the_stage() -> None:
    outcomes = outcome({"a": {"dropped": {"x": 1, "y": 2}}, "b": {"dropped": {"x": 4}}, "c": {"dropped": {"x": 8}}})
    stages = [WithFacts("a", {}), WithFacts("b", {}), WithFacts("c", {}, "document_"), WithFacts("not complete", {})]
    assert dropped(stages, outcomes) == {"x": 5, "y": 2, "document_x": 8}


def test_sections_are_merged_and_texts_escaped(tmp_path: Path) -> None:
    stages = [WithFacts("a", {"search": {"one": 1}, "n": 1}), WithFacts("b", {"search": {"two": 2}})]
    pipeline = Pipeline(stages, RunDirectory(str(tmp_path)))
    lost = {"dropped": {"<reason>": 9}}
    write_report(pipeline, outcome({"a": lost, "b": {}}), {"run": "<run>"})
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert report["search"] == {"one": 1, "two": 2}
    assert report["n"] == 1
    assert report["warnings"] == ["a: <reason> dropped 9 of 10 rows"]
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert "<reason>" not in page
    assert "&lt;reason&gt;" in page
    assert page.count("<svg") == 2
