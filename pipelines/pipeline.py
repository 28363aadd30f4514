"""The pipeline: the stages of a configuration in their order, what of them can be reused, and the run of the rest."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from operators.documents.check import check
from operators.documents.sources import SourceFile
from operators.errors import InputError
from operators.storage import check_storage
from operators.vectors.encoder import Side, resolve, with_saved_settings
from operators.vectors.index import check_dimension, check_enough
from operators.vectors.model_files import model_folder, weights_digest
from pipelines.config import Config
from pipelines.engines import Engine
from pipelines.engines.ray_cluster import RayCluster
from pipelines.execution import Completed, Execution
from pipelines.hardware import Machines, encoder_pool, look, search_pool
from pipelines.losses import losses
from pipelines.progress import Progress
from pipelines.stages import Stage
from pipelines.stages.encode import SIDES, EncodeTexts
from pipelines.stages.export import ExportDataset
from pipelines.stages.index import BuildIndex
from pipelines.stages.model import TryModel
from pipelines.stages.prepare_corpus import PrepareCorpus
from pipelines.stages.prepare_queries import PrepareQueries
from pipelines.stages.search.all import SearchAll
from pipelines.stages.search.shards import Searchers
from pipelines.stages.search.short import SearchShort
from pipelines.stages.select import SelectNegatives
from pipelines.status import rows_found
from pipelines.storage.cache import Cache
from pipelines.storage.folder import Folder, absolute
from pipelines.storage.records import files_in
from pipelines.storage.run_directory import PLAN, RunDirectory, StageFolder, fingerprint

# Behind this stage begins the work that takes hours.
LAST_OF_PREPARE = "prepare/queries"
# This stage often has nothing to do: it says itself what it begins.
MAYBE_NOTHING = "search/short"
# A shard that is searched is mapped whole, vectors and codes; the rest is for what a worker holds beside it.
SHARDS_OF_BUDGET = 5
SHOWN_DAMAGES = 5


@dataclass(frozen=True)
class Planned:
    """A stage, where it would write, and whether that is there already.

    Attributes:
        stage: what would run.
        folder: where it would write.
        mark: its fingerprint.
        manifest: of the complete stage; None where it has to run.
        started: whether some of it is there.
        damaged: what is wrong with its files, where it was complete.
    """

    stage: Stage
    folder: StageFolder
    mark: str
    manifest: Mapping[str, Any] | None
    started: bool
    damaged: Sequence[str] = ()


@dataclass
class Pipeline:
    """The stages of one configuration, in the order in which they run."""

    config: Config
    stages: Sequence[Stage]
    run_directory: RunDirectory = field(init=False)
    _ran: set[str] = field(default_factory=set, init=False)
    _begun: set[str] = field(default_factory=set, init=False)  # of those that ran, the ones of which nothing was there

    def __post_init__(self) -> None:
        self.run_directory = RunDirectory(absolute(self.config.run), self.config.storage_options)

    def plan(self) -> list[Planned]:
        """Say of every stage whether it would be reused. Writes nothing."""
        marks: dict[str, str] = {}
        planned = []
        for stage in self.stages:
            mark = fingerprint(stage.name, stage.settings(), [marks[name] for name in stage.inputs])
            marks[stage.name] = mark
            unit_settings = stage.unit_settings()
            if unit_settings is None:
                folder = self.run_directory.stage(stage.name, mark)
            else:
                units = fingerprint(stage.name, unit_settings, [])
                folder = self.run_directory.growing_stage(stage.name, units, mark)
            manifest = folder.manifest()
            if manifest is not None and manifest["fingerprint"] != mark:  # of another folder, copied here
                manifest = None
            damaged = [] if manifest is None else folder.differing(list(files_in(manifest["parts"])))
            if damaged:
                manifest = None
            found = [f"{folder.uri}/{record['path']}: {what}" for record, what in damaged]
            started = manifest is None and folder.exists()
            planned.append(Planned(stage, folder, mark, manifest, started, found))
        return planned

    def run(self, until: str, engine: Engine, progress: Progress, *, recorded: bool = True) -> "Outcome":
        """Run the stages up to one of them, or to the last of the group it names (`search` is both of its rounds).

        What is complete is reused. Input that is refused leaves nothing of its stage behind, and nothing at all where
        this run had only prepared it; what was there before this run stays.

        Args:
            until: the last stage, or group of stages.
            engine: where it runs.
            progress: where to show how far it is.
            recorded: the status of the run directory becomes that of these stages.

        Raises:
            InputError: the input is refused.
            DamagedError: a file of a stage that was reused is damaged.
        """
        completed: dict[str, Completed] = {}
        reused: dict[str, bool] = {}
        everything = self.plan()
        stages = [(one.stage.name, one.folder) for one in everything]
        first = recorded and self.run_directory.write_plan(engine.name, stages)
        for planned in _up_to(until, everything):
            stage, manifest = planned.stage, planned.manifest
            reused[stage.name] = manifest is not None and stage.name not in self._ran
            try:
                if manifest is None:
                    self._ran.add(stage.name)
                    if not planned.started:
                        self._begun.add(stage.name)
                    progress.stage = stage.name
                    for line in planned.damaged[:SHOWN_DAMAGES]:
                        progress.say(f"warning: {line}. It is written again.")
                    if planned.started or stage.name != MAYBE_NOTHING:
                        progress.say(f"{stage.name}: {'going on' if planned.started else 'starting'}")
                    manifest = self._run_stage(planned, completed, engine, progress)
                else:
                    manifest = _without_left(planned.folder, manifest)
                completed[stage.name] = Completed(planned.folder, manifest)
                if stage.name == LAST_OF_PREPARE:
                    self._check_prepared(completed)
            except InputError:
                growing = stage.unit_settings() is not None  # its units are right, whatever they are part of
                new = stage.name in self._begun and stage.name not in completed and not growing
                self._clear([*([planned.folder] if new else []), *self._only_prepared(completed)])
                if first:
                    self.run_directory.remove(PLAN)
                raise
            progress.say(line_of(stage.name, manifest, reused[stage.name]))
            for loss in losses(stage.name, manifest):
                progress.say(f"warning: {loss}")
        return Outcome(completed, reused)

    def check_complete(self, until: str) -> None:
        """Check that everything up to a stage is there already.

        Raises:
            InputError: it is not.
        """
        missing = next((one.stage.name for one in _up_to(until, self.plan()) if one.manifest is None), None)
        if missing is not None:
            raise InputError(
                f"{self.config.run}: {missing} is not complete for this configuration; "
                f"run `hardneg mine CONFIG --until {until}` first."
            )

    def _check_prepared(self, completed: Mapping[str, Completed]) -> None:
        """Refuse what the prepared input shows cannot work, before the long work starts."""
        corpus, queries = completed["prepare/corpus"].manifest, completed["prepare/queries"].manifest
        check_enough(self.config.index, corpus["rows_out"])
        dimensions = {"corpus": corpus["dimension"], "queries": queries["dimension"]}
        if "prepare/model" in completed:
            dimensions["model"] = completed["prepare/model"].manifest["encoder"]["dimension"]
        (one, length), *others = [(name, length) for name, length in dimensions.items() if length]
        for other, of_other in others:
            if of_other != length:
                raise InputError(
                    f"The vectors of the {one} have {length} values, those of the {other} {of_other}. "
                    f"Give both from one model."
                )
        check_dimension(self.config.index, length)

    def _only_prepared(self, completed: Mapping[str, Completed]) -> list[StageFolder]:
        """Return what this run wrote, if that is no more than prepared input: a refusal leaves nothing of it."""
        ran = [name for name in completed if name in self._ran]
        if not all(name.startswith("prepare/") for name in ran):
            return []
        return [completed[name].folder for name in ran if name in self._begun]

    def _run_stage(
        self, planned: Planned, completed: Mapping[str, Completed], engine: Engine, progress: Progress
    ) -> Mapping[str, Any]:
        stage, folder = planned.stage, planned.folder
        began = time.perf_counter()
        inputs = {name: completed[name] for name in stage.inputs}
        summary = stage.run(Execution(stage.name, folder, inputs, engine, progress))
        left = {name: summary.pop(name, []) for name in ("temporary", "replaced")}
        manifest = {
            "stage": stage.name,
            "fingerprint": planned.mark,
            "settings": stage.settings(),
            "inputs": {name: one.manifest["fingerprint"] for name, one in inputs.items()},
            "engine": engine.name,
            "version": version("hardneg"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - began, 3),
            "resumed": planned.started,  # some of it had been done before these seconds
            **summary,
        }
        if any(left.values()):
            manifest["left"] = left
        folder.commit(manifest)
        return _without_left(folder, manifest)

    def _clear(self, folders: Sequence[StageFolder]) -> None:
        """Remove what was written for input that was refused, and the folders above it that are empty then."""
        root = self.run_directory.path()
        for folder in folders:
            folder.clear()
            above = folder.path()[len(root) + 1 :].rpartition("/")[0]
            while self.run_directory.remove_if_empty(above) and above:
                above = above.rpartition("/")[0]


@dataclass(frozen=True)
class Outcome:
    """The stages of a run that are complete, and which of them had been before."""

    completed: Mapping[str, Completed]
    reused: Mapping[str, bool]


def _without_left(folder: StageFolder, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Remove what a complete stage needs no more; a run that was killed meanwhile leaves that to the next."""
    if "left" not in manifest:
        return manifest
    for name in manifest["left"]["temporary"]:
        folder.clear(name)
    folder.remove_all(manifest["left"]["replaced"])
    cleared = {name: value for name, value in manifest.items() if name != "left"}
    folder.commit(cleared)
    return cleared


