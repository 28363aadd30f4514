"""The stages of the text pipeline, made from its configuration."""

from collections.abc import Sequence
from pathlib import Path

from operators.candidates.comparison import Comparison
from operators.candidates.false_negatives.config import FalseNegativeConfig
from operators.candidates.false_negatives.model import PROBABILITY
from operators.candidates.false_negatives.signal import FalseNegativeProbability
from operators.candidates.groups import GROUPS, Groups
from operators.candidates.proposers.encoder import SecondEncoder
from operators.candidates.reading import Reading, check_readings
from operators.candidates.resemblance import RESEMBLANCE, Resemblance
from operators.candidates.sources import WHERE
from operators.documents.check import check
from operators.documents.known import KnownMetadata
from operators.documents.sources import SourceFile
from operators.errors import InputError
from operators.vectors.encoder import Device, EncoderConfig, Side, resolve, with_saved_settings
from operators.vectors.model_files import model_folder, weights_digest
from pipelines.runtime.engines import Pool
from pipelines.runtime.engines.ray_cluster import RayCluster
from pipelines.runtime.resources import Machines, encoder_pool, inspect_machines, search_pool
from pipelines.runtime.stage import Stage
from pipelines.runtime.storage.cache import Cache
from pipelines.text.config import Config
from pipelines.text.evaluation_stages import drops_documents, evaluation_stages, refuse_training_sets
from pipelines.text.stages.calibrate.views import HidePositives
from pipelines.text.stages.encode import SIDES, EncodeTexts
from pipelines.text.stages.encoder_stages import OF_RUN, EncoderStages
from pipelines.text.stages.export import ExportDataset
from pipelines.text.stages.index import BuildIndex
from pipelines.text.stages.model import TryModel
from pipelines.text.stages.prepare_corpus import PrepareCorpus
from pipelines.text.stages.prepare_evaluation import PrepareEvaluation
from pipelines.text.stages.prepare_queries import PrepareQueries
from pipelines.text.stages.search.all import SearchShards
from pipelines.text.stages.search.candidates import LIST, SIGNAL
from pipelines.text.stages.search.compare import CompareWithPositives
from pipelines.text.stages.search.list_similarity import CompareWithList
from pipelines.text.stages.search.propose import proposing
from pipelines.text.stages.search.rules import EvaluateRules
from pipelines.text.stages.search.shards import SearchPool
from pipelines.text.stages.search.short import SearchDeeper
from pipelines.text.stages.search.signals import ComputeSignal
from pipelines.text.stages.search.vectors import CarryVectors
from pipelines.text.stages.select import SelectNegatives
from pipelines.text.stages.suspects import WriteSuspects

# A shard that is searched is mapped whole, vectors and codes; the rest is for what a worker holds beside it. A million
# documents of 384 values have two shards with it, so two workers map as much of them as of more documents.
SHARDS_OF_BUDGET = 10
# Known positives that a calibration hides, about: each makes a list of candidates, which the driver fits on.
HIDDEN = 5_000


