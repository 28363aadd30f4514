"""A calibration in lines: what was hidden, what each rule costs and gives, and how to use the model."""

from collections.abc import Iterator, Mapping
from typing import Any

HOW = {
    "fitted": "The model is fitted on these positives.",
    "intercept": "Too few positives were found to fit a model: the default is used, with an intercept of this data.",
    "default": "Too few positives were found to fit anything: the default model is used as it is.",
}


def lines_of(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of what `run_calibration` returned."""
    known = result["known"]
    yield (
        f"{known['queries_of_several']:,} of {known['queries']:,} queries have several known positives, which can be "
        f"hidden: {known['several']:,} of {known['positives']:,}."
    )
    yield (
        f"{result['views']:,} positives of {result['queries']:,} queries were hidden; the search found "
        f"{result['hidden']:,} of them. {HOW[result['how']]}"
    )
    yield f"Rates suppose that {result['unjudged_share']:.0%} of what a judge would mark is unjudged."
    yield f"{'rule':24} {'setting':10} {'rate':>7} {'95 % interval':>17} {'hardness':>9} {'full':>6} {'predicted':>10}"
    for point in (one for one in result["frontier"] if one["hardness"] is not None):  # others leave no negatives
        setting = ", ".join(f"{value:g}" for value in point["settings"].values() if not isinstance(value, str))
        yield (
            f"{point['rule']:24} {setting:10} {point['rate']:7.4f} {point['low']:8.4f} {point['high']:8.4f} "
            f"{point['hardness']:9.3f} {point['full_rows']:6.0%} {point['predicted']:10.4f}"
        )
    yield (
        f"Use it: --set false_negatives.model={result['model']}, and --set select.max_false_negative_probability=X, "
        f"the setting of a line of `model`, or --set select.target_false_negative_rate=R"
    )
