"""Marks of a reader's SAEs in a figure that a chapter has drawn of its own."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

# In the order in which SAEs are named. No chapter's method has one of these markers, or black.
_MARKERS = ("*", "X", "p", "h", "d", "8", "<", ">")
_COLOURS = ("#000000", "#555555", "#999999")
_HANDLE, _LETTER = 0.6, 0.075  # inches of a legend's column: what stands before a label, and each letter of it


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
        marker, colour = _MARKERS[number % len(_MARKERS)], _COLOURS[number // len(_MARKERS) % len(_COLOURS)]
        for panel, (x, y) in at.items():
            places = range(len(mine)) if x is None else mine[x]
            (line,) = figure.axes[panel].plot(
                places, mine[y], color=colour, marker=marker, markersize=12, markeredgecolor="white", markeredgewidth=0.6,
                linewidth=1.2, linestyle="-." if len(mine) > 1 else "", zorder=5,
            )  # fmt: skip
            kept.setdefault(label, line)
    if legend:
        legend.remove()
        widest = _HANDLE + _LETTER * max(map(len, kept))
        columns = max(1, min(3, int(figure.get_figwidth() / widest)))
        shown = {label: handle for label, handle in kept.items() if handle is not None}
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=columns, frameon=False)
