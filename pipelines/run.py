"""Run a pipeline as a configuration says: what the command line does, for programs that do without it."""

import time
from functools import partial
from typing import Any

from pipelines.config import load
from pipelines.reports.report import dropped, stage_facts, write_report
from pipelines.results import Mined
from pipelines.runtime.config import RunConfig, resolved, with_engine
from pipelines.runtime.pipeline import Outcome, Pipeline
from pipelines.runtime.plan import describe
from pipelines.runtime.progress import Progress, shown
from pipelines.runtime.resources import PeakMemory
from pipelines.runtime.session import Session, build, cluster_of, session
from pipelines.runtime.stage_range import StageRange
from pipelines.runtime.status import status as status_of
from pipelines.runtime.storage.folder import absolute
from pipelines.runtime.storage.run_directory import RunDirectory
from pipelines.runtime.verify import verify as compare


def mine(
    config: RunConfig | str,
    engine: str | None = None,
    *,
    first: str | None = None,
    until: str | None = None,
    progress: bool = True,
) -> Mined:
    """Run the stages of a pipeline, or some of them; after all of them the report is written.

    Args:
        config: of the run, or its file.
        engine: `local`, `ray` or `beam`, in the place of the configured one.
        first: the group of stages before which nothing is run; what comes before must be complete.
        until: the group of stages after which nothing is run, or `report`.
        progress: show on standard error how far the run is; else it is silent.

    Raises:
        InputError: the configuration or the input cannot be worked on, or what comes before `first` is not complete;
            nothing is written then.
        BusyError: another run is at work on the run directory.
        LostLeaseError: another run took it over, as this one gave no heartbeat for too long.
        StorageError: a storage failed; the same command goes on from there.
    """
    began = time.perf_counter()
    config = _loaded(config)
    if engine is not None:
        config = with_engine(config, engine)
    stages = StageRange(first, until, list(config.groups))
    check = partial(_check_before, stages)
    with shown(progress), PeakMemory() as memory, session(config, check) as at_work:
        outcome, outputs = at_work.repaired(lambda: _run(at_work, stages))
    return Mined(
        run=config.run,
        engine=config.engine.name,
        seconds=round(time.perf_counter() - began, 2),
        peak_rss_mib=memory.peak_mib,
        stages=stage_facts(outcome),
        dropped=dropped(at_work.pipeline.stages, outcome),
        outputs=outputs,
        _report=at_work.pipeline.run_directory.read_bytes("report/report.json") if "report" in outputs else None,
        _outcome=outcome,
        _directory=at_work.pipeline.run_directory,
    )


def plan(config: RunConfig | str) -> dict[str, Any]:
    """Return what `mine` would run, reuse and need: `run`, `engine` and `stages`. Runs and writes nothing.

    Raises:
        InputError: the configuration or the input cannot be worked on.
    """
    config = _loaded(config)
    with cluster_of(config) as cluster:
        return {"run": config.run, "engine": config.engine.name, "stages": describe(build(config, cluster))}


def status(run: str | RunConfig) -> dict[str, Any]:
    """Return how far a run is: see `pipelines.runtime.status`.

    Args:
        run: the run directory: a path, an fsspec URI, or a configuration or the file of one.
    """
    return status_of(directory_of(run))


def verify(run: str | RunConfig) -> dict[str, Any]:
    """Compare every file of a run with its size and checksum: see `pipelines.runtime.verify`.

    Args:
        run: the run directory: a path, an fsspec URI, or a configuration or the file of one.
    """
    return compare(directory_of(run))


def directory_of(run: str | RunConfig) -> RunDirectory:
    """Return the run directory that a path, a URI, a configuration or the file of one names."""
    if isinstance(run, str) and run.endswith((".yaml", ".yml")):
        run = load(run)
    if isinstance(run, str):
        return RunDirectory(absolute(run))
    return run.directory()


def _loaded(config: RunConfig | str) -> RunConfig:
    return load(config) if isinstance(config, str) else config


def _check_before(stages: StageRange, pipeline: Pipeline) -> None:
    if stages.before is not None:
        pipeline.check_complete(stages.before)


def _run(at_work: Session, stages: StageRange) -> tuple[Outcome, dict[str, str]]:
    pipeline, configuration = at_work.pipeline, resolved(at_work.config)
    _check_before(stages, pipeline)  # again: a file of a stage before may be damaged, and removed
    outcome = pipeline.run(stages.until, at_work.engine, Progress())
    outputs: dict[str, str] = {}
    for stage in pipeline.stages:
        if stage.name in outcome.completed:
            outputs |= stage.publish(outcome.completed, pipeline.run_directory, configuration)
    if stages.reports:
        pipeline.run_directory.write_json("config.json", configuration)
        outputs["report"] = write_report(pipeline, outcome, configuration)
    return outcome, outputs
