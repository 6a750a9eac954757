"""Figures of the chapters on scaling."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator

from saebook.evaluation.intervals import t_interval
from saebook.evaluation.scaling_law import JointLaw, PowerLaw
from saebook.papers.topk.scaling.best_rate import INSIDE
from saebook.plotting.style import finished, logarithmic, style

NMSE, LATENTS, TOKENS = "normalised MSE", "latents", "training tokens"
_MARKERS = "os^vDPX*"


def scaling_laws(
    curves: pd.DataFrame, frontier: pd.DataFrame, along: PowerLaw, table: pd.DataFrame, law: JointLaw,
    paper: pd.DataFrame, paper_law: JointLaw,
) -> Figure:  # fmt: skip
    """Figure 1: error against compute with its frontier, the grid of this book with its law, the paper's points with theirs.

    `curves` has columns d_sae, seed, compute, smooth; `frontier` compute, error; `table` and `paper` n, k, error.
    """
    style()
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4.4), layout="constrained")
    for width, colour in _colours(curves.d_sae):
        mine = curves[curves.d_sae == width]
        for _, one in mine.groupby("seed"):
            left.plot(one.compute, one.smooth, color=colour, linewidth=0.8, alpha=0.7)
        left.plot([], [], color=colour, label=f"{width} latents")
    levels = np.geomspace(frontier.compute.min(), frontier.compute.max(), 50)
    left.scatter(frontier.compute, frontier.error, s=8, color="0.2", linewidths=0, zorder=3, label="frontier")
    left.plot(levels, along(levels), "--", color="#D55E00", linewidth=1.8, zorder=4, label="law of the frontier")
    left.set(xlabel="training FLOPs of the SAE", ylabel=NMSE, title="error against compute")
    logarithmic(left.yaxis)
    left.set_xscale("log")
    _grid_with_law(middle, table, law, "this book")
    _grid_with_law(right, paper, paper_law, "the paper, GPT-4")
    left.legend(fontsize=7, loc="upper right")
    plt.close(figure)
    return figure


def _grid_with_law(ax: Axes, table: pd.DataFrame, law: JointLaw, title: str) -> None:
    fine = np.geomspace(table.n.min(), table.n.max(), 60)
    for (k, colour), marker in zip(_colours(table.k, "mako"), _MARKERS, strict=False):
        mine = table[table.k == k]
        ax.scatter(mine.n, mine.error, s=14, color=colour, marker=marker, linewidths=0, alpha=0.8, label=f"k = {k:g}")
        ax.plot(fine, law(fine, k), color=colour, linewidth=1.2)
        floor = float(law.irreducible(k))
        if floor > table.error.min():
            ax.axhline(floor, color=colour, linewidth=0.8, linestyle=":")
    ax.set(xlabel=LATENTS, title=title, ylim=(0.93 * table.error.min(), 1.07 * table.error.max()))
    logarithmic(ax.yaxis)
    _sizes(ax, table.n)
    ax.legend(fontsize=7, loc="upper right")


def learning_rates(table: pd.DataFrame, best: pd.DataFrame, exponent: float, paper: float = -0.5) -> Figure:
    """Figure 3: error against rate by width (left), and the best rate of each seed against width (right).

    `table` has columns d_sae, lr, seed, normalised_mse; `best` those of `best_rate.by_width`. A hollow mark is a best rate
    at the end of the grid. Lines have the slope `exponent`, and the `paper`'s.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    for (width, colour), marker in zip(_colours(table.d_sae), _MARKERS, strict=False):
        mine = table[table.d_sae == width]
        _means(left, mine, "lr", "normalised_mse", colour, marker, f"{width} latents")
        own = best[best.d_sae == width]
        for rate, place in zip(own.rate, own.place, strict=True):
            face = colour if place == INSIDE else "none"
            right.scatter(width, rate, s=30, marker=marker, edgecolors=colour, facecolors=face, alpha=0.8, zorder=3)
    left.set(xlabel="learning rate", ylabel=NMSE, title="error by rate")
    logarithmic(left.xaxis)
    logarithmic(left.yaxis)
    _trend(right, best.d_sae, best.rate, exponent, paper)
    right.set(xlabel=LATENTS, ylabel="best learning rate", title="best rate by width")
    logarithmic(right.yaxis)
    _sizes(right, table.d_sae)
    return _with_both_legends(figure, left, right, 4)


