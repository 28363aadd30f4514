"""Run a command on a configuration: what the command line does, for programs that do without it."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from operators.errors import InputError
from operators.storage import is_of_storage, told
from pipelines.config import Config, resolved
from pipelines.engines import Engine
from pipelines.engines.checked import CheckedEngine
from pipelines.engines.deferred import DeferredEngine
from pipelines.engines.ray_cluster import RayCluster
from pipelines.errors import StorageError
from pipelines.hardware import PeakMemory
from pipelines.pipeline import Outcome, Pipeline, build
from pipelines.progress import Progress
from pipelines.publish import check_published, publish
from pipelines.report import dropped, stage_facts, write_report
from pipelines.span import Span, span_of
from pipelines.storage.folder import Folder
from pipelines.storage.lease import Lease, holding
from pipelines.storage.records import DamagedError

Done = TypeVar("Done")


def run(command: str | Span, config: Config) -> dict[str, Any]:
    """Run the stages that a command needs, or those of a span; `mine` and `report` run all and write the report.

    Returns:
        `run`, `engine`, `seconds`, `peak_rss_mib` (of this process and those it started, summed), `stages` (name ->
        {rows_in, rows_out, seconds, reused}), `dropped` (reason -> count) and `outputs` (name -> URI).

    Raises:
        InputError: the configuration or the input cannot be worked on, or what comes before a span is not complete;
            nothing is written then.
        BusyError: another run is at work on the run directory.
        LostLeaseError: another run took it over, as nothing was heard of this one.
        StorageError: a storage failed; the same command goes on from there.
    """
    began = time.perf_counter()
    span = span_of(command) if isinstance(command, str) else command
    with PeakMemory() as memory, cluster_of(config) as cluster:
        pipeline = build(config, cluster)
        _check_before(pipeline, span)
        check_published(pipeline.run_directory)
        with _at_work(pipeline) as lease, _engine(config, cluster, lease) as engine:
            outcome, outputs = _repaired(pipeline, lambda: _mined(pipeline, span, engine))
            lease.check()
    return {
        "run": config.run,
        "engine": config.engine.name,
        "seconds": _since(began),
        "peak_rss_mib": memory.peak_mib,
        "stages": stage_facts(outcome),
        "dropped": dropped(outcome),
        "outputs": outputs,
    }


def evaluate(config: Config, split: str | None = None) -> dict[str, Any]:
    """Measure the ranking of the corpus on judgements; reuses the vectors and the index of the run.

    Args:
        config: the configuration of the run.
        split: of a BEIR folder, `test` where none is given. Other data has no splits: its judgements are taken.

    Returns:
        `run`, `split`, `queries`, `seconds` and `measures` (name -> mean over the judged queries).

    Raises:
        InputError: a split of data that has none, or anything that `run` refuses.
    """
    began = time.perf_counter()
    if config.data.beir is not None:
        split = split or "test"
        config = config.model_copy(update={"data": config.data.model_copy(update={"split": split})})
    elif split is not None:
        raise InputError("--split: only a BEIR folder has splits. Name the judgements to score in data.judgements.")
    from pipelines.evaluation import measure  # pandas, for this alone

    def measured(engine: Engine) -> tuple[dict[str, float], int]:
        outcome = pipeline.run("search/all", engine, Progress(), recorded=False)
        searched, prepared = outcome.completed["search/all"], outcome.completed["prepare/queries"]
        return measure(searched, prepared, config.search.k), prepared.manifest["rows_out"]

    with cluster_of(config) as cluster:
        pipeline = build(config, cluster)
        check_published(pipeline.run_directory)
        with _at_work(pipeline) as lease, _engine(config, cluster, lease) as engine:
            measures, queries = _repaired(pipeline, lambda: measured(engine))
            lease.check()
    return {"run": config.run, "split": split, "queries": queries, "seconds": _since(began), "measures": measures}


@contextmanager
def _at_work(pipeline: Pipeline) -> Iterator[Lease]:
    """Hold the run directory, and say it in one line when a storage fails."""
    config, run = pipeline.config, pipeline.run_directory
    try:
        with holding(run, config.engine.name) as lease:
            yield lease
    except InputError:
        raise
    except Exception as error:
        if not is_of_storage(error):
            raise
        kinds = ("corpus", "queries", "judgements", "pairs")
        sources = {kind: source.storage_options for kind in kinds if (source := getattr(config.data, kind)) is not None}
        options = {"run": run.storage_options, "data": config.data.storage_options, **sources}
        raise StorageError(
            f"{run.uri}: a storage failed in the middle of the run ({told(error, options)}). What was done is kept: "
            f"the same command goes on from there."
        ) from error


def _check_before(pipeline: Pipeline, span: Span) -> None:
    if span.before is not None:
        pipeline.check_complete(span.before)


def _mined(pipeline: Pipeline, span: Span, engine: Engine) -> tuple[Outcome, dict[str, str]]:
    _check_before(pipeline, span)  # again: a file of a stage before may be damaged, and removed
    config, directory = pipeline.config, pipeline.run_directory
    outputs: dict[str, str] = {}
    outcome = pipeline.run("export" if span.reports else span.last, engine, Progress())
    if span.publishes:
        outputs.update(publish(directory, config, outcome))
    if span.reports:
        directory.write_json("config.json", resolved(config))
        outputs["report"] = write_report(directory, config, outcome)
    if "select" in outcome.completed:
        outputs["suspected"] = f"{outcome.completed['select'].folder.uri}/suspected"
    return outcome, outputs


def _repaired(pipeline: Pipeline, work: Callable[[], Done]) -> Done:
    """Do something. A file that turns out to be damaged is removed, and the stage that wrote it writes it again.

    Raises:
        DamagedError: the same file is damaged again.
    """
    seen: set[tuple[str, str]] = set()
    while True:
        try:
            return work()
        except DamagedError as damage:
            if (damage.uri, damage.path) in seen:
                raise
            seen.add((damage.uri, damage.path))
            Progress().say(f"warning: {damage}. It is written again.")
            with suppress(IsADirectoryError):  # refused when the file is written
                Folder(damage.uri, pipeline.config.storage_options).remove(damage.path)


@contextmanager
def cluster_of(config: Config) -> Iterator[RayCluster | None]:
    """Give the Ray cluster of a configuration, joined when it is first needed and left at the end; None without Ray."""
    if config.engine.name != "ray":
        yield None
        return
    cluster = RayCluster(config.engine.address, None if config.engine.workers == "auto" else config.engine.workers)
    try:
        yield cluster
    finally:
        cluster.close()


@contextmanager
def _engine(config: Config, cluster: RayCluster | None, lease: Lease) -> Iterator[Engine]:
    """Give an engine that is started only if there is anything to do."""
    engine = CheckedEngine(DeferredEngine(config.engine.name, lambda: _start(config, cluster)), lease.check)
    try:
        yield engine
    finally:
        engine.close()


def _start(config: Config, cluster: RayCluster | None) -> Engine:
    if config.engine.name == "local":
        from pipelines.engines.local import LocalEngine

        return LocalEngine()
    workers = None if config.engine.workers == "auto" else config.engine.workers
    if cluster is None:
        # When it is imported, Beam tells what of Google's it does without.
        logging.disable(logging.WARNING)
        from pipelines.engines.beam import BeamEngine

        logging.disable(logging.NOTSET)
        return BeamEngine(config.engine.beam_options, workers)
    from pipelines.engines.ray_data import RayEngine

    return RayEngine(cluster, workers)


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 2)
