"""Search deeper for the queries that the filters leave short, and for them alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from operators.candidates.config import SelectConfig
from operators.candidates.select import Select
from operators.schemas import CANDIDATES, concat
from operators.vectors.nearest import OperatingPoint
from operators.vectors.search import SearchConfig
from operators.vectors.tune import SAMPLE
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.stage import Section, Stage, Summary
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.encode import geometry_in
from pipelines.text.stages.search.candidates import positives_of, replaced
from pipelines.text.stages.search.operating_point import line_of, missed_recall, tuned_operating_point
from pipelines.text.stages.search.queries import facts_of
from pipelines.text.stages.search.rounds import SearchContext, search_round
from pipelines.text.stages.search.shards import Indexed, SearchPool


@dataclass(frozen=True)
class SearchDeeper(Stage):
    """Candidates of all queries -> deeper candidates (CANDIDATES) of those that have too few after the filters.

    Attributes:
        config: to what depth.
        select: the filters, and how many candidates have to pass them.
        searchers: who searches.
    """

    config: SearchConfig
    select: SelectConfig
    searchers: SearchPool

    name = "search/short"
    announced = False
    inputs = ("encode", "index", "search/all")

    def warnings(self, manifest: Mapping[str, Any]) -> list[str]:
        """Warn of rounds whose recall is below the target."""
        return missed_recall(manifest["rounds"])

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Say what every round was."""
        return Section({"search": {"deeper": outputs[self.name].manifest["rounds"]}})

    def settings(self) -> Mapping[str, Any]:
        """Return the depths, and what of the selection decides who is short."""
        tuning = self.config.model_dump(exclude={"k", "max_k"})
        return {
            "depths": self.config.retry_depths(),
            "needed": self.select.needed,
            "max_rows_per_query": self.select.max_rows_per_query,
            "code": self.select.code(),
            "filters": [one.model_dump(mode="json") for one in self.select.filters_of_search()],
            "margin_positive": self.select.margin_positive,
            **tuning,
        }

    def run(self, execution: Execution) -> Summary:
        """Look who is short, search them deeper, and look again."""
        encoded, index, searched = (execution.inputs[name] for name in self.inputs)
        queries = encoded.parts("queries")
        searching = SearchContext(
            index=index,
            queries=encoded,
            geometry=geometry_in(encoded),
            positives=(searched.folder, [{"file": part} for part in searched.parts("positives")]),
            point=OperatingPoint(exact=True),
            searchers=self.searchers,
        )
        folder, parts = searched.folder, searched.parts("candidates")
        k, seconds, rounds, deeper = self.config.k, 0.0, [], list[dict[str, Any]]()
        for depth in self.config.retry_depths():
            short = self._short(execution, (folder, parts), k)
            only: list[Record | None] = [None] * len(queries)
            for one in short:
                only[one["part"]] = one["file"] if one["rows_out"] else None
            if not any(only):
                break
            asked = sum(one["rows_out"] for one in short)
            execution.progress.say(f"search/short: {asked:,} {'query' if asked == 1 else 'queries'}, {depth:,} deep")
            deeper.append(self._tuned(execution, depth, short, only))
            searching = replace(searching, point=OperatingPoint(**deeper[-1]["operating_point"]))
            found = search_round(execution, searching, depth, queries, only)
            folder, parts, k = execution.folder, found.parts, depth
            seconds += found.compute_seconds
            rounds.append(found.parts)
        together = self._together(execution, len(queries), rounds)
        depths = [self.config.k, *self.config.retry_depths()]
        return Summary(
            rows_in=deeper[0]["queries"] if deeper else 0,
            rows_out=sum(one["rows_out"] for one in together),
            compute_seconds=seconds,
            facts={"depth": k, "rounds": deeper},
            line=None if deeper else "nothing to search deeper",
            parts={"candidates": [{**one["file"], "rows": one["rows_out"]} for one in together]},
            temporary=[f"{kind}-{depth}" for kind in ("short", "merged", "sample", "tried") for depth in depths],
        )

    def _tuned(
        self, execution: Execution, depth: int, short: Sequence[Stats], only: Sequence[Record | None]
    ) -> dict[str, Any]:
        """Decide how hard a round searches: so that it reaches the recall target at its own depth."""
        queries = sum(one["rows_out"] for one in short)
        automatic = self.config.nprobe == "auto" and self.config.refine_factor == "auto"
        tuned = None
        # A sample is searched exactly: for so few queries that is all there is to do.
        if queries > SAMPLE or not automatic:
            at_depth = self.config.model_copy(update={"k": depth})
            encoded, index, _ = (execution.inputs[name] for name in self.inputs)
            tuned = tuned_operating_point(execution, at_depth, Indexed(encoded, index, self.searchers), only)
        if tuned is not None:
            execution.progress.say(f"{self.name}: {line_of(tuned)}")
        point = OperatingPoint(exact=True) if tuned is None else tuned.point
        return {"k": depth, "queries": queries, **facts_of(point, tuned, self.config)}

    def _short(self, execution: Execution, found: tuple[StageFolder, list[dict[str, Any]]], k: int) -> list[Stats]:
        folder, parts = found
        searched = execution.inputs["search/all"]
        positives = searched.parts("positives")
        files = {part["part"]: {"candidates": part, "positives": positives[part["part"]]} for part in parts}
        units = [Unit(f"{number:05d}", {"part": number, **of_part}) for number, of_part in files.items()]
        # Folders and no manifest, which grows with the queries: a worker gets the work anew with each batch of units.
        folders = {"candidates": folder, "positives": searched.folder}
        finding = partial(FindShort, execution.folder, folders, self.select, k)
        return execution.map(f"short-{k}", finding, units)

    def _together(self, execution: Execution, parts: int, rounds: list[list[dict[str, Any]]]) -> list[Stats]:
        found: list[list[Record]] = [[] for _ in range(parts)]
        for one in rounds:
            for part in one:
                found[part["part"]].append(part)
        units = [Unit(f"{i:05d}", {"found": files}) for i, files in enumerate(found)]
        return execution.map("together", partial(DeepestOf, execution.folder), units)


class FindShort:
    """One partition of candidates -> its queries that have too few after the filters, though there are more."""

    def __init__(self, folder: StageFolder, folders: Mapping[str, StageFolder], select: SelectConfig, k: int) -> None:
        self.folder, self.folders, self.select, self.k = folder, folders, Select(select), k

    def __call__(self, unit: Unit) -> Stats:
        """Look at one partition."""
        part = unit.args["part"]
        candidates = self.folders["candidates"].read_table(unit.args["candidates"])
        positives = positives_of(self.folders["positives"], unit.args["positives"])
        short = self.select.short_queries(candidates, positives, self.k)
        file = self.folder.write_table(f"short-{self.k}/part-{unit.name}.parquet", pa.table({"query_key": short}))
        return {"file": file, "rows_out": len(short), "part": part}


class DeepestOf:
    """What every round found for a partition -> for each query what the last round did that searched it."""

    def __init__(self, folder: StageFolder) -> None:
        self.folder = folder

    def __call__(self, unit: Unit) -> Stats:
        """Bring one partition together."""
        deepest = concat([], CANDIDATES)
        for found in unit.args["found"]:
            deepest = replaced(deepest, self.folder.read_table(found))
        file = self.folder.write_table(f"candidates/part-{unit.name}.parquet", deepest)
        return {"file": file, "rows_out": deepest.num_rows}
