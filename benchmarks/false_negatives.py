"""Hidden positives among the negatives, by rule: rate, hardness and yield; and whether probabilities come true.

`python -m benchmarks.false_negatives` writes benchmarks/false_negatives.md; it needs ../shared. With `--default` it
fits the model that the package ships, and writes no page.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import pages
from benchmarks.hidden import Examples, Hidden, Judged, K, judged, together
from benchmarks.outcomes import (
    CUTS,
    NEGATIVES,
    Outcome,
    at_hardness,
    by_margin,
    first_kept,
    mean,
    rate_interval,
)
from benchmarks.potion import potion_folder
from benchmarks.real_vectors import model_folder
from benchmarks.rules import SEEDS, SIGNALS, by_model, cross_fitted, drawn_frontier, frontier_rows
from benchmarks.shipped import MOST_QUERIES, TRAINING, collections_of, default_model
from operators.candidates.false_negatives.calibrate import recalibrated
from operators.candidates.false_negatives.config import DEFAULT_FILE, FalseNegativeConfig
from operators.candidates.false_negatives.features import features_of
from operators.candidates.false_negatives.model import FalseNegativeModel
from operators.schemas import to_numpy

TEST = ("vaswani", "test")
LIMIT = 0.05
JUDGED_QUERIES = (3, 6, 12, 25, 50)
TESTED_QUERIES = 40
HIDDEN_SHARES = (0.2, 0.5, 0.8)
LIMITS = (0.01, 0.02, 0.03, 0.05, 0.1)


def predictions(collection: Judged) -> Iterator[list[str]]:
    """Yield predicted and observed rates with half of the positives hidden, for several shares hidden to fit."""
    for share in (None, *HIDDEN_SHARES):
        rows: dict[float, list[Outcome]] = {}
        for seed in range(SEEDS):
            outer = Hidden.of(collection, 0.5, seed)
            if share is None:
                seen, known = outer, np.zeros(len(outer.query), dtype=np.bool_)
                probability = cross_fitted(outer, outer.examples(), 0.5)
            else:
                # So often that each positive is hidden about once: with fewer hidden ones the fit is noisy.
                several = [outer.thinned(share, seed * 100 + turn) for turn in range(round(1 / share))]
                seen = several[0]
                known = outer.known_in(seen) & seen.truth
                probability = cross_fitted(seen, _thinned_examples(outer, several), 0.5)
            for limit in LIMITS:
                rows.setdefault(limit, []).append(first_kept(seen, (probability <= limit) & ~known, probability))
        for limit, of_limit in rows.items():
            found, negatives = (sum(getattr(one, what).sum() for one in of_limit) for what in ("found", "negatives"))
            low, high = rate_interval(of_limit)
            yield [
                "one at a time" if share is None else f"{share:.0%}",
                f"{limit:g}",
                f"{mean(of_limit, 'predicted'):.3f}",
                f"{found / negatives:.3f}",
                f"[{low:.3f}, {high:.3f}]",
                f"{mean(of_limit, 'hardness'):.3f}",
            ]


def _thinned_examples(outer: Hidden, several: Sequence[Hidden]) -> Examples:
    """Return views of queries of which some known positives are hidden.

    They are applied to such views, too, in which those that are hidden from everything are as many as all known ones,
    not as those that are left: hidden positives count as many as all known ones.
    """
    examples = []
    for seen in several:
        known = outer.known_in(seen) & seen.truth
        before, after = (np.bincount(one.shown.view, minlength=int(outer.query.max()) + 1) for one in (outer, seen))
        fewer = np.maximum(before - after, 1)
        weights = np.where(known, (before / fewer)[seen.query], 1.0) * (before > after)[seen.query] / len(several)
        examples.append(Examples(seen.features, known, weights.astype(np.float32), seen.query))
    return together(examples)


def left_out(collections: Mapping[str, Judged]) -> Iterator[list[str]]:
    """Yield, for each collection, what a model of the others does on it, what its intercept does, and its own model."""
    for name, collection in collections.items():
        others = {one: of_one for one, of_one in collections.items() if one != name}
        model = default_model(others, {})
        rows: dict[str, list[tuple[Outcome, Outcome]]] = {}
        margins = []
        for seed in range(SEEDS):
            hidden = Hidden.of(collection, 0.5, seed)
            examples = hidden.examples()
            share = 1 - len(hidden.shown.view) / collection.positives.num_rows
            shifted = recalibrated(model, examples.features, examples.label, examples.weight)
            probabilities = {
                "fitted on the others": by_model(hidden, model, share),
                "intercept of its own": by_model(hidden, shifted, share),
                "fitted on itself": cross_fitted(hidden, examples, share),
            }
            margins.append(by_margin(hidden, "row"))
            for how, probability in probabilities.items():
                hard = at_hardness(hidden, probability, margins[-1].hardness, probability)
                limited = first_kept(hidden, probability <= LIMIT, probability)
                rows.setdefault(how, []).append((hard, limited))
        for how, several in rows.items():
            at_margin, at_limit = [one for one, _ in several], [one for _, one in several]
            yield [
                name,
                how,
                f"{mean(at_margin, 'rate') / mean(margins, 'rate'):.2f}",
                f"{mean(at_limit, 'predicted'):.4f}",
                f"{mean(at_limit, 'rate'):.4f}",
            ]


def by_judged_queries(collection: Judged, model: FalseNegativeModel) -> Iterator[list[str]]:
    """Yield what a model does that is fitted on so many queries, and the given one with an intercept of these."""
    queries = len(np.unique(to_numpy(collection.positives, "query_key")))
    for count in JUDGED_QUERIES:
        rows: dict[str, list[tuple[float, Outcome]]] = {}
        positives = []
        for seed in range(SEEDS):
            hidden = Hidden.of(collection, 0.5, seed)
            chosen = np.random.default_rng(seed).permutation(queries)
            examples = hidden.examples()
            some = np.isin(examples.query, chosen[:count])
            positives.append(int(examples.label[some].sum()))
            taken = {name: values[some] for name, values in examples.features.items()}
            shifted = recalibrated(model, taken, examples.label[some], examples.weight[some])
            tested = np.isin(hidden.query, chosen[-TESTED_QUERIES:])
            margin = by_margin(hidden, "row").hardness
            for how, one in {"fitted": examples.model(some), "intercept": shifted}.items():
                probability = np.where(tested, by_model(hidden, one, 0.5), 2.0)
                cuts = np.quantile(probability[tested], np.linspace(0, 1, CUTS))
                outcomes = [first_kept(hidden, probability <= cut, probability) for cut in cuts]
                some_taken = [one_cut for one_cut in outcomes if one_cut.negatives.sum()]
                hard = min(some_taken, key=lambda one_cut: abs(one_cut.hardness - margin))
                rows.setdefault(how, []).append((hard.rate, first_kept(hidden, probability <= LIMIT, probability)))
        yield [
            f"{count}",
            f"{np.mean(positives):.0f}",
            *(
                text
                for several in rows.values()
                for text in (
                    f"{np.mean([rate for rate, _ in several]):.3f}",
                    f"{np.mean([abs(np.log(one.predicted / max(one.rate, 1e-3))) for _, one in several]):.2f}",
                )
            ),
        ]


def cost(hidden: Hidden, model: FalseNegativeModel) -> float:
    """Return how many candidates a second get a probability, on one core."""
    times, queries = 20, int(hidden.query.max()) + 1
    candidates, positives = (_repeated(table, times, queries) for table in (hidden.candidates, hidden.positives))
    took = []
    for _ in range(5):
        began = time.process_time()
        model.probability(features_of(candidates, positives), 0.5)
        took.append(time.process_time() - began)
    return float(candidates.num_rows / np.median(took))


def _repeated(table: pa.Table, times: int, queries: int) -> pa.Table:
    """Return a table so many times, each time with other numbers of queries."""
    several = pa.concat_tables([table] * times)
    first = np.repeat(np.arange(times), table.num_rows) * queries
    return several.set_column(0, "query_key", pa.array(to_numpy(several, "query_key") + first)).combine_chunks()


def main() -> None:
    """Measure, and write the page; or fit the shipped model."""
    parser = pages.parser(__doc__, rounds=None)
    parser.add_argument("--default", action="store_true", help="fit the model that is shipped")
    args = parser.parse_args()
    scratch = args.scratch.resolve() / "false_negatives"
    if args.default:
        about = {"command": "python -m benchmarks.false_negatives --default", "k": K}
        model = default_model(dict(collections_of(scratch)), about)
        DEFAULT_FILE.write_text(json.dumps(model.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
        return
    name, split = TEST
    collection = judged(name, split, {"model": str(model_folder())}, scratch / name).several()
    pages.tell("half hidden")
    head = ["rule", "rate", "rate, per query", "hardness", "full rows", "model / rule", "model less rule, 95 %"]
    half = list(frontier_rows(collection, 0.5, None))
    pages.tell("half hidden, shipped model")
    shipped = FalseNegativeConfig().model
    half_shipped = list(frontier_rows(collection, 0.5, shipped))[-1]
    pages.tell("one known")
    one = list(frontier_rows(collection, None, shipped))
    pages.tell("predictions")
    predicted = list(predictions(collection))
    pages.tell("other collections")
    folder = potion_folder(scratch / "potion")
    others = {
        one: judged(one, of_one, {"model": str(folder)}, scratch / f"{one}-potion").several(MOST_QUERIES)
        for one, of_one in (*TRAINING, TEST)
    }
    carried = list(left_out(others))
    few = list(by_judged_queries(collection, shipped))
    speed = cost(Hidden.of(collection, 0.5, 0), shipped)
    rates = {row[0]: float(row[1]) for row in half}
    per_query = {row[0]: float(row[2]) for row in half}
    one_rates = {row[0]: float(row[1]) for row in one}
    margin = "relative margin .05, row"
    signals = [row for row in half if row[0] in SIGNALS]
    pages.write(
        "false_negatives",
        [
            pages.heading("Hidden positives among the negatives", "false_negatives"),
            f"{name} ({split}), all-MiniLM-L6-v2, the {K} nearest documents of each query that are not known to be "
            f"positive, {NEGATIVES} negatives a row. Positives are hidden from search, fit and selection, in {SEEDS} "
            f"draws. A rate is the share of hidden positives among distinct pairs of a query and a negative. "
            f"Single signals and the model are cut where their negatives are as hard as those of the margin to the "
            f"row's positive. Intervals resample queries.",
            "## Half of the positives hidden\n\nThe model is fitted on the known half of other queries.",
            pages.table(head, [*half, ["shipped model", *half_shipped[1:5], "", ""]]),
            drawn_frontier(collection, Path(__file__).with_suffix(".svg")),
            "## One known positive\n\nNothing can be hidden, so the shipped model is used, which has seen neither this "
            "collection nor its queries.",
            pages.table(head, one),
            "## Predicted and observed\n\nHalf of the positives are hidden, so the unjudged share is known: a half. "
            "The model is fitted by hiding one known positive at a time, or a share of them, and applied with as many "
            "known positives as it was fitted with.",
            pages.table(["hidden to fit", "limit", "predicted", "observed", "95 %", "hardness"], predicted),
            f"## Other collections\n\nWith potion-base-4m, up to {MOST_QUERIES:,} queries of each collection. The rate "
            f"at the hardness of the margin to the row's positive, as a share of its rate; and, at a limit of {LIMIT}, "
            f"what is predicted with the share that was hidden, and observed. One positive of each query stays known, "
            f"so less than half are hidden, and of queries with one known positive more are than of others.",
            pages.table(["collection", "model", "rate / margin", "predicted", "observed"], carried),
            f"## How many judged queries\n\n{name}: a model that is fitted on the known positives of so many "
            f"queries, and the shipped one with an intercept of these, on {TESTED_QUERIES} other queries: the rate at "
            f"the hardness of the margin, and how far the prediction at a limit of {LIMIT} is off, as the mean of "
            f"|log(predicted / observed)|.",
            pages.table(["queries", "hidden positives found", "fitted: rate", "off", "intercept: rate", "off"], few),
            f"## Cost\n\n{speed / 1e6:.1f} million candidates a second on one core, features included.",
            "\n".join(
                [
                    pages.goal(rates["model"] <= rates[margin] / 5, "half known: at most a fifth of the margin's rate"),
                    pages.goal(
                        per_query["model"] <= per_query[margin] / 3, "half known: at most a third of it per query"
                    ),
                    pages.goal(
                        one_rates["model"] <= 0.65 * one_rates[margin], "one known: at most .65 of the margin's rate"
                    ),
                    pages.goal(
                        all(float(row[6].strip("[]").split(",")[1]) < 0 for row in signals),
                        "half known: below every single signal, with the whole interval",
                    ),
                    pages.goal(speed > 5e6, "more than 5 million candidates a second on one core"),
                ]
            ),
        ],
    )


if __name__ == "__main__":
    main()
