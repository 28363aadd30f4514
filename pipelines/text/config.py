"""The configuration of the text pipeline."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, SerializeAsAny, model_validator

from operators.candidates import proposers as own_proposers
from operators.candidates import signals as own_signals
from operators.candidates.config import SelectConfig
from operators.candidates.false_negatives.config import FalseNegativeConfig
from operators.candidates.false_negatives.list_similarity import LISTS
from operators.candidates.false_negatives.model import PROBABILITY
from operators.candidates.false_negatives.signal import FalseNegativeProbability
from operators.candidates.groups import GROUPS, group_column
from operators.candidates.pairs import ALWAYS_THERE, VECTOR
from operators.candidates.proposer import CandidateSource, check_sources
from operators.candidates.proposers.encoder import SecondEncoder
from operators.candidates.resemblance import RESEMBLANCE
from operators.candidates.signal import Signal
from operators.candidates.sources import NAME, SEARCH, WHERE, rank_column
from operators.candidates.suspects import SuspectsConfig
from operators.datasets.export import ExportConfig
from operators.documents.clean import CleanConfig
from operators.documents.data import DataConfig
from operators.documents.evaluation_sets import ContaminationConfig
from operators.errors import placed, shown
from operators.plugins import made
from operators.vectors.encoder import EncoderConfig
from operators.vectors.factory import check_factory
from operators.vectors.index import IndexConfig
from operators.vectors.search import SearchConfig
from pipelines.runtime.config import EngineConfig, RunConfig
from pipelines.runtime.engines.ray_cluster import RayCluster
from pipelines.runtime.stage import Stage
from pipelines.text import COMMANDS


def _signal(settings: object) -> Signal:
    return made(settings, "signal", Signal, own_signals)  # type: ignore[type-abstract]


def _proposer(settings: object) -> CandidateSource:
    return made(settings, "proposer", CandidateSource, own_proposers)


# Stages of their own compute these, beside the signals of the configuration.
OF_STAGES = frozenset({WHERE, GROUPS, *LISTS})

AnySignal = Annotated[SerializeAsAny[Signal], BeforeValidator(_signal)]
AnyProposer = Annotated[SerializeAsAny[CandidateSource], BeforeValidator(_proposer)]


class Config(RunConfig):
    """All of a run of the text pipeline; each section has a class of its own.

    Attributes:
        contamination: the evaluation sets that must not be trained on.
        proposers: what names candidates beside the search: `{proposer: name, ...}`, or `module:name` of your own.
        signals: numbers to compute for every candidate, which filters and draws read: `{signal: name, ...}`, or
            `module:name` of your own.
        false_negatives: how the probability is computed that a candidate is relevant; where it is given, every negative
            has it, and where `select` reads it, it is computed all the same.
    """

    pipeline: Literal["text"] = "text"
    data: DataConfig
    contamination: ContaminationConfig | None = None
    clean: CleanConfig = CleanConfig()
    encoder: EncoderConfig = EncoderConfig()
    index: IndexConfig = IndexConfig()
    search: SearchConfig = SearchConfig()
    proposers: tuple[AnyProposer, ...] = ()
    signals: tuple[AnySignal, ...] = ()
    false_negatives: FalseNegativeConfig | None = None
    select: SelectConfig = SelectConfig()
    suspects: SuspectsConfig = SuspectsConfig()
    export: ExportConfig = ExportConfig()
    engine: EngineConfig = EngineConfig()

    groups: ClassVar[Mapping[str, str]] = COMMANDS
    shorthands: ClassVar[Mapping[str, str]] = {
        "index": "factory",
        "data.corpus": "path",
        "data.queries": "path",
        "data.judgements": "path",
        "data.pairs": "path",
    }

    def stages(self, cluster: RayCluster | None) -> Sequence[Stage]:
        """Check every source and the model, and return the stages."""
        from pipelines.text.pipeline import stages_of  # torch and FAISS, which not every command needs

        return stages_of(self, cluster)

    def check(self) -> None:
        """Check the factory strings, with FAISS."""
        check_factory(self.index.factory)
        for one in self.proposers:
            if isinstance(one, SecondEncoder):
                with placed(f"proposers.{one.source}."):
                    check_factory(one.index.factory)

    def sources_options(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the storage options of the sources."""
        sets = {} if self.contamination is None else self.contamination.sets
        collections = {"data": self.data, **{f"contamination.sets.{name}": one for name, one in sets.items()}}
        options = [(section, one.options()) for section, one in collections.items()]
        return {f"{section}.{kind}": some for section, of_kinds in options for kind, some in of_kinds.items()}

    def used_signals(self) -> tuple[Signal, ...]:
        """Return the signals that are computed: those that filters and draws read, and the probability."""
        used = [signal for signal in self.signals if signal.gives in self.select.signals]
        if self.false_negatives is None and PROBABILITY not in self.select.signals:
            return tuple(used)
        return (*used, FalseNegativeProbability(config=self.false_negatives or FalseNegativeConfig()))

    @model_validator(mode="after")
    def _sources_and_signals_are_there(self) -> Self:
        check_sources(self.proposers)
        sources = [SEARCH, *(proposer.source for proposer in self.proposers)]
        drawn = [draw.source for draw in self.select.draws if draw.source is not None]
        unknown = sorted(set(drawn) - set(sources))
        if unknown:
            raise ValueError(
                f"select.draws: no proposer has the source {shown(unknown[0])}; the sources are {', '.join(sources)}"
            )
        there = {*ALWAYS_THERE, VECTOR, PROBABILITY, RESEMBLANCE}
        there |= {*map(rank_column, sources), *map(group_column, self.select.groups)}
        given = [signal.gives for signal in self.signals]
        wrong = next((name for name in given if not re.fullmatch(NAME, name)), None)
        if wrong is not None:
            raise ValueError(f"signals: {shown(wrong)} is no name for a signal: letters, digits and _, at most 64")
        taken = [name for number, name in enumerate(given) if name in {*there, *OF_STAGES, *given[:number]}]
        if taken:
            raise ValueError(f"signals: there are two signals {shown(taken[0])}")
        missing = sorted(self.select.signals - {*there, *given})
        if missing and missing[0].endswith(rank_column("")):
            raise ValueError(
                f"select reads the rank {shown(missing[0])}: no proposer has the source "
                f"{shown(missing[0].removesuffix(rank_column('')))}; the sources are {', '.join(sources)}"
            )
        if missing:
            raise ValueError(f"select reads the signal {shown(missing[0])}, which none of `signals` computes")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.select.deepest > self.search.k:
            raise ValueError(
                f"select.range_max ({self.select.deepest}) is deeper than search.k ({self.search.k}) finds. "
                f"Raise search.k or lower select.range_max."
            )
        if self.encoder.model is None and not (self.data.has_vectors("corpus") and self.data.has_vectors("queries")):
            raise ValueError(
                "encoder.model is missing. Name a sentence-transformers model, or the columns that hold the vectors "
                "(data.corpus.columns.vector and data.queries.columns.vector)."
            )
        return self

    @model_validator(mode="after")
    def _second_encoders_have_texts(self) -> Self:
        second = next((one.source for one in self.proposers if isinstance(one, SecondEncoder)), None)
        came = next((kind for kind in ("corpus", "queries") if self.data.has_vectors(kind)), None)
        if second is not None and came is not None and not self.clean.drop_empty:
            raise ValueError(
                f"proposers.{second}.model encodes texts: data.{came} comes with vectors, and clean.drop_empty: false "
                f"keeps rows that have no text. Set clean.drop_empty: true, or leave this proposer out."
            )
        return self
