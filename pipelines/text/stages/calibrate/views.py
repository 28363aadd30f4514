"""Hide known positives: for a sample of them what search would have found, had nobody judged them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.candidates.false_negatives.list_similarity import with_list_similarities
from operators.candidates.false_negatives.views import by_query, hide, leave_one_out, of_several, similarities
from operators.keys import Keys, uniform
from operators.schemas import POSITIVES, matrix_of, to_numpy
from operators.segments import starts_of
from operators.vectors.geometry import InnerProduct
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.runtime.stage import Stage, Summary
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.search.candidates import ALL, ReadFound, inputs_of, positives_of, units_of
from pipelines.text.stages.search.carry import carry_to_candidates
from pipelines.text.stages.search.shards import SearchPool
from pipelines.text.stages.wanted import WANTED

VIEWS = "calibrate/views"
# Positives and queries, and the same of queries that have several positives.
COUNTS = ("positives", "queries", "several", "queries_of_several")
SAMPLE_SEED = 13
# The positives that each view shows, and the query of the view.
SHOWN = POSITIVES.append(pa.field("origin", pa.int64()))


@dataclass(frozen=True)
class HidePositives(Stage):
    """Partitions of candidates -> partitions of views: candidates (VIEWED) and shown positives (SHOWN).

    Attributes:
        searchers: who opens the shards.
        views: how many positives are hidden, each in a view of its own: about, or all.
    """

    searchers: SearchPool
    views: int

    name = VIEWS

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The vectors, and the stages that leave candidates."""
        return ("encode", "index", *inputs_of(False))

    def settings(self) -> Mapping[str, Any]:
        """Return how many views there are."""
        return {"views": self.views}

    def run(self, execution: Execution) -> Summary:
        """Hide positives in every partition."""
        found = {name: execution.inputs[name] for name in inputs_of(False)}
        folders = {name: output.folder for name, output in found.items()}
        units = units_of(found)
        read = ReadFound(folders)
        counted = execution.map("count", partial(CountSeveral, read), units)
        counts = {name: sum(one[name] for one in counted) for name in COUNTS}
        several = counts["several"]
        sample = Sample(read, self.views / max(several, 1))

        def write(geometry: InnerProduct) -> Callable[[], WriteViews]:
            return partial(WriteViews, execution.folder, sample, geometry)

        named_in = partial(documents_in, sample)
        _, stats = carry_to_candidates(execution, "hide", found, named_in, write, self.searchers)
        return Summary(
            rows_in=several,
            rows_out=sum(one["rows_out"] for one in stats),
            facts=counts,
            parts={kind: [one[kind] for one in stats] for kind in ("views", "shown")},
            temporary=[WANTED],
        )


@dataclass(frozen=True)
class CountSeveral:
    """One partition -> how many positives and queries it has, and how many of either where a query has several."""

    read: ReadFound

    def __call__(self, unit: Unit) -> Stats:
        """Count in one partition."""
        positives = positives_of(self.read.folders[ALL], unit.args["positives"])
        query = np.sort(to_numpy(positives, "query_key"))
        several = query[of_several(query)]
        numbers = (len(query), len(np.unique(query)), len(several), len(np.unique(several)))
        return {**dict(zip(COUNTS, numbers, strict=True)), "rows_out": 0}


@dataclass(frozen=True)
class Sample:
    """Reads the queries of a partition of which some positive is in the sample.

    Attributes:
        read: what search left.
        share: of the positives that are in the sample.
    """

    read: ReadFound
    share: float

    def __call__(self, args: Mapping[str, Any]) -> tuple[pa.Table, pa.Table, npt.NDArray[np.bool_]]:
        """Return candidates and positives of these queries, by ascending query, and which positives are in the sample.

        Args:
            args: of a unit of `units_of`.
        """
        candidates, positives = map(by_query, self.read(Unit("", dict(args))))
        query = to_numpy(positives, "query_key")
        sampled = uniform(SAMPLE_SEED, query, to_numpy(positives, "doc_key")) < self.share
        found = np.isin(query, np.unique(to_numpy(candidates, "query_key")))
        sampled &= of_several(query) & found
        queries = pa.array(np.unique(query[sampled]))
        some = pc.is_in(positives.column("query_key"), queries)
        return (
            candidates.filter(pc.is_in(candidates.column("query_key"), queries)),
            positives.filter(some),
            sampled[np.asarray(some)],
        )


def documents_in(sample: Sample, args: Mapping[str, Any]) -> Keys:
    """Return the keys of the documents whose vectors a partition needs, each once."""
    candidates, positives, _ = sample(args)
    return np.union1d(to_numpy(candidates, "doc_key"), to_numpy(positives, "doc_key"))


@dataclass(frozen=True)
class WriteViews:
    """All vectors that a partition needs -> its views."""

    folder: StageFolder
    sample: Sample
    geometry: InnerProduct

    def __call__(self, bucket: Unit, arrived: pa.Table) -> Stats:
        """Write the views of one partition."""
        candidates, positives, sampled = self.sample(bucket.args)
        shown = leave_one_out(to_numpy(positives, "query_key"), sampled)
        vectors = to_numpy(arrived, "key"), matrix_of(arrived.column("vector"))
        similarity = similarities(candidates, positives, *vectors, self.geometry)
        candidates = with_list_similarities(candidates, *vectors, self.geometry)
        views, judged = hide(candidates, positives, similarity, shown)
        origin = to_numpy(positives, "query_key")[shown.positive]
        tables = {"views": views, "shown": judged.append_column("origin", pa.array(origin))}
        files = {
            kind: {
                **self.folder.write_table(f"{kind}/part-{bucket.name}.parquet", table),
                "rows": table.num_rows,
            }
            for kind, table in tables.items()
        }
        return {**files, "rows_out": len(starts_of(shown.view))}
