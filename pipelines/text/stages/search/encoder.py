"""Candidates of a second encoder: its index is searched for every query, as that of the run's encoder is."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from operators.candidates.proposers.encoder import SecondEncoder
from operators.plugins import code_of
from operators.schemas import POSITIVE_DOCUMENT, PROPOSALS, to_numpy
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.stage import Section, Summary
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.encoder_stages import EncoderStages
from pipelines.text.stages.search.operating_point import missed_recall
from pipelines.text.stages.search.positives import CARRIED
from pipelines.text.stages.search.proposer_stage import ProposerStage
from pipelines.text.stages.search.queries import search_queries
from pipelines.text.stages.search.shards import Indexed, SearchPool


@dataclass(frozen=True)
class ProposeByEncoder(ProposerStage):
    """Shards and partitions of query vectors of a second encoder -> partitions of proposals (PROPOSALS).

    Attributes:
        proposer: its settings.
        name: of the stage.
        searchers: who searches.
    """

    proposer: SecondEncoder
    searchers: SearchPool

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The judgements, and what its encoder left."""
        stages = EncoderStages(self.proposer.source)
        return ("prepare/queries", stages.encode, stages.index)

    def settings(self) -> Mapping[str, Any]:
        """Return how its vectors are searched, and a digest of code that is not ours: inputs say the rest."""
        return {**self.proposer.search.model_dump(exclude={"max_k"}), "code": code_of(self.proposer)}

    def warnings(self, manifest: Mapping[str, Any]) -> list[str]:
        """Warn of a recall below the target, too."""
        return [*super().warnings(manifest), *missed_recall([manifest])]

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Say which model it is, how hard it was searched, and what was found of the nearest documents."""
        manifest, model = outputs[self.name].manifest, self.proposer.model
        facts = {"model": model, "search": {key: manifest[key] for key in ("operating_point", "recall")}}
        recall = manifest["recall"]
        said = f"{model}, " + ("exact" if recall is None else f"recall@{recall['k']} {recall['recall']:.3f}")
        return EncoderStages(self.proposer.source).reported(facts, "Search", said)

    def run(self, execution: Execution) -> Summary:
        """Search for every query, and propose what is not judged positive."""
        prepared, encoded, index = (execution.inputs[name] for name in self.inputs)
        searched = search_queries(execution, prepared, Indexed(encoded, index, self.searchers), self.proposer.search)
        units = [Unit(f"{i:05d}", {"found": part}) for i, part in enumerate(searched.found.parts)]
        stats = execution.map("propose", partial(ProposeFound, execution.folder), units)
        return Summary(
            rows_in=sum(part["rows"] for part in encoded.parts("queries")),
            rows_out=sum(one["rows_out"] for one in stats),
            compute_seconds=searched.found.compute_seconds,
            facts=searched.facts,
            parts={"proposals": [one["file"] for one in stats]},
            temporary=[*searched.temporary, CARRIED, f"merged-{self.proposer.limit}"],
        )


@dataclass(frozen=True)
class ProposeFound:
    """The candidates of a partition of queries by their second encoder -> those that are not judged positive.

    They keep their ranks in the search, which counts positives.
    """

    folder: StageFolder

    def __call__(self, unit: Unit) -> Stats:
        """Propose for one partition."""
        found = self.folder.read_table(unit.args["found"], [*PROPOSALS.names, "positive_kind"])
        other = to_numpy(found, "positive_kind") != POSITIVE_DOCUMENT
        proposed = found.filter(pa.array(other)).select(PROPOSALS.names).cast(PROPOSALS)
        file = self.folder.write_table(f"proposals/part-{unit.name}.parquet", proposed)
        return {"file": {**file, "rows": proposed.num_rows}, "rows_out": proposed.num_rows}