def stages_of(config: Config, cluster: RayCluster | None) -> list[Stage]:
    """Check every source and the model, and return the stages of a configuration.

    Raises:
        InputError: a source or the model is not there, a column is wrong, or a storage cannot be used. Nothing has
            been written.
    """
    corpus = config.data.files("corpus")
    of_pairs = config.data.pairs is not None  # all three are in the same files
    queries, judgements = (corpus if of_pairs else config.data.files(kind) for kind in ("queries", "judgements"))
    evaluation = evaluation_stages(config.contamination)
    refuse_training_sets(evaluation, queries, judgements)
    _check_all([*corpus, *queries, *judgements], evaluation, config)
    machines = inspect_machines(cluster)
    sources = tuple(proposer.source for proposer in config.proposers)
    judged = tuple(proposer.source for proposer in config.proposers if proposer.judged)
    encoders = _encoders(config, machines)
    _check_similarity(config, encoders[0].config.similarity)
    workers = search_pool(config.engine, machines, not config.directory().is_local)
    negatives, cache = config.select.negatives_per_row, _cache(config)
    searchers = SearchPool(*workers, cache)
    signals = _signals(config, sources, searchers)
    # What only the model reads is not of the selection.
    names = tuple(name for stage in signals if (name := stage.name.removeprefix(SIGNAL)) != LIST)
    shown = tuple(name for name in names if name not in {PROBABILITY, GROUPS, WHERE})
    return [
        # That of the run last: where the trials are in the process that encodes, it keeps the model tried last.
        *(trial for one in reversed(encoders) for trial in _trial(one)),
        *evaluation,
        PrepareCorpus(corpus, config.clean, config.data.partition_rows, drops_documents(config.contamination), cache),
        PrepareQueries(
            queries,
            judgements,
            config.clean,
            config.data.on_dangling,
            config.data.partition_rows,
            config.data.positive_labels,
            [stage.kind for stage in evaluation],
            cache,
        ),
        encoders[0],
        *_index_and_search(config, encoders, workers),
        *signals,
        SelectNegatives(config.select, sources, names, judged, _model(config)),
        WriteSuspects(config.suspects, negatives, cache, sources, shown),
        ExportDataset(config.export, negatives, cache),
    ]


def calibration_stages_of(config: Config, cluster: RayCluster | None) -> list[Stage]:
    """Return the stages up to the search, and the one that hides known positives.

    Raises:
        InputError: as for `stages_of`.
    """
    stages = stages_of(config, cluster)
    last = next(number for number, stage in enumerate(stages) if isinstance(stage, SearchDeeper))
    search = stages[last]
    assert isinstance(search, SearchDeeper)
    return [*stages[: last + 1], HidePositives(search.searchers, HIDDEN)]


def _signals(config: Config, sources: tuple[str, ...], searchers: SearchPool) -> list[Stage]:
    """Return the stages that compute signals: those in use, and no other."""
    select, cache, used = config.select, _cache(config), config.used_signals()
    comparisons: list[Comparison] = [
        *([Resemblance()] if RESEMBLANCE in select.signals else []),
        *([Groups(select.groups, select.group_functions)] if select.groups else []),
    ]
    return [
        *([CompareWithList(bool(sources), searchers)] if any(one.reads_lists for one in used) else []),
        *(ComputeSignal(signal, sources) for signal in used),
        *(CompareWithPositives(comparison, sources, cache) for comparison in comparisons),
        *([EvaluateRules(select.rules, sources, cache)] if select.rules else []),
    ]


def _check_all(files: Sequence[SourceFile], evaluation: Sequence[PrepareEvaluation], config: Config) -> None:
    run = config.directory()
    seen: dict[str, SourceFile] = {f"{file.kind} {file.uri}": file for file in files}
    of_sets = [file for stage in evaluation for one in stage.sets for file in (*one.texts, *one.judgements)]
    for file in [*seen.values(), *of_sets]:
        if run.has_written(file.uri):
            raise InputError(
                f"{file.section}: {file.uri} was written by a run in {run.uri}, into which this run writes too. Name "
                f"the sources so that they leave it out, or choose another run directory."
            )
    known = check(list(seen.values()), config.data.positive_labels)
    for one in [one for stage in evaluation for one in stage.sets]:
        check([*one.texts, *one.judgements], one.positive_labels)
    readings = [reading for proposer in config.proposers for reading in proposer.readings()]
    readings += [Reading.of_rule(place, rule) for rule, place in config.select.rules.items()]
    readings += [
        Reading(place, [field])
        for field, place in config.select.groups.items()
        if field not in config.select.group_functions
    ]
    # Of pairs the columns beside the roles are metadata of the queries.
    of_pairs = known.get("pairs")
    check_readings(readings, known.get("corpus", KnownMetadata()), of_pairs or known["queries"])


