"""Figures of the chapters on what latents do."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saebook.evaluation.intervals import t_interval
from saebook.papers.topk.effects.logit_changes import CHANNEL, ELSEWHERE, GAUSSIAN, LATENT, RANDOM
from saebook.plotting.style import finished, logarithmic, look, methods, plain_numbers, style

_REMOVED = {LATENT: ("#009E73", "^"), ELSEWHERE: ("#E69F00", "D"), RANDOM: ("#56B4E9", "s"), CHANNEL: ("#0072B2", "o")}


def logit_changes(effects: pd.DataFrame) -> Figure:
    """Density of effects against k, by what is removed: over the whole span (left), and at the ablated token alone (right)."""
    style()
    figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.4), sharey=True, layout="constrained")
    titles = {"density": "this token and those after it", "own_density": "this token alone"}
    for panel, (column, title) in zip(panels, titles.items(), strict=True):
        for removed, (colour, marker) in _REMOVED.items():
            mine = effects[effects.removed == removed]
            over_seeds(panel, mine, "sparsity", column, colour=colour, marker=marker, label=removed)
        panel.axhline(GAUSSIAN, color="0.3", linewidth=1, linestyle=":", label="normally distributed changes")
        panel.set(xlabel="k (active latents per token)", title=title)
        logarithmic(panel.xaxis)
        logarithmic(panel.yaxis)
    panels[0].set_ylabel("share of logits that change")
    return finished(figure, panels[0], 3)


def over_seeds(
    ax: Axes, table: pd.DataFrame, x: str, y: str, colour, marker: str = "o", label: str | None = None
) -> None:
    """Draw the means of `y` over the seeds of each `x`, with 95 % t intervals where there are several seeds."""
    points = [(place, t_interval(group[y].dropna().to_list())) for place, group in table.groupby(x)]
    points = [(place, across) for place, across in points if across.n]
    means = [across.mean for _, across in points]
    # All that is drawn is positive, and a logarithmic axis has no zero.
    low = [one.mean - max(one.low, one.mean / 10) if one.n > 1 else 0.0 for _, one in points]
    high = [one.high - one.mean if one.n > 1 else 0.0 for _, one in points]
    places = np.asarray([place for place, _ in points], float)
    ax.errorbar(places, means, yerr=[low, high], color=colour, marker=marker, markersize=5, capsize=2, label=label)


def noise(errors: pd.DataFrame, laws: dict[str, float], axes: tuple[int, float]) -> Figure:
    """Normalised MSE against width, one line for each of the inputs, with its exponent of `laws`; a cross at `axes` (width, error)."""
    style()
    figure, ax = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    for (inputs, exponent), (colour, marker) in zip(laws.items(), _REMOVED.values(), strict=False):
        label = f"{inputs}: exponent {exponent:.3f}"
        over_seeds(ax, errors[errors.inputs == inputs], "d_sae", "normalised_mse", colour, marker, label)
    ax.plot(*axes, "x", color="0.2", markersize=9, label="white noise, both signs of every axis")
    ax.set(xlabel="latents", ylabel="normalised MSE")
    logarithmic(ax.xaxis)
    logarithmic(ax.yaxis)
    return finished(figure, ax, 1)


def layers(table: pd.DataFrame, principal: pd.DataFrame) -> Figure:
    """Normalised MSE (left) and added loss (right) by layer, one colour a k; dashed: as many `principal` components."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
    ks = sorted(table.sparsity.unique())
    for colour, k in zip(sns.color_palette("viridis", len(ks)), ks, strict=True):
        mine, linear = table[table.sparsity == k], principal[principal.k == k].sort_values("layer")
        over_seeds(left, mine, "layer", "normalised_mse", colour, "^", f"k = {k:g}")
        left.plot(linear.layer, linear.normalised_mse, "--", color=colour, linewidth=1.0)
        over_seeds(right, mine, "layer", "ce_increase", colour, "^")
    left.set(xlabel="layer", ylabel="normalised MSE", title="error")
    right.set(xlabel="layer", ylabel="added nats per token", title="language model")
    for panel in (left, right):
        panel.set_xticks(sorted(table.layer.unique()))
        logarithmic(panel.yaxis)
    return finished(figure, left, 4)


def distributions(latents: pd.DataFrame, sizes: pd.DataFrame, chance: np.ndarray) -> Figure:
    """How often latents fire (left), how strongly (middle), and how near their directions lie (right; grey: by `chance` [n])."""
    style()
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    alive = latents[latents.density > 0]
    ends = np.linspace(np.log10(alive.density.min()) - 0.01, 0.0, 31)
    for method in methods(latents):
        shown, mine, strong = look(method), alive[alive.method == method], sizes[sizes.method == method]
        counted, _ = np.histogram(np.log10(mine.density), ends)
        left.step(10 ** ends[:-1], counted / len(mine), where="post", color=shown.colour, label=shown.label)
        by_size = strong.groupby("size")["share"].mean()
        middle.step(by_size.index, by_size, where="post", color=shown.colour)
        ordered = np.sort(mine.nearest.dropna())
        right.plot(ordered, np.arange(1, len(ordered) + 1) / len(ordered), color=shown.colour)
    right.plot(np.sort(chance), np.arange(1, len(chance) + 1) / len(chance), color="0.6", linestyle="--")
    left.plot([], [], color="0.6", linestyle="--", label="random directions")
    left.set(xlabel="share of tokens", ylabel="share of latents", title="how often")
    middle.set(xlabel="activation", ylabel="share of activations", title="how strongly")
    right.set(xlabel="largest cosine with another latent", ylabel="share of latents below", title="how near")
    for panel in (left, middle):
        panel.set_xscale("log")
        plain_numbers(panel.xaxis)
    return finished(figure, left, 3)
