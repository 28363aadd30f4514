"""Charts for the page of a report, as SVG."""

import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.runtime.stage import Histogram, Scatter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 60
COLOURS = ("#2a7f62", "#b5483a", "#3a6ab5", "#b58a3a", "#6d4aa8", "#444444")

# A rate of 0 has no place on a logarithmic axis.
LOWEST_RATE = 1e-4


def frontier_chart(points: Sequence[Mapping[str, Any]]) -> str:
    """Draw the rate of false negatives over the hardness of the negatives, a line for each rule, as SVG.

    Args:
        points: with `rule`, `rate`, `low`, `high` and `hardness`. A rule that selects nothing has no point.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for rule, colour in zip(dict.fromkeys(point["rule"] for point in points), cycle(COLOURS), strict=False):
        of_rule = [point for point in points if point["rule"] == rule and point["hardness"] is not None]
        of_rule.sort(key=lambda point: point["hardness"])
        hardness = [point["hardness"] for point in of_rule]
        rate, low, high = ([max(point[name], LOWEST_RATE) for point in of_rule] for name in ("rate", "low", "high"))
        axes.plot(hardness, rate, marker="o", markersize=4, color=colour, label=rule)
        axes.fill_between(hardness, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_yscale("log")
    axes.set_xlabel("hardness: mean score of the negatives")
    axes.set_ylabel("estimated rate of false negatives")
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def histogram(drawn: Histogram) -> str:
    """Draw distributions over one axis; values that are not finite are left out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    # In float32 the edges of bins about a large value are the same number.
    samples = {name: sample[np.isfinite(sample)].astype(np.float64) for name, sample in drawn.samples.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(samples.values())), bins=BINS)
    for (name, sample), colour in zip(samples.items(), cycle(COLOURS), strict=False):
        if len(sample):
            axes.hist(sample, bins=list(edges), density=True, alpha=0.6, color=colour, label=name)
    axes.set_xlabel(drawn.axis)
    axes.set_ylabel("density")
    axes.legend(frameon=False, loc="upper right")  # the best place takes long to find, with a warning
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def scatter(drawn: Scatter) -> str:
    """Draw points in a plane, a colour for each name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for (name, points), colour in zip(drawn.points.items(), cycle(COLOURS), strict=False):
        axes.plot(*points.T, linestyle="", marker="o", markersize=3, alpha=0.5, color=colour, label=name)
    axes.set_xlabel(drawn.axes[0])
    axes.set_ylabel(drawn.axes[1])
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def _svg(figure: "Figure") -> str:
    picture = io.StringIO()
    figure.savefig(picture, format="svg", metadata={"Date": None})
    return "<svg" + picture.getvalue().partition("<svg")[2]
