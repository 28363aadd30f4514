"""Search the index of an encoder for all queries: carry their positives, tune the operating point, search, merge."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from operators.vectors.costs import COSTS
from operators.vectors.nearest import OperatingPoint
from operators.vectors.precision import multiplies_bfloat16
from operators.vectors.search import SearchConfig
from operators.vectors.tune import Tuned
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.storage.records import Record
from pipelines.text.stages.search.operating_point import line_of, tuned_operating_point
from pipelines.text.stages.search.positives import carry_positives
from pipelines.text.stages.search.rounds import Found, SearchContext, search_round
from pipelines.text.stages.search.shards import Indexed
from pipelines.text.stages.wanted import WANTED


@dataclass(frozen=True)
class Searched:
    """What a search of all queries found.

    Attributes:
        found: the candidates.
        positives: a file for each partition of queries (schema positive_vectors_schema), with its rows.
        facts: for the manifest: the operating point, and its recall, or null where every vector was compared.
        temporary: folders that nobody reads when the stage is committed.
    """

    found: Found
    positives: Sequence[Record]
    facts: Mapping[str, Any]
    temporary: Sequence[str]


def search_queries(execution: Execution, prepared: StageOutput, indexed: Indexed, config: SearchConfig) -> Searched:
    """Find `config.k` documents for each query, with the effort that the recall target needs.

    Args:
        execution: of the stage.
        prepared: the queries and the judgements.
        indexed: the vectors, in the partitions of `prepared`, and the index.
        config: how deep, and how well.
    """
    queries = indexed.encoded.parts("queries")
    carried = carry_positives(execution, prepared, indexed)
    tuned = tuned_operating_point(execution, config, indexed)
    if tuned is not None:
        execution.progress.say(f"{execution.stage}: {line_of(tuned)}")
    point = OperatingPoint(exact=True) if tuned is None else tuned.point
    searchers = replace(indexed.searchers, device=_device(indexed))
    positives = (execution.folder, carried)
    searching = SearchContext(indexed.index, indexed.encoded, indexed.geometry, positives, point, searchers)
    return Searched(
        found=search_round(execution, searching, config.k, queries),
        positives=[{**one["file"], "rows": one["rows_out"]} for one in carried],
        facts=facts_of(point, tuned, config),
        temporary=[WANTED, f"sample-{config.k}", f"tried-{config.k}"],
    )


def facts_of(point: OperatingPoint, tuned: Tuned | None, config: SearchConfig) -> dict[str, Any]:
    """Return what manifests say of how hard a search was, and of what it found of the nearest documents."""
    recall = None if tuned is None else {**asdict(tuned), "target": config.recall_target}
    return {"operating_point": asdict(point), "recall": recall}


def _device(indexed: Indexed) -> str:
    """Return the device that compares every vector: for much work torch's, where it has bfloat16 in hardware."""
    queries, manifest = sum(part["rows"] for part in indexed.encoded.parts("queries")), indexed.index.manifest
    products = queries * manifest["rows_out"] * 2 * manifest["dimension"]
    device = indexed.searchers.device
    return "cpu:0" if device == "cpu" and COSTS.worth_torch(products) and multiplies_bfloat16() else device
