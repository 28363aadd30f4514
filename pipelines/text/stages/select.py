"""Select: candidates -> negatives, and suspected false negatives with their reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.candidates.config import SelectConfig
from operators.candidates.draw import labels_of
from operators.candidates.false_negatives.config import FalseNegativeConfig
from operators.candidates.false_negatives.model import PROBABILITY, Rate
from operators.candidates.select import Select
from operators.candidates.short_draws import WANTING
from operators.candidates.sources import distinct
from operators.datasets.card import filled
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput, sum_counts
from pipelines.runtime.stage import MOST_DROPPED, Figure, Histogram, Section, Stage, Summary
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import RunDirectory, StageFolder
from pipelines.text.scores import scores_of
from pipelines.text.stages.capped import CAPPED, matched, read_cutoffs
from pipelines.text.stages.limit import limit_of, limits_from
from pipelines.text.stages.search.candidates import ALL, ReadFound, inputs_of, units_of
from pipelines.text.stages.why_short import why_short

PAIRS = ("pairs", "short_rows", "empty_rows")
ROUNDS, LEFT_OUT, GIVEN_BACK = "matching_rounds", "rows_left_out", "rows_given_back"
SHORT_DRAWS = "short_draws"
LIMIT, EXPECTED = "max_false_negative_probability", "expected_false_negatives"
DISTINCT = "different_negatives"
INTERVAL = "expected_false_negatives_interval"
RISK = (LIMIT, EXPECTED, INTERVAL, DISTINCT)
PREDICTED = "predicted_false_negatives"
DRAWN = ("positives", "negatives")
DRAWS, SHARE = "draws", ("wanted", "taken", "short_rows")


@dataclass(frozen=True)
class SelectNegatives(Stage):
    """Partitions of candidates and positives -> partitions of negatives and of suspected false negatives (SELECTED).

    Attributes:
        config: what is chosen.
        sources: the names of the proposers.
        signals: those in use.
        judged: the proposers whose candidates are known not to be relevant.
        false_negatives: the model, where it is in use.
    """

    config: SelectConfig
    sources: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    judged: tuple[str, ...] = ()
    false_negatives: FalseNegativeConfig | None = None

    name = "select"

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The stages that leave candidates, and those that compute the signals and carry the vectors in use."""
        return inputs_of(bool(self.sources), self.signals, self.config.reads_vectors)

    def warnings(self, manifest: Mapping[str, Any]) -> list[str]:
        """Warn where the target is missed, and where most pairs have fewer negatives than wanted."""
        return [*self._missed(manifest), *self._short(manifest)]

    def _missed(self, manifest: Mapping[str, Any]) -> list[str]:
        target = self.config.target_false_negative_rate
        if target is None or not manifest[DISTINCT] or manifest[LIMIT] > limits_from(target)[0]:
            return []
        rate = manifest[EXPECTED] / manifest[DISTINCT]
        if rate <= target:
            return []
        return [
            f"select.target_false_negative_rate: {target:g} is not met: under the lowest limit that is tried, "
            f"{manifest[LIMIT]:.3g}, {rate:.2%} of the negatives are expected to be relevant. Raise it, or set "
            f"max_false_negative_probability lower"
        ]

    def _short(self, manifest: Mapping[str, Any]) -> list[str]:
        short = manifest["short_rows"] + manifest["empty_rows"]
        if short <= MOST_DROPPED * manifest["pairs"]:
            return []
        counts: Mapping[str, Mapping[str, int]] = manifest[SHORT_DRAWS]
        label = max(counts, key=lambda name: counts[name][WANTING])
        draws = dict(zip(labels_of(self.config.active_draws()), self.config.active_draws(), strict=True))
        by = f" Most of what is missing is of the draw {label}." if len(draws) > 1 else ""
        return [f"{_filled(manifest)}.{by} {why_short(self.config, draws[label], counts[label])}"]

    def report(self, outputs: Mapping[str, StageOutput]) -> Section:
        """Say how many pairs have negatives, and how hard these are."""
        selected = outputs[self.name]
        scores = scores_of(outputs[ALL], selected)
        distributions = {name: one.distribution() for name, one in scores.items()}
        columns, rounds = list(distributions["positives"]), selected.manifest[ROUNDS]
        more = {name: count for name in (ROUNDS, LEFT_OUT, GIVEN_BACK) if (count := selected.manifest[name])}
        matching = [f"Rows were matched with documents in {rounds} rounds."] if rounds else []
        short = more.get(GIVEN_BACK, 0)
        dropped = [f"{short:,} of the pairs with none had fewer than wanted, and gave them back."] if short else []
        expected = self._expected(selected.manifest)
        facts = {"pairs": {key: selected.manifest[key] for key in PAIRS}, DRAWS: selected.manifest[DRAWS]}
        return Section(
            facts={
                **facts,
                "scores": distributions,
                **more,
                **{name: value for name in RISK if (value := selected.manifest[name]) is not None},
            },
            sentences=[
                f"{_filled(selected.manifest)}. Dropped candidates count once for each pair of their query.",
                *dropped,
                *matching,
                *expected,
            ],
            figures=[
                Figure(
                    "Scores",
                    (
                        ["", *columns],
                        [[name, *(one.get(key, "") for key in columns)] for name, one in distributions.items()],
                    ),
                    Histogram("similarity to the query", {name: scores[name].sample for name in DRAWN}),
                ),
                self._draws(selected.manifest[DRAWS]),
            ],
        )

    def _expected(self, manifest: Mapping[str, Any]) -> list[str]:
        """Say how many false negatives are expected, and from which probability on candidates were dropped."""
        expected, limit = manifest[EXPECTED], manifest[LIMIT]
        if expected is None:
            return []
        number = max(manifest[DISTINCT], 1)
        share, ends = expected / number, manifest[INTERVAL]
        sure = "" if ends is None else f", 95 % interval {ends[0] / number:.2%} to {ends[1] / number:.2%}"
        dropped = "" if limit is None else f" Candidates above {limit:.3g} were dropped."
        pairs = f"{manifest[DISTINCT]:,} different pairs of a query and a negative"
        return [f"By the model, {expected:,.0f} of {pairs} ({share:.2%}{sure}) are expected to be relevant.{dropped}"]

    def _draws(self, shares: Mapping[str, Mapping[str, int]]) -> Figure:
        """List what each draw should take, and took."""
        sources = [draw.source or "any" for draw in self.config.active_draws()]
        rows = [
            [name, source, *(f"{one[key]:,}" for key in SHARE)]
            for (name, one), source in zip(shares.items(), sources, strict=True)
        ]
        return Figure("Draws", (["draw", "source", "wanted", "taken", "rows left short"], rows))

    def publish(
        self, outputs: Mapping[str, StageOutput], run: RunDirectory, configuration: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """Return where the suspected false negatives are."""
        del run, configuration
        return {"suspected": f"{outputs[self.name].folder.uri}/suspected"}

    def settings(self) -> Mapping[str, Any]:
        """Return the configuration."""
        return {**self.config.model_dump(mode="json"), "code": self.config.code()}

    def run(self, execution: Execution) -> Summary:
        """Select in every partition."""
        read = ReadFound({name: output.folder for name, output in execution.inputs.items()}, self.sources)
        searched, units = execution.inputs[ALL], units_of(execution.inputs)
        select = Select(self.config, self.sources, searched.manifest["dimension"], self.judged)
        limit = self.config.max_false_negative_probability
        if self.config.target_false_negative_rate is not None:
            limit = limit_of(execution, read, select, units, searched.manifest["rows_in"], self._rate)
            select = select.limited(limit)
        matching = None
        if self.config.max_rows_per_document is not None:
            rows = sum(part["rows"] for part in searched.parts("positives"))
            matching = matched(execution, read, select, units, rows)
        cutoffs = None if matching is None else matching.files
        selecting = partial(SelectPart, execution.folder, read, select, cutoffs)
        stats = execution.map("select", selecting, units)
        predicted, pairs = _sum_of([one[PREDICTED] for one in stats]), sum(one[DISTINCT] for one in stats)
        rate = None if predicted is None or not pairs else self._rate(predicted / pairs)
        return Summary(
            rows_in=sum(one["rows_in"] for one in stats),
            rows_out=sum(one["rows_out"] for one in stats),
            dropped=sum_counts(stats, "dropped"),
            facts={
                **{name: sum(one[name] for one in stats) for name in PAIRS},
                **{name: sum(one[name] for one in stats) for name in (LEFT_OUT, GIVEN_BACK)},
                SHORT_DRAWS: {
                    label: sum_counts([one[SHORT_DRAWS] for one in stats if label in one[SHORT_DRAWS]], label)
                    for label in sorted({label for one in stats for label in one[SHORT_DRAWS]})
                },
                LIMIT: limit,
                EXPECTED: predicted if rate is None else rate.rate * pairs,
                INTERVAL: None if rate is None else rate.among(pairs),
                DISTINCT: pairs,
                ROUNDS: 0 if matching is None else matching.rounds,
                DRAWS: {
                    name: {key: sum(one[DRAWS][at][key] for one in stats) for key in SHARE}
                    for at, name in enumerate(select.labels)
                },
            },
            parts={kind: [one[kind] for one in stats] for kind in ("negatives", "suspected")},
            temporary=[CAPPED],
        )

    def _rate(self, predicted: float) -> Rate:
        """Return the rate of false negatives that a mean probability stands for."""
        used = self.false_negatives
        return Rate(predicted) if used is None else used.model.expected(predicted, used.unjudged_share)


def _expected(negatives: pa.Table) -> dict[str, Any]:
    """Return how many different negatives of queries there are, and the sum of their probabilities, if computed."""
    pairs = distinct(negatives)
    return {DISTINCT: pairs.num_rows, PREDICTED: pc.sum(pairs.column(PROBABILITY).cast(pa.float64())).as_py()}


def _sum_of(numbers: Sequence[float | None]) -> float | None:
    known = [one for one in numbers if one is not None]
    return sum(known) if known else None


def _filled(manifest: Mapping[str, Any]) -> str:
    return filled(*(manifest[key] for key in PAIRS))


class SelectPart:
    """One partition of candidates -> its negatives."""

    def __init__(self, folder: StageFolder, read: ReadFound, select: Select, cutoffs: Sequence[Record] | None) -> None:
        self.folder, self.read, self.select = folder, read, select
        self.cutoffs = None if cutoffs is None else read_cutoffs(folder, cutoffs)

    def __call__(self, unit: Unit) -> Stats:
        """Select in one partition."""
        candidates, positives = self.read(unit)
        selection = self.select(candidates, positives, self.cutoffs)
        parts = {}
        for kind, table in (("negatives", selection.negatives), ("suspected", selection.suspected)):
            file = self.folder.write_table(f"{kind}/part-{unit.name}.parquet", table)
            parts[kind] = {**file, "rows": table.num_rows}
        counts = dict(selection.counts)
        chosen = counts.pop("negative")
        return {
            "rows_in": chosen + sum(counts.values()),
            "rows_out": chosen,
            "pairs": selection.rows,
            LEFT_OUT: positives.num_rows - selection.rows,
            GIVEN_BACK: selection.given_back,
            **_expected(selection.negatives),
            "dropped": {reason: count for reason, count in counts.items() if count},
            DRAWS: [asdict(share) for share in selection.draws],
            "short_rows": selection.short_rows,
            "empty_rows": selection.empty_rows,
            SHORT_DRAWS: selection.short_draws,
            **parts,
        }
