"""The configuration of the text pipeline."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from operators.candidates.select import SelectConfig
from operators.datasets.formats import ExportConfig
from operators.documents.clean import CleanConfig
from operators.documents.data import DataConfig
from operators.vectors.encoder import EncoderConfig
from operators.vectors.factory import check_factory
from operators.vectors.index import IndexConfig
from operators.vectors.search import SearchConfig
from pipelines.runtime.config import EngineConfig, RunConfig
from pipelines.runtime.engines.ray_cluster import RayCluster
from pipelines.runtime.stage import Stage
from pipelines.text import COMMANDS


class Config(RunConfig):
    """All of a run of the text pipeline."""

    pipeline: Literal["text"] = "text"
    data: DataConfig
    clean: CleanConfig = CleanConfig()
    encoder: EncoderConfig = EncoderConfig()
    index: IndexConfig = IndexConfig()
    search: SearchConfig = SearchConfig()
    select: SelectConfig = SelectConfig()
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
        """Check the factory string, with FAISS."""
        check_factory(self.index.factory)

    def sources_options(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the storage options of the sources."""
        kinds = ("corpus", "queries", "judgements", "pairs")
        sources = {kind: source.storage_options for kind in kinds if (source := getattr(self.data, kind)) is not None}
        return {"data": self.data.storage_options, **sources}

    @field_validator("index", mode="before")
    @classmethod
    def _a_string_is_a_factory(cls, value: object) -> object:
        return {"factory": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.select.range_max > self.search.k:
            raise ValueError(
                f"select.range_max ({self.select.range_max}) is deeper than search.k ({self.search.k}) finds. "
                f"Raise search.k or lower select.range_max."
            )
        if self.encoder.model is None and not (self.data.has_vectors("corpus") and self.data.has_vectors("queries")):
            raise ValueError(
                "encoder.model is missing. Name a sentence-transformers model, or the columns that hold the vectors "
                "(data.corpus.columns.vector and data.queries.columns.vector)."
            )
        return self
