"""Charts for the page of a report, as SVG."""

import io
from itertools import cycle

import numpy as np

from pipelines.runtime.stage import Histogram

BINS = 60
COLOURS = ("#2a7f62", "#b5483a", "#3a6ab5", "#b58a3a")


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
    picture = io.StringIO()
    figure.savefig(picture, format="svg", metadata={"Date": None})
    return "<svg" + picture.getvalue().partition("<svg")[2]
