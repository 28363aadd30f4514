"""What all stages share that propose candidates: their settings are those of their proposer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from operators.candidates.proposer import CandidateSource
from operators.errors import shown
from operators.plugins import code_of
from pipelines.runtime.stage import Stage


@dataclass(frozen=True)
class ProposerStage(Stage):
    """Something -> partitions of proposals (PROPOSALS), one for each partition of queries.

    Attributes:
        proposer: who proposes.
        name: of the stage.
    """

    proposer: CandidateSource
    name: str

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration of the proposer, and a digest of its code where that is not ours."""
        return {**self.proposer.model_dump(mode="json"), "code": code_of(self.proposer)}

    def warnings(self, manifest: Mapping[str, Any]) -> list[str]:
        """Warn of a proposer that proposes nothing, and say why where that is known."""
        if manifest["rows_out"]:
            return []
        nothing = f"{self.proposer.source} proposed no document"
        lines = [f"{nothing}: {self._lacks(name)}" for name in manifest.get("lacking", [])]
        reason = self.proposer.reason_of_nothing()
        return lines or [f"{nothing}: {reason}" if reason else nothing]

    def _lacks(self, name: str) -> str:
        """Return which metadata nothing has, and which key names it."""
        side, _, field = name.partition(".")
        place = next(reading.place for reading in self.proposer.readings() if name in reading.names)
        return f"no {side} has the metadata {shown(field)} that {place} names"