def _up_to(until: str, planned: Sequence[Planned]) -> Sequence[Planned]:
    last = max(i for i, one in enumerate(planned) if until in {one.stage.name, one.stage.name.partition("/")[0]})
    return planned[: last + 1]


def line_of(name: str, manifest: Mapping[str, Any], reused: bool) -> str:
    """Say in one line what a stage did, or had done before."""
    took = "reused" if reused else f"{manifest['seconds']:.1f} s"
    if "says" in manifest:
        return f"{name}: {manifest['says']}, {took}"
    dropped, found = sum(manifest["dropped"].values()), 0 if reused else rows_found(manifest)
    counts = [f"{manifest['rows_in']:,} in", f"{manifest['rows_out']:,} out"]
    counts += [f"{count:,} {what}" for count, what in ((found, "found"), (dropped, "dropped")) if count]
    return f"{name}: {', '.join([*counts, took])}"


def build(config: Config, cluster: RayCluster | None = None) -> Pipeline:
    """Wire the stages of a configuration, after a look at every source and the model.

    Args:
        config: the configuration.
        cluster: where it runs; None where that is no Ray cluster.

    Raises:
        InputError: a source or the model is not there, a column is wrong, or a storage cannot be used. Nothing has
            been written.
    """
    check_storage("run", absolute(config.run), config.storage_options, folder=True)
    corpus = config.data.files("corpus")
    of_pairs = config.data.pairs is not None  # all three are in the same files
    queries, judgements = (corpus if of_pairs else config.data.files(kind) for kind in ("queries", "judgements"))
    _check_all([*corpus, *queries, *judgements], config)
    machines = look(cluster)
    encoder = _encoder(config, machines)
    stages: list[Stage] = [
        *_trial(encoder),
        PrepareCorpus(corpus, config.clean, config.data.partition_rows),
        PrepareQueries(
            queries,
            judgements,
            config.clean,
            config.data.on_dangling,
            config.data.partition_rows,
            config.data.positive_labels,
        ),
        encoder,
        *_index_and_search(config, machines),
        SelectNegatives(config.select),
        ExportDataset(config.export, config.select.num_negatives, _cache(config)),
    ]
    return Pipeline(config, stages)


