"""One style for every figure: a colour, a marker and a label for each method, and plain numbers on log axes."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from saebook.sae import registry

# The order of methods in a legend and each one's marker, which tells methods of one figure apart without their colours.
_MARKERS = {
    "relu": "o", "baseline": "o", "gated": "s", "topk": "^", "prolu_relu": "v", "prolu_ste": "D", "local": "o", "e2e": "s",
    "e2e+ds": "^", "gated_unfrozen": "D", "gated_no_r_mag": "v", "gated_untied": "^", "rescaled": "^",
    "relu_not_resampled": "v", "gated_not_resampled": "D", "pruned_relu": "v", "pruned_gated": "D",
    "finetuned": "^", "continued": "v",
}  # fmt: skip
# Methods of a sweep that are not architectures: label and colour, of Okabe and Ito's palette as the architectures' own.
_METHODS = {
    "baseline": ("baseline (ReLU + L1)", "#0072B2"), "local": ("local", "#0072B2"), "e2e": ("e2e", "#D55E00"),
    "e2e+ds": ("e2e + downstream", "#009E73"), "rescaled": ("baseline + rescale and shift", "#009E73"),
    "relu_not_resampled": ("baseline, never resampled", "#56B4E9"),
    "gated_not_resampled": ("Gated, never resampled", "#E69F00"), "pruned_relu": ("baseline, thresholded", "#56B4E9"),
    "pruned_gated": ("Gated, thresholded", "#E69F00"),
    "finetuned": ("local, then KL + MSE", "#009E73"), "continued": ("local, as long", "#56B4E9"),
}  # fmt: skip
L0_AXIS = "L0 (active latents per token)"


def style() -> None:
    """Set the style of every figure: a white background (legible on a dark page too), a light grid, and type for phones."""
    sns.set_theme(
        context="notebook", style="whitegrid", rc={"figure.dpi": 150, "savefig.facecolor": "white", "font.size": 11}
    )


@dataclass(frozen=True)
class Look:
    """The style of a method in every figure: its label in the legend, its colour (#RRGGBB) and its marker."""

    label: str
    colour: str
    marker: str


def look(method: str) -> Look:
    """The look of an architecture, or of another method of a sweep. Raises `UserError` for a name that is neither."""
    label, colour = _METHODS.get(method) or (registry.label(method), registry.colour(method))
    return Look(label, colour, _MARKERS.get(method, "P"))


def methods(table: pd.DataFrame) -> list[str]:
    """The methods of a table, always in the same order: those of the book first, others by name."""
    known = list(_MARKERS)
    return sorted(table.method.unique(), key=lambda name: (known.index(name) if name in known else len(known), name))


def logarithmic(axis: XAxis | YAxis) -> None:
    """Make an axis logarithmic, with plain numbers at 1, 2 and 5: powers of ten alone leave a short range without a label.

    One on which nothing drawn lies above zero stays linear: Matplotlib could not save the figure.
    """
    if axis.axes.has_data() and not np.isfinite(axis.get_minpos()):
        return
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def finished(figure: Figure, panel, columns: int = 2) -> Figure:
    """Close the figure and give it one legend, that of `panel`, below all panels, where it covers no data."""
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)
    plt.close(figure)
    return figure


def plain_numbers(axis, at: tuple[float, ...] | None = None) -> None:
    """Label a log axis with plain numbers instead of powers of ten; `at` names the ticks."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    if at:
        axis.set_major_locator(FixedLocator(at))
        axis.set_minor_locator(NullLocator())
