"""The names of the stages that serve one encoder: that of the run, or another one that proposes candidates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.runtime.stage import Section


@dataclass(frozen=True)
class EncoderStages:
    """In which stages an encoder is tried, encodes and is indexed, and where its keys and its results stand.

    Attributes:
        source: of the proposer that it belongs to; empty for the encoder of the run.
    """

    source: str = ""

    @property
    def trial(self) -> str:
        """The stage that tries the model."""
        return f"prepare/model_{self.source}" if self.source else "prepare/model"

    @property
    def encode(self) -> str:
        """The stage that encodes."""
        return f"search/encode_{self.source}" if self.source else "encode"

    @property
    def index(self) -> str:
        """The stage that builds the index."""
        return f"search/index_{self.source}" if self.source else "index"

    @property
    def section(self) -> str:
        """What stands before the keys of the configuration that messages name."""
        return f"proposers.{self.source}." if self.source else ""

    def reported(self, facts: Mapping[str, Any], what: str, said: str) -> Section:
        """Return what a stage adds to the report: its facts, and a sentence on what is meant of the encoder."""
        if not self.source:
            return Section(facts, [f"{what}: {said}."])
        return Section({"proposers": {self.source: facts}}, [f"{what} of {self.source}: {said}."])


OF_RUN = EncoderStages()
