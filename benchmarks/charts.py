"""The plots of the benchmarks: bars side by side, and lines over a size; each file the same for the same numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

COLOURS = ("#8a8a86", "#2a7f62", "#b5483a", "#3a5fb5", "#c48f2a", "#6d4c8f", "#4a4a48")
# Names of elements in the file are drawn from a hash with this salt, else they would differ each time.
FIXED = {"svg.hashsalt": "hardneg", "svg.fonttype": "none"}


@dataclass(frozen=True)
class Panel:
    """One part of a plot.

    Attributes:
        title: what is measured, with its unit.
        groups: what stands along the x axis: names of groups of bars, or sizes.
        series: name -> a value for each group.
        ceiling: a line to stay under, or to reach.
    """

    title: str
    groups: Sequence[str] | Sequence[float]
    series: Mapping[str, Sequence[float]]
    ceiling: float | None = None


def bars(module: str, panels: Sequence[Panel]) -> str:
    """Draw each panel as groups of bars; write `<module>.svg` beside the module and return the Markdown for it."""
    figure, all_axes = _figure(len(panels))
    for axes, panel in zip(all_axes, panels, strict=True):
        width = 0.8 / len(panel.series)
        for place, (name, values) in enumerate(panel.series.items()):
            left = [group + (place - (len(panel.series) - 1) / 2) * width for group in range(len(panel.groups))]
            drawn = axes.bar(left, values, width * 0.92, label=name, color=COLOURS[place % len(COLOURS)])
            axes.bar_label(drawn, labels=[_short(value) for value in values], fontsize=8, padding=2)
        axes.set_xticks(range(len(panel.groups)), [str(group) for group in panel.groups])
        axes.margins(y=0.15)
        _finish(axes, panel)
    return _write(module, figure, all_axes[0])


def lines(module: str, panels: Sequence[Panel]) -> str:
    """Draw each panel as lines over a logarithmic size; write `<module>.svg` and return the Markdown for it."""
    figure, all_axes = _figure(len(panels))
    for axes, panel in zip(all_axes, panels, strict=True):
        for place, (name, values) in enumerate(panel.series.items()):
            axes.plot(panel.groups, values, "o-", label=name, color=COLOURS[1 + place % (len(COLOURS) - 1)])
        axes.set_xscale("log")
        axes.set_xticks(list(panel.groups), [_size(float(size)) for size in panel.groups])
        axes.minorticks_off()
        axes.set_ylim(bottom=0, top=1.1 * max([panel.ceiling or 0, *(max(one) for one in panel.series.values())]))
        _finish(axes, panel)
        axes.legend(frameon=False, fontsize=8)
    return _write(module, figure, None)


def _figure(panels: int) -> tuple[Figure, Sequence[Any]]:
    figure = Figure(figsize=(4.6 * panels, 3.2), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _finish(axes: Any, panel: Panel) -> None:  # noqa: ANN401 - matplotlib is untyped
    if panel.ceiling is not None:
        axes.axhline(panel.ceiling, color="#444", linewidth=0.8, linestyle="--")
    axes.set_title(panel.title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _write(module: str, figure: Figure, named: Any | None) -> str:  # noqa: ANN401 - matplotlib is untyped
    if named is not None and len(named.get_legend_handles_labels()[1]) > 1:
        figure.legend(*named.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    with mpl.rc_context(FIXED):
        figure.savefig(Path(__file__).with_name(f"{module}.svg"), format="svg", metadata={"Date": None})
    return f"![The table as a plot]({module}.svg)"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _size(size: float) -> str:
    return f"{size / 1e6:g}M"
