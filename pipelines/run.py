"""Run a pipeline as a configuration says: what the command line does, for programs that do without it."""

import time
from typing import Any

from pipelines.reports.report import dropped, stage_facts, write_report
from pipelines.runtime.config import RunConfig, resolved
from pipelines.runtime.pipeline import Outcome, Pipeline
from pipelines.runtime.plan import describe
from pipelines.runtime.progress import Progress
from pipelines.runtime.resources import PeakMemory
from pipelines.runtime.session import Session, build, cluster_of, session
from pipelines.runtime.stage_range import StageRange


def run(config: RunConfig, first: str | None = None, until: str | None = None) -> dict[str, Any]:
    """Run the stages of a pipeline, or some of them; after all of them the report is written.

    Args:
        config: of the run.
        first: the group of stages before which nothing is run; what comes before must be complete.
        until: the group of stages after which nothing is run, or `report`.

    Returns:
        `run`, `engine`, `seconds`, `peak_rss_mib` (of this process and those it started, summed), `stages` (name ->
        {rows_in, rows_out, seconds, reused}), `dropped` (reason -> count) and `outputs` (name -> URI).

    Raises:
        InputError: the configuration or the input cannot be worked on, or what comes before `first` is not complete;
            nothing is written then.
        BusyError: another run is at work on the run directory.
        LostLeaseError: another run took it over, as nothing was heard of this one.
        StorageError: a storage failed; the same command goes on from there.
    """
    began = time.perf_counter()
    stages = StageRange(first, until, list(config.groups))
    with PeakMemory() as memory, session(config, lambda pipeline: _check_before(pipeline, stages)) as at_work:
        outcome, outputs = at_work.repaired(lambda: _run(at_work, stages))
    return {
        "run": config.run,
        "engine": config.engine.name,
        "seconds": round(time.perf_counter() - began, 2),
        "peak_rss_mib": memory.peak_mib,
        "stages": stage_facts(outcome),
        "dropped": dropped(at_work.pipeline.stages, outcome),
        "outputs": outputs,
    }


def plan(config: RunConfig) -> dict[str, Any]:
    """Return what `run` would run, reuse and need: `run`, `engine` and `stages`. Runs and writes nothing.

    Raises:
        InputError: the configuration or the input cannot be worked on.
    """
    with cluster_of(config) as cluster:
        return {"run": config.run, "engine": config.engine.name, "stages": describe(build(config, cluster))}


def _check_before(pipeline: Pipeline, stages: StageRange) -> None:
    if stages.before is not None:
        pipeline.check_complete(stages.before)


def _run(at_work: Session, stages: StageRange) -> tuple[Outcome, dict[str, str]]:
    pipeline, configuration = at_work.pipeline, resolved(at_work.config)
    _check_before(pipeline, stages)  # again: a file of a stage before may be damaged, and removed
    outcome = pipeline.run(stages.until, at_work.engine, Progress())
    outputs: dict[str, str] = {}
    for stage in pipeline.stages:
        if stage.name in outcome.completed:
            outputs |= stage.publish(outcome.completed, pipeline.run_directory, configuration)
    if stages.reports:
        pipeline.run_directory.write_json("config.json", configuration)
        outputs["report"] = write_report(pipeline, outcome, configuration)
    return outcome, outputs