def convergence(curves: pd.DataFrame, reached: pd.DataFrame, exponent: float, paper: float = 0.6) -> Figure:
    """Figure 11: error over training by width, with a mark where each SAE has converged (left); those tokens by width (right).

    `curves` has columns d_sae, seed, tokens, smooth; `reached` those of `training_curves.convergence_by_width`.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    for (width, colour), marker in zip(_colours(curves.d_sae), _MARKERS, strict=False):
        for _, one in curves[curves.d_sae == width].groupby("seed"):
            left.plot(one.tokens, one.smooth, color=colour, linewidth=0.7, alpha=0.5)
        own = reached[reached.d_sae == width]
        for law, tokens in zip(own.law, own.tokens, strict=True):
            steps = np.geomspace(curves.tokens.min(), curves.tokens.max(), 60)
            left.plot(steps, law(steps), "--", color=colour, linewidth=1)
            left.scatter(tokens, law(tokens), s=30, color=colour, marker=marker, zorder=3)
            right.scatter(width, tokens, s=30, color=colour, marker=marker, alpha=0.8, zorder=3)
        left.plot([], [], color=colour, marker=marker, label=f"{width} latents")
    left.set(xlabel=TOKENS, ylabel=NMSE, title="error over training, and its law")
    _counts(left.xaxis)
    logarithmic(left.yaxis)
    known = reached.dropna()
    _trend(right, known.d_sae, known.tokens, exponent, paper)
    right.set(xlabel=LATENTS, ylabel="tokens to convergence", title="tokens by width")
    _counts(right.yaxis)
    _sizes(right, curves.d_sae)
    return _with_both_legends(figure, left, right, 4)


def subject_sizes(table: pd.DataFrame, random: pd.DataFrame, k: int) -> Figure:
    """Figure 4: error against width by subject at one `k` (left); error by the subject's size, a line for each width (right).

    `table` and `random` have columns subject, parameters, d_sae, sparsity, seed, normalised_mse; in `random` the subjects'
    weights are, and its lines are dashed.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained", sharey=True)
    trained, control = (one[one.sparsity == k] for one in (table, random))
    for (size, colour), marker in zip(_colours(trained.parameters), _MARKERS, strict=False):
        words = f"{size / 1e6:.2g} M parameters"
        _means(left, trained[trained.parameters == size], "d_sae", "normalised_mse", colour, marker, words)
        left.plot(control[control.parameters == size].groupby("d_sae").normalised_mse.mean(), "--", color=colour)
    for (width, colour), marker in zip(_colours(trained.d_sae, "mako"), _MARKERS, strict=False):
        _means(
            right, trained[trained.d_sae == width], "parameters", "normalised_mse", colour, marker, f"{width} latents"
        )
        right.plot(control[control.d_sae == width].groupby("parameters").normalised_mse.mean(), "--", color=colour)
    right.plot([], [], "--", color="0.4", label="random weights")
    left.set(xlabel=LATENTS, ylabel=NMSE, title=f"error by width, k = {k}")
    right.set(xlabel="parameters of the language model", title="error by size, at equal width")
    logarithmic(left.yaxis)
    _sizes(left, trained.d_sae)
    _counts(right.xaxis)
    return _with_both_legends(figure, left, right, 4)


def by_block(table: pd.DataFrame, random: pd.DataFrame) -> Figure:
    """Error after each block of one language model, by the parameters up to there; every dot is a seed.

    `table` and `random` have columns layer, parameters, seed, normalised_mse; in `random` the weights are, and it is dashed.
    """
    style()
    figure, ax = plt.subplots(figsize=(5.6, 4), layout="constrained")
    ((_, colour),) = _colours(table.d_sae)
    _means(ax, table, "parameters", "normalised_mse", colour, _MARKERS[0], "trained")
    ax.plot(random.groupby("parameters").normalised_mse.mean(), "--", color="0.4", label="random weights")
    for layer, one in table.groupby("layer"):
        at = one.parameters.iloc[0], one.normalised_mse.mean()
        ax.annotate(f"block {layer}", at, xytext=(0, 10), textcoords="offset points", ha="center", fontsize=8)
    ax.set(xlabel="parameters up to the block", ylabel=NMSE, title="error by depth, at one width")
    ax.margins(0.12, 0.15)  # room for the names of the first and last block
    logarithmic(ax.xaxis)
    ax.xaxis.set_major_locator(FixedLocator(sorted(table.parameters.unique())))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e6:.3g} M"))
    ax.xaxis.set_minor_locator(LogLocator(subs=()))
    logarithmic(ax.yaxis)
    return finished(figure, ax)