def _check_similarity(config: Config, similarity: str) -> None:
    for draw in config.select.active_draws():
        if draw.only_cosine and similarity != "cosine":
            raise InputError(
                f"select: {draw.strategy} is defined for cosine similarity, and this model compares by {similarity}. "
                f"Set encoder.similarity: cosine, or choose another draw."
            )
    used = _model(config)
    if used is not None and used.model.similarity != similarity:
        raise InputError(
            f"false_negatives.model: it is fitted on {used.model.similarity} similarities, and this model compares by "
            f"{similarity}. Fit your own: `hardneg calibrate CONFIG`."
        )


def _model(config: Config) -> FalseNegativeConfig | None:
    """Return the model of false negatives, where it is in use."""
    return next((one.config for one in config.used_signals() if isinstance(one, FalseNegativeProbability)), None)


def _index_and_search(config: Config, encoders: Sequence[EncodeTexts], workers: tuple[Pool, Device]) -> list[Stage]:
    pool, device = workers
    searchers = SearchPool(pool, device, _cache(config))
    configured = {OF_RUN.source: config.index, **{one.source: one.index for one in _second_encoders(config)}}
    shard_bytes = config.engine.memory_budget // SHARDS_OF_BUDGET
    index, *other_indexes = [
        BuildIndex(configured[one.stages.source], shard_bytes, device, pool.resources, one.stages, one.config.geometry)
        for one in encoders
    ]
    return [
        index,
        SearchShards(config.search, searchers),
        SearchDeeper(config.search, config.select, searchers),
        *(stage for both in zip(encoders[1:], other_indexes, strict=True) for stage in both),
        *proposing(config.proposers, searchers),
        *([CarryVectors(bool(config.proposers), searchers)] if config.select.reads_vectors else []),
    ]


def _cache(config: Config) -> Cache:
    return Cache(config.engine.cache, config.engine.cache_size)


def _trial(encoder: EncodeTexts) -> list[Stage]:
    """Try the model before anything is prepared, where it is needed at all."""
    if encoder.weights is None:
        return []
    sides = tuple(side for side in SIDES if side not in encoder.precomputed)
    return [TryModel(encoder.config, encoder.weights, sides, encoder.pool, encoder.device, encoder.stages)]


def _encoders(config: Config, machines: Machines) -> list[EncodeTexts]:
    """Return the stage that encodes with the model of the run, and those that do with the model of a proposer."""
    workers = encoder_pool(config.engine, machines)
    came: dict[Side, bool] = {
        "document": config.data.has_vectors("corpus"),
        "query": config.data.has_vectors("queries"),
    }
    precomputed = frozenset(side for side, vectors in came.items() if vectors)
    return [
        _encoder(config.encoder, precomputed, workers, OF_RUN),
        *(_encoder(one.encoder, frozenset(), workers, EncoderStages(one.source)) for one in _second_encoders(config)),
    ]


def _second_encoders(config: Config) -> list[SecondEncoder]:
    return [one for one in config.proposers if isinstance(one, SecondEncoder)]


def _encoder(
    config: EncoderConfig, precomputed: frozenset[Side], workers: tuple[Pool, Device], stages: EncoderStages
) -> EncodeTexts:
    pool, device = workers
    weights: str | None = None
    encoder = resolve(config, device)
    folder: Path | None = None
    if len(precomputed) < len(SIDES):
        folder = model_folder(str(encoder.model), encoder.revision, encoder.key("model"))
        weights = weights_digest(folder, encoder.trust_remote_code, encoder.key("model"))
        if Path(str(encoder.model)).is_dir():  # a worker runs in another folder; a hub id it finds by itself
            encoder = encoder.model_copy(update={"model": str(folder)})
    return EncodeTexts(with_saved_settings(encoder, folder), weights, precomputed, pool, device, stages)
