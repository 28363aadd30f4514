"""The report of a run, as JSON and as a page: what each stage did, what was dropped and why, and what stages add."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipelines.reports.charts import histogram, scatter
from pipelines.runtime.pipeline import Outcome, Pipeline
from pipelines.runtime.stage import Section, Stage
from pipelines.runtime.stage_range import REPORT

COUNTS = ("rows_in", "rows_out", "seconds")
MORE = ("rows_reused", "compute_seconds", "rows")


def write_report(pipeline: Pipeline, outcome: Outcome, configuration: Mapping[str, Any]) -> str:
    """Write `<run>/report/report.json` and `report.html`; return the URI of the latter.

    Args:
        pipeline: all of whose stages are complete.
        outcome: of its run.
        configuration: of the run, with every default.
    """
    run = pipeline.run_directory
    sections = [stage.report(outcome.completed) for stage in pipeline.stages]
    facts: dict[str, Any] = {
        "configuration": configuration,
        "stages": stage_facts(outcome),
        "dropped": dropped(pipeline.stages, outcome),
        "warnings": [
            f"{stage.name}: {line}"
            for stage in pipeline.stages
            for line in stage.warnings(outcome.completed[stage.name].manifest)
        ],
    }
    for section in sections:
        _merge(facts, section.facts)
    run.write_json(f"{REPORT}/report.json", facts)
    run.write_bytes(f"{REPORT}/report.html", _page(facts, sections).encode())
    return f"{run.uri.rstrip('/')}/{REPORT}/report.html"


def stage_facts(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Return what the stages of a run did: name -> {rows_in, rows_out, seconds, reused}.

    `rows_reused` of a stage are those that had been done before, for a smaller input or by a run that was killed;
    `compute_seconds` is the time inside of models and libraries. A group of stages, whose names agree up to a slash, is
    one entry that has these as `sides`; the rest is their sum; `reused` where all are.
    """
    stages: dict[str, dict[str, Any]] = {}
    for name, completed in outcome.completed.items():
        more = {key: completed.manifest[key] for key in MORE if key in completed.manifest}
        one = {**{key: completed.manifest[key] for key in COUNTS}, "reused": outcome.reused[name], **more}
        stage, _, side = name.partition("/")
        if not side:
            stages[stage] = one
            continue
        both = stages.setdefault(stage, {**dict.fromkeys(COUNTS, 0), "reused": True, "sides": {}})
        summed = [key for key in (*COUNTS, "compute_seconds") if key in one]
        both.update({key: round(both.get(key, 0) + one[key], 3) for key in summed})
        both["reused"] = both["reused"] and one["reused"]
        both["sides"][side] = one
    return stages


def lines_of(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a name and its facts for every line of a table of stages: each side of a stage that has sides."""
    for name, one in stages.items():
        if "sides" in one:
            yield from ((f"{name} {side}", facts_of_side) for side, facts_of_side in one["sides"].items())
        else:
            yield name, one


def dropped(stages: Sequence[Stage], outcome: Outcome) -> dict[str, int]:
    """Return what was dropped in all complete stages, by reason, with the prefix of the stage."""
    counts: dict[str, int] = {}
    for stage in stages:
        if stage.name not in outcome.completed:
            continue
        for reason, count in outcome.completed[stage.name].manifest["dropped"].items():
            name = stage.dropped_prefix + reason
            counts[name] = counts.get(name, 0) + count
    return counts


def _merge(facts: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add facts; mappings under the same key are merged."""
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(facts.get(key), dict):
            _merge(facts[key], value)
        else:
            facts[key] = dict(value) if isinstance(value, Mapping) else value


def _page(facts: Mapping[str, Any], sections: Sequence[Section]) -> str:
    template = Environment(
        loader=PackageLoader("pipelines.reports", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("report.html")
    return template.render(
        run=facts["configuration"]["run"],
        sentences=[line for section in sections for line in section.sentences],
        warnings=facts["warnings"],
        figures=[
            {
                "title": figure.title,
                "chart": (histogram(figure.histogram) if figure.histogram else "")
                + (scatter(figure.scatter) if figure.scatter else ""),
                "table": figure.table,
            }
            for section in sections
            for figure in section.figures
        ],
        stages=list(lines_of(facts["stages"])),
        dropped=facts["dropped"],
        configuration=json.dumps(facts["configuration"], indent=2),
    )
