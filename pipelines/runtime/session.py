"""A run at work: its pipeline, an engine that starts when it is needed, and the lease on the run directory."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from operators.errors import InputError
from operators.storage import check_storage, is_storage_error, redacted
from pipelines.runtime.config import RunConfig
from pipelines.runtime.engines import Engine
from pipelines.runtime.engines.checked import CheckedEngine
from pipelines.runtime.engines.deferred import DeferredEngine
from pipelines.runtime.engines.ray_cluster import RayCluster
from pipelines.runtime.errors import StorageError
from pipelines.runtime.pipeline import Pipeline
from pipelines.runtime.progress import Progress
from pipelines.runtime.storage.folder import Folder, absolute
from pipelines.runtime.storage.lease import Lease, hold_lease
from pipelines.runtime.storage.records import DamagedError
from pipelines.runtime.storage.run_directory import RunDirectory

Done = TypeVar("Done")


@dataclass(frozen=True)
class Session:
    """A run at work.

    Attributes:
        config: of the run.
        pipeline: of the configuration.
        engine: started with the first step that has anything to do.
    """

    config: RunConfig
    pipeline: Pipeline
    engine: Engine

    def repaired(self, work: Callable[[], Done]) -> Done:
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
                    Folder(damage.uri, self.config.storage_options).remove(damage.path)


@contextmanager
def session(config: RunConfig, check: Callable[[Pipeline], None] = lambda _: None) -> Iterator[Session]:
    """Check all that a configuration names, hold its run directory, and give what is needed to work in it.

    Args:
        config: of the run.
        check: of the pipeline, before the run directory is held.

    Raises:
        InputError: the configuration or the input cannot be worked on; nothing has been written.
        BusyError: another run is at work on the run directory.
        LostLeaseError: another run took it over, as this one gave no heartbeat for too long.
        StorageError: a storage failed; the same command goes on from there.
    """
    with cluster_of(config) as cluster:
        pipeline = build(config, cluster)
        check(pipeline)
        pipeline.check_run()
        with _at_work(config, pipeline.run_directory) as lease, _engine(config, cluster, lease) as engine:
            yield Session(config, pipeline, engine)
            lease.check()


def build(config: RunConfig, cluster: RayCluster | None = None) -> Pipeline:
    """Return the pipeline of a configuration, after a look at all that it reads.

    Args:
        config: the configuration.
        cluster: where it runs; None where that is no Ray cluster.

    Raises:
        InputError: an input is missing or wrong, or a storage cannot be used. Nothing has been written.
    """
    check_storage("run", absolute(config.run), config.storage_options, folder=True)
    return Pipeline(config.stages(cluster), config.directory())


@contextmanager
def cluster_of(config: RunConfig) -> Iterator[RayCluster | None]:
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
def _engine(config: RunConfig, cluster: RayCluster | None, lease: Lease) -> Iterator[Engine]:
    """Give an engine that is started only if there is anything to do."""
    engine = CheckedEngine(DeferredEngine(config.engine.name, lambda: _start(config, cluster)), lease.check)
    try:
        yield engine
    finally:
        engine.close()


def _start(config: RunConfig, cluster: RayCluster | None) -> Engine:
    if config.engine.name == "local":
        from pipelines.runtime.engines.local import LocalEngine

        return LocalEngine()
    workers = None if config.engine.workers == "auto" else config.engine.workers
    if cluster is None:
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)  # when it is imported, Beam tells what of Google's it does without
        try:
            from pipelines.runtime.engines.beam import BeamEngine
        finally:
            logging.disable(before)
        return BeamEngine(config.engine.beam_options, workers)
    from pipelines.runtime.engines.ray_data import RayEngine

    return RayEngine(cluster, workers)


@contextmanager
def _at_work(config: RunConfig, run: RunDirectory) -> Iterator[Lease]:
    """Hold the run directory, and say it in one line when a storage fails."""
    try:
        with hold_lease(run, config.engine.name) as lease:
            yield lease
    except InputError:
        raise
    except Exception as error:
        if not is_storage_error(error):
            raise
        options = {"run": run.storage_options, **config.sources_options()}
        raise StorageError(
            f"{run.uri}: a storage failed in the middle of the run ({redacted(error, options)}). What was done "
            f"is kept: the same command goes on from there."
        ) from error
