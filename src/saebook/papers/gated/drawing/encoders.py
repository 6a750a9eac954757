"""Figures of encoders: their shape, and how far they are from the optimum (Gated paper, Figures 4, 10 and 11)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from saebook.evaluation.intervals import t_interval
from saebook.plotting.curves import sweep_curve
from saebook.plotting.style import L0_AXIS, finished, logarithmic, look, methods, style


def jumprelu_shapes(points: pd.DataFrame) -> Figure:
    """Activation against pre-activation, a panel for each latent of `points` (columns latent, z, activation, theta)."""
    style()
    latents = list(points.latent.unique())
    figure, axes = plt.subplots(
        1, len(latents), figsize=(9, 3.6), layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    for ax, latent in zip(axes[0], latents, strict=True):
        mine = points[points.latent == latent]
        theta, top = mine.theta.iloc[0], float(mine.z.max())
        ax.axvline(theta, color="0.3", linewidth=1, linestyle=":", label="threshold")
        ends = (float(mine.z.min()), max(theta, 0.0), max(theta, 0.0), max(theta, top, 0.0))
        heights = (0.0, 0.0, ends[2], ends[3])
        ax.plot(ends, heights, color="0.6", linewidth=1, zorder=1, label="JumpReLU with that threshold")
        ax.scatter(
            mine.z,
            mine.activation,
            s=12,
            color=look("gated").colour,
            alpha=0.5,
            linewidths=0,
            zorder=2,
            label="Gated, one token",
        )
        ax.set(title=f"latent {latent}, threshold {theta:.2f}", xlabel="pre-activation (units of the site)")
    axes[0, 0].set_ylabel("activation (units of the site)")
    # The crowd of tokens far below the threshold is all zero; it would press the jump into a corner.
    highest = float(points.z.max())
    axes[0, 0].set_xlim(-0.5 * highest, 1.05 * highest)
    return finished(figure, axes[0, 0], 3)


def dictionaries(optimised: pd.DataFrame, control: pd.DataFrame) -> Figure:
    """Loss recovered under optimisation against the L0 of the SAE that a decoder comes from, a panel for each target.

    `optimised` has columns method, sparsity, seed, own_l0, by, target, loss_recovered; `control` the same for random
    directions, whose mean is a dotted line in the colour of the architecture of the same width.
    """
    style()
    optimised = optimised[optimised.target > 0].drop(columns="l0", errors="ignore").rename(columns={"own_l0": "l0"})
    targets = sorted(optimised.target.unique())
    figure, axes = plt.subplots(1, len(targets), figsize=(9, 3.9), layout="constrained", squeeze=False)
    for ax, target in zip(axes[0], targets, strict=True):
        here = optimised[optimised.target == target]
        for method in methods(here):
            sweep_curve(ax, here, method)
            mine = control[(control.method == method) & (control.target == target)]
            label = f"random directions, as many as {look(method).label}"
            ax.axhline(mine.loss_recovered.mean(), color=look(method).colour, linewidth=1.2, linestyle=":", label=label)
        logarithmic(ax.xaxis)
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))  # a third of the width has no room for 1, 2 and 5
        ax.set(title=f"optimised to L0 {target}", xlabel="own L0 of the SAE", ylabel="loss recovered")
    for ax in axes[0, 1:]:
        ax.set_ylabel("")
    return finished(figure, axes[0, 0])


def encoder_and_optimum(shown: pd.DataFrame, gaps: pd.DataFrame) -> Figure:
    """Left: loss recovered against L0, by encoder (lines) and by optimisation on the best decoder (dashes), means over seeds.

    Right: how many times the latents of the optimum each encoder needs at equal loss. `shown` has columns method, by,
    seed, sparsity, target, l0, loss_recovered; `gaps` has columns method and log_gap, one line per seed.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained", width_ratios=(2, 1))
    for method in methods(shown):
        mine, colour = shown[shown.method == method], look(method).colour
        for by, key, line in (("encoder", "sparsity", "-"), ("optimisation", "target", "--")):
            rows = mine[mine.by == by]
            means = rows.groupby(key)[["l0", "loss_recovered"]].mean().sort_values("l0")
            left.plot(means.l0, means.loss_recovered, line, color=colour, label=f"{look(method).label}, {by}")
            face = colour if by == "encoder" else "none"
            left.scatter(
                rows.l0,
                rows.loss_recovered,
                s=14,
                marker=look(method).marker,
                facecolors=face,
                edgecolors=colour,
                alpha=0.6,
            )
    logarithmic(left.xaxis)
    left.set(xlabel=L0_AXIS, ylabel="loss recovered")
    places = methods(gaps)
    for place, method in enumerate(places):
        times = np.exp(gaps[gaps.method == method].log_gap.dropna())
        right.scatter(
            np.full(len(times), place),
            times,
            s=18,
            color=look(method).colour,
            marker=look(method).marker,
            alpha=0.5,
            linewidths=0,
        )
        interval = t_interval(np.log(times))
        if interval.n > 1:
            mean, low, high = np.exp([interval.mean, interval.low, interval.high])
            error = [[mean - low], [high - mean]]
            right.errorbar(
                place + 0.15,
                mean,
                yerr=error,
                color=look(method).colour,
                capsize=3,
                marker=look(method).marker,
                markersize=4,
            )
    right.axhline(1.0, color="0.3", linewidth=1, linestyle=":")
    logarithmic(right.yaxis)
    right.set(
        xticks=range(len(places)), xticklabels=[look(m).label.split(" ")[0] for m in places], xlim=(-0.5, len(places) - 0.4),
        ylabel="L0, encoder over optimisation",
    )  # fmt: skip
    return finished(figure, left)
