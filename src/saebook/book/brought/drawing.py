"""Marks of a reader's SAEs in a figure that a chapter has drawn of its own."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

# In the order in which SAEs are named. No chapter's method has one of these markers, or black.
_MARKERS = ("*", "X", "p", "h", "d", "8", "<", ">")
_COLOURS = ("#000000", "#555555", "#999999")


def marked(
    figure: Figure, table: pd.DataFrame, at: Mapping[int, tuple[str | None, str]], labels: Mapping[str, str]
) -> None:
    """Add every method of `table` to the panels of `figure`: `at` says by panel which columns are its x and its y.

    A method with one row there is a point, one with several a line through them. An x of None stands for the places 0, 1, ...
    of a panel whose axis has names. `labels` say what the legend, which is made anew, calls a method.
    """
    legend = figure.legends[0] if figure.legends else None
    kept = (
        dict(zip((text.get_text() for text in legend.get_texts()), legend.legend_handles, strict=True))
        if legend
        else {}
    )
    for panel in figure.axes:  # what was drawn tells its marker better than the legend's copy of it
        kept |= {
            label: handle for handle, label in zip(*panel.get_legend_handles_labels(), strict=True) if label in kept
        }
    for number, (method, label) in enumerate(labels.items()):
        mine = table[table.method == method]
        shown = {"marker": _MARKERS[number % len(_MARKERS)], "color": _COLOURS[number // len(_MARKERS) % len(_COLOURS)]}
        for panel, (x, y) in at.items():
            places = range(len(mine)) if x is None else mine[x]
            (line,) = figure.axes[panel].plot(
                places,
                mine[y],
                markersize=10,
                markeredgecolor="white",
                linewidth=1.2,
                linestyle="-.",
                zorder=5,
                **shown,
            )
            kept.setdefault(label, line)
    if legend:
        legend.remove()
        figure.legend(kept.values(), kept.keys(), loc="outside lower center", ncols=3, frameon=False)