def batch_sizes(curves: pd.DataFrame, table: pd.DataFrame, reference: int) -> Figure:
    """Figure 12: error over training by batch (left), and at the end of it on validation text (right).

    `curves` has columns batch, seed, tokens, smooth; `table` batch, seed, normalised_mse. The band on the right is 5 %
    about the mean at the `reference` batch.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    for (batch, colour), marker in zip(_colours(curves.batch), _MARKERS, strict=False):
        for _, one in curves[curves.batch == batch].groupby("seed"):
            left.plot(one.tokens, one.smooth, color=colour, linewidth=0.9, alpha=0.8)
        left.plot([], [], color=colour, marker=marker, label=f"{batch} tokens a step")
        _means(right, table[table.batch == batch], "batch", "normalised_mse", colour, marker, None)
    level = table[table.batch == reference].normalised_mse.mean()
    right.axhspan(0.95 * level, 1.05 * level, color="0.5", alpha=0.15, linewidth=0)
    left.set(xlabel=TOKENS, ylabel=NMSE, title="error over training")
    _counts(left.xaxis)
    logarithmic(left.yaxis)
    right.set(xlabel="tokens a step", ylabel=NMSE, title="error at the end, on validation text")
    _sizes(right, table.batch)
    return finished(figure, left, 4)


def _colours(sizes: pd.Series, palette: str = "viridis") -> list[tuple[int, tuple]]:
    """Each size with its colour, from dark to light as the sizes grow; the lightest end of a palette is left out."""
    known = sorted(sizes.unique())
    return list(zip(known, sns.color_palette(palette, len(known) + 1)[: len(known)], strict=True))


def _means(
    ax: Axes, table: pd.DataFrame, x: str, y: str, colour: tuple, marker: str, label: str | None
) -> None:  # fmt: skip
    """Dots for single SAEs, and means over seeds with 95 % intervals."""
    ax.scatter(table[x], table[y], s=12, color=colour, marker=marker, alpha=0.4, linewidths=0)
    places = sorted(table[x].unique().tolist())
    points = [t_interval(table[table[x] == place][y].to_list()) for place in places]
    means = [one.mean for one in points]
    bars = [[one.mean - max(one.low, one.mean / 2) if one.n > 1 else 0 for one in points]]
    bars.append([min(one.high, 2 * one.mean) - one.mean if one.n > 1 else 0 for one in points])
    ax.errorbar(
        places, means, yerr=bars, color=colour, marker=marker, markersize=5, capsize=2, linewidth=1, label=label
    )


def _trend(ax: Axes, x: pd.Series, y: pd.Series, exponent: float, paper: float) -> None:
    """Lines through the middle of the points: of the slope measured here, where there is one, and of the paper's."""
    if not len(x):
        return
    ends = np.array([x.min(), x.max()], float)
    middle, level = np.exp(np.log(x).mean()), np.exp(np.log(y).mean())
    slopes: Sequence[tuple[float, str, str]] = [
        (exponent, "-", f"slope {exponent:.2f}, here"), (paper, "--", f"slope {paper:g}, the paper")
    ]  # fmt: skip
    for slope, line, label in slopes:
        if np.isfinite(slope):
            ax.plot(ends, level * (ends / middle) ** slope, line, color="0.3", linewidth=1.2, label=label)


def _sizes(ax: Axes, sizes: pd.Series) -> None:
    """A logarithmic axis of sizes, with a tick at each, or at every second power of two where they are many."""
    logarithmic(ax.xaxis)
    known = sorted(sizes.unique())
    ax.xaxis.set_major_locator(FixedLocator(known if len(known) < 6 else known[::2]))
    ax.xaxis.set_minor_locator(LogLocator(subs=()))
    if max(known) >= 10_000:
        ax.tick_params(axis="x", labelsize=8, rotation=30)


def _counts(axis: XAxis | YAxis) -> None:
    """A logarithmic axis of tokens, in thousands and millions."""
    logarithmic(axis)
    axis.set_major_formatter(EngFormatter(sep=""))


def _with_both_legends(figure: Figure, left: Axes, right: Axes, columns: int) -> Figure:
    if right.get_legend_handles_labels()[0]:
        right.legend(fontsize=8, loc="best")
    return finished(figure, left, columns)
