"""Search: every query in the index of the run's encoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from operators.vectors.search import SearchConfig
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.stage import Section, Stage, Summary
from pipelines.text.stages.search.operating_point import missed_recall
from pipelines.text.stages.search.queries import search_queries
from pipelines.text.stages.search.shards import Indexed, SearchPool


@dataclass(frozen=True)
class SearchShards(Stage):
    """Shards and partitions of query vectors -> partitions of candidates (CANDIDATES) and of positives.

    The positives (schema positive_vectors_schema) keep their documents' vectors: deeper rounds need them.

    Attributes:
        config: how deep, and how well.
        searchers: who searches.
    """

    config: SearchConfig
    searchers: SearchPool

    name = "search/all"
    inputs = ("prepare/queries", "encode", "index")

    def warnings(self, manifest: Mapping[str, Any]) -> list[str]:
        """Warn of a recall below the target."""
        return missed_recall([manifest])

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Say how hard it searched, and what it found of the nearest documents."""
        manifest = outputs[self.name].manifest
        return Section({"search": {key: manifest[key] for key in ("operating_point", "recall")}})

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration of this round."""
        return self.config.model_dump(exclude={"max_k"})

    def run(self, execution: Execution) -> Summary:
        """Search for every query."""
        prepared, encoded, index = (execution.inputs[name] for name in self.inputs)
        searched = search_queries(execution, prepared, Indexed(encoded, index, self.searchers), self.config)
        found = searched.found
        return Summary(
            rows_in=sum(part["rows"] for part in encoded.parts("queries")),
            rows_out=sum(part["rows"] for part in found.parts),
            compute_seconds=found.compute_seconds,
            facts={"dimension": encoded.manifest["dimension"], **searched.facts},
            parts={"candidates": found.parts, "positives": searched.positives},
            temporary=searched.temporary,
        )