def _check_all(files: Sequence[SourceFile], config: Config) -> None:
    run = RunDirectory(absolute(config.run), config.storage_options)
    seen: dict[str, SourceFile] = {f"{file.kind} {file.uri}": file for file in files}
    for file in seen.values():
        if run.has_written(file.uri):
            raise InputError(
                f"data: {file.uri} was written by a run in {run.uri}, into which this run writes too. Name the sources "
                f"so that they leave it out, or choose another run directory."
            )
    check(list(seen.values()), config.data.positive_labels)


def _index_and_search(config: Config, machines: Machines) -> list[Stage]:
    engine = config.engine
    remote = not Folder(absolute(config.run), config.storage_options).is_local
    pool, device = search_pool(engine, machines, remote)
    searchers = Searchers(pool, device, _cache(config))
    return [
        BuildIndex(config.index, engine.memory_budget // SHARDS_OF_BUDGET, device, pool.resources),
        SearchAll(config.search, searchers),
        SearchShort(config.search, config.select, searchers),
    ]


def _cache(config: Config) -> Cache:
    return Cache(config.engine.cache, config.engine.cache_size)


def _trial(encoder: EncodeTexts) -> list[Stage]:
    """Try the model before anything is prepared, where it is needed at all."""
    if encoder.weights is None:
        return []
    sides = tuple(side for side in SIDES if side not in encoder.given)
    return [TryModel(encoder.config, encoder.weights, sides, encoder.pool, encoder.device)]


def _encoder(config: Config, machines: Machines) -> EncodeTexts:
    vectors: dict[Side, bool] = {
        "document": config.data.has_vectors("corpus"),
        "query": config.data.has_vectors("queries"),
    }
    given = frozenset(side for side, came in vectors.items() if came)
    pool, device = encoder_pool(config.engine, machines)
    weights: str | None = None
    encoder = resolve(config.encoder, device)
    folder: Path | None = None
    if len(given) < len(vectors):
        folder = model_folder(str(encoder.model), encoder.revision)
        weights = weights_digest(folder, encoder.trust_remote_code)
        if Path(str(encoder.model)).is_dir():  # a worker runs in another folder; a hub id it finds by itself
            encoder = encoder.model_copy(update={"model": str(folder)})
    return EncodeTexts(with_saved_settings(encoder, folder), weights, given, pool, device)
