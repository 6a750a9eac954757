"""The figures of the page on speed: loss curves of several libraries, and how our cost grows."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from saebook.plotting import style

# Okabe and Ito's palette, one colour a library; a second setting of the same library is dashed, a third dotted.
_COLOURS = {"saebook": "#000000", "SAELens": "#D55E00", "dictionary_learning": "#0072B2", "sparsify": "#009E73"}
# The first setting is drawn below all others and broad: where curves lie on top of each other it still shows.
_LINES = ("-", "--", ":")
_LABELS = {"batch": "tokens in a batch", "members": "SAEs in a stack", "d_sae": "latents"}


def learning(rows: pd.DataFrame, kinds: Mapping[str, str]) -> Figure:
    """Error on held-out activations against steps (above) and seconds (below), a column an architecture."""
    style.style()
    figure, axes = plt.subplots(
        2, len(kinds), figsize=(4 * len(kinds), 6.5), sharey="col", layout="constrained", squeeze=False
    )
    settings = list(dict.fromkeys(rows.setting))
    for column, (kind, label) in enumerate(kinds.items()):
        axes[0, column].set_title(label)
        for row, over in enumerate(("step", "seconds")):
            axis = axes[row, column]
            for setting in settings:
                of = rows[(rows.kind == kind) & (rows.setting == setting)]
                colour, line = _look(setting, settings)
                axis.plot(
                    of[over],
                    of.normalised_mse,
                    color=colour,
                    linestyle=line,
                    label=setting,
                    linewidth=4.0 if setting == settings[0] else 1.5,
                )
            style.logarithmic(axis.yaxis)
            axis.set_xlabel({"step": "steps", "seconds": "seconds of steps"}[over])
            axis.set_ylabel("normalised MSE" if not column else "")
    return style.finished(figure, _fullest(axes), columns=3)


def growth(rows: pd.DataFrame, kinds: Mapping[str, str]) -> Figure:
    """Tokens a second, summed over the SAEs of a stack, against batch, members and width."""
    style.style()
    figure, axes = plt.subplots(1, len(_LABELS), figsize=(4 * len(_LABELS), 3.8), layout="constrained")
    for axis, (varied, label) in zip(axes, _LABELS.items(), strict=True):
        for kind in kinds:
            of = rows[(rows.kind == kind) & (rows.varied == varied)].sort_values("value")
            look = style.look(kind)
            axis.plot(of.value, of.tokens_per_second, color=look.colour, marker=look.marker, label=kinds[kind])
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        style.logarithmic(axis.yaxis)
        axis.set_xlabel(label)
    axes[0].set_ylabel("tokens x SAEs a second")
    return style.finished(figure, axes[0], columns=3)


def _look(setting: str, settings: list[str]) -> tuple[str, str]:
    """The colour of a setting's library, and the line of its place among that library's settings."""
    library = setting.split()[0]
    place = [other for other in settings if other.split()[0] == library].index(setting)
    return _COLOURS.get(library, "#CC79A7"), _LINES[place % len(_LINES)]


def _fullest(axes):
    """The panel with the most curves that have data: its legend serves all."""
    return max(axes.flat, key=lambda axis: len(axis.get_legend_handles_labels()[1]))
