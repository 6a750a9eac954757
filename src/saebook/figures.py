"""The book's figures: one style, one colour per method, in every chapter."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from saebook.stats import Interval, pareto_front, t_interval

# Okabe and Ito's colours: told apart with any colour vision, and in grey by their lightness.
PALETTE = {
    "relu": "#0072B2", "baseline": "#0072B2", "gated": "#D55E00", "topk": "#009E73", "prolu_relu": "#CC79A7",
    "prolu_ste": "#56B4E9", "local": "#0072B2", "e2e": "#D55E00", "e2e+ds": "#009E73", "gated_unfrozen": "#E69F00",
    "gated_no_r_mag": "#CC79A7", "gated_untied": "#009E73", "rescaled": "#009E73", "relu_not_resampled": "#56B4E9",
    "gated_not_resampled": "#E69F00", "pruned_relu": "#56B4E9", "pruned_gated": "#E69F00",
}  # fmt: skip
LABELS = {
    "relu": "baseline (ReLU + L1)", "baseline": "baseline (ReLU + L1)", "gated": "Gated", "topk": "TopK",
    "prolu_relu": "ProLU, ReLU gradient", "prolu_ste": "ProLU, straight-through", "local": "local", "e2e": "e2e",
    "e2e+ds": "e2e + downstream", "gated_unfrozen": "Gated, decoder unfrozen", "gated_no_r_mag": "Gated, no r_mag",
    "gated_untied": "Gated, untied encoders", "rescaled": "baseline + rescale and shift",
    "relu_not_resampled": "baseline, never resampled", "gated_not_resampled": "Gated, never resampled",
    "pruned_relu": "baseline, thresholded", "pruned_gated": "Gated, thresholded",
}  # fmt: skip


def style() -> None:
    """The style of every figure: white ground (legible on a dark page too), light grid, type that a phone can show."""
    sns.set_theme(
        context="notebook", style="whitegrid", rc={"figure.dpi": 150, "savefig.facecolor": "white", "font.size": 11}
    )


# what is drawn over L0 -> (its name on an axis, the column of the published tables, what brings that to our unit)
QUANTITIES = {
    "loss_recovered": ("loss recovered", "pct_CE_recovered", 0.01),
    "relative_reconstruction_bias": ("relative reconstruction bias", "gamma", 1.0),
    "alive": ("share of latents alive", "pct_alive", 0.01),
}


def sweep_curve(ax, table: pd.DataFrame, method: str, quantity: str = "loss_recovered") -> None:
    """One method's sweep: a dot per SAE, a line through the means over seeds, bars of 95 % t intervals both ways.

    `table` has columns method, sparsity, seed, l0 and `quantity`. With one seed there are no bars. The lower end of an
    interval of L0 stops at a tenth of its mean: the end may lie below zero, which a log axis cannot show.
    """
    mine = table[table.method == method]
    colour = PALETTE[method]
    ax.scatter(mine.l0, mine[quantity], s=14, color=colour, alpha=0.5, linewidths=0, zorder=3)
    intervals = [
        (t_interval(group.l0.to_list()), t_interval(group[quantity].to_list())) for _, group in mine.groupby("sparsity")
    ]
    intervals.sort(key=lambda pair: pair[0].mean)
    means = [(across.mean, up.mean) for across, up in intervals]
    ax.plot(*zip(*means, strict=True), color=colour, label=LABELS[method], zorder=2)
    for across, up in intervals:
        if across.n > 1:
            low = max(across.low, across.mean / 10)
            ax.errorbar(
                across.mean, up.mean, xerr=[[across.mean - low], [across.high - across.mean]],
                yerr=[[up.mean - up.low], [up.high - up.mean]], color=colour, capsize=3, linewidth=1.2,
            )  # fmt: skip


def ours_beside_paper(table: pd.DataFrame, paper: pd.DataFrame, site: str = "Resid") -> Figure:
    """Loss recovered against L0: our sweep on the left, the published rows of `site` on the right.

    `paper` has columns model, sae_type, site, layer, L0, pct_CE_recovered (per cent). Rows with an impossible L0 are left
    out. The right panel shows one Pareto front for each model, layer and kind, and says how many of their points lie
    below its axis: a few very low ones would press all others into one line.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for method in sorted(table.method.unique()):
        sweep_curve(left, table, method)
    left.set(xscale="log", xlabel="L0 (active features per token)", ylabel="loss recovered", title="this book")
    rows, drawn = paper[(paper.site == site) & (paper.L0 > 0)], []
    for (_, _, kind), group in rows.groupby(["model", "layer", "sae_type"]):
        front = group[pareto_front(group.L0, group.pct_CE_recovered)].sort_values("L0")
        drawn += (front.pct_CE_recovered / 100).to_list()
        right.plot(front.L0, front.pct_CE_recovered / 100, marker=".", linewidth=0.9, color=PALETTE[kind], alpha=0.75)
    bottom = float(np.floor(np.quantile(drawn, 0.1) * 20) / 20) if drawn else 0.0
    below = sum(share < bottom for share in drawn)
    right.set(
        xscale="log", xlabel="L0 (active features per token)", ylim=(bottom, 1.005), title=f"paper, {site}",
        ylabel="loss recovered" + (f" ({below} points lie below)" if below else ""),
    )  # fmt: skip
    return _finished(figure, left)


def bias_beside_paper(table: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Relative reconstruction bias against L0: our sweep on the left, every published row on the right, one as a line.

    Published rows with an impossible L0 are left out; the panel says how many of the rest lie outside its axis.
    """
    style()
    name, column, _ = QUANTITIES["relative_reconstruction_bias"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for method in sorted(table.method.unique()):
        sweep_curve(left, table, method, "relative_reconstruction_bias")
    rows = paper[paper.L0 > 0]
    low, high = 0.5, 1.25
    outside = int((~rows[column].between(low, high)).sum())
    for kind, group in rows.groupby("sae_type"):
        right.scatter(group.L0, group[column], s=14, color=PALETTE[kind], alpha=0.6, linewidths=0)
    for ax, title in ((left, "this book"), (right, "paper, all models and sites")):
        ax.axhline(1.0, color="0.3", linewidth=1, linestyle=":")
        ax.set(xscale="log", xlabel="L0 (active features per token)", ylabel=name, title=title)
    if outside:
        right.set_title(f"paper, all models and sites ({outside} rows lie outside)")
    right.set(ylim=(low, high))
    return _finished(figure, left)


def curves_and_quantity(table: pd.DataFrame, quantity: str, mark: float | None = None) -> Figure:
    """Loss recovered (left) and another `quantity` (right) against L0, every method of `table`; a dotted line at `mark`."""
    style()
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    for ax, column in zip(axes, ("loss_recovered", quantity), strict=True):
        for method in _methods(table):
            sweep_curve(ax, table, method, column)
        ax.set(xlabel="L0 (active features per token)", ylabel=QUANTITIES[column][0])
        _logarithmic(ax.xaxis)
    if mark is not None:
        axes[1].axhline(mark, color="0.3", linewidth=1, linestyle=":")
    return _finished(figure, axes[0], 3 if table.method.nunique() == 3 else 2)


def curves_and_ratios(table: pd.DataFrame, ratios: dict[str, Interval], name: str) -> Figure:
    """Loss recovered against L0 (left), and one line per method of `ratios` (right): its interval, and a dot per seed.

    `name` says what the ratios are; a dotted line marks one.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
    for method in _methods(table):
        sweep_curve(left, table, method)
    left.set(xlabel="L0 (active features per token)", ylabel="loss recovered")
    _logarithmic(left.xaxis)
    for place, (method, found) in enumerate(ratios.items()):
        colour = PALETTE[method]
        right.scatter(found.values, [place - 0.15] * len(found.values), s=14, color=colour, alpha=0.5, linewidths=0)
        if found.n > 1 and math.isfinite(found.high):
            ends = [[found.mean - found.low], [found.high - found.mean]]
            right.errorbar(found.mean, place, xerr=ends, fmt="o", color=colour, capsize=3)
    right.axvline(1.0, color="0.3", linewidth=1, linestyle=":")
    right.set(xlabel=name, ylim=(len(ratios) - 0.5, -0.5), yticks=range(len(ratios)))
    right.set_yticklabels([LABELS[method].replace(", ", ",\n") for method in ratios])
    right.grid(visible=False, axis="y")
    return _finished(figure, left, 3)


def truth_and_reading(table: pd.DataFrame) -> Figure:
    """One panel per metric of `table` (columns metric, truth, read): what was read against what was planted."""
    style()
    metrics = list(table.metric.unique())
    figure, axes = plt.subplots(2, math.ceil(len(metrics) / 2), figsize=(9, 6), layout="constrained")
    for ax in axes.flat[len(metrics) :]:
        ax.set_axis_off()
    for ax, metric in zip(axes.flat, metrics, strict=False):
        mine = table[table.metric == metric]
        ends = [min(mine.truth.min(), mine.read.min()), max(mine.truth.max(), mine.read.max())]
        ax.plot(ends, ends, color="0.3", linewidth=1, linestyle=":", zorder=1)
        ax.scatter(mine.truth, mine.read, s=22, color=PALETTE["relu"], alpha=0.6, linewidths=0, zorder=2)
        ax.set(title=metric, xlabel="planted", ylabel="read")
    plt.close(figure)
    return figure


def activation_functions(table: pd.DataFrame, fixed: pd.DataFrame, width: int, l0: float) -> Figure:
    """Normalised MSE against L0 at one `width` (left), and against width at one `l0` (right; `fixed` holds it)."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    for method in _methods(table):
        _log_curve(
            left, table[(table.method == method) & (table.d_sae == width)], "sparsity", "l0", "normalised_mse", method
        )
        _log_curve(right, fixed[fixed.method == method], "d_sae", "d_sae", "normalised_mse", method)
    left.set(xlabel="L0 (active latents per token)", ylabel="normalised MSE", title=f"{width} latents")
    right.set(xlabel="latents", ylabel="normalised MSE", title=f"at an L0 of {l0:g}")
    right.xaxis.set_major_locator(FixedLocator(sorted(fixed.d_sae.unique())))
    return _finished(figure, left, 3)


def downstream(table: pd.DataFrame, width: int) -> Figure:
    """Cross-entropy increase against L0 at one `width` (left), and against normalised MSE over all widths (right)."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    for method in _methods(table):
        mine = table[table.method == method]
        _log_curve(left, mine[mine.d_sae == width], "sparsity", "l0", "ce_increase", method)
        right.scatter(mine.normalised_mse, mine.ce_increase, s=14, color=PALETTE[method], alpha=0.6, linewidths=0)
    left.set(xlabel="L0 (active latents per token)", ylabel="added nats per token", title=f"{width} latents")
    right.set(xlabel="normalised MSE", ylabel="added nats per token", title="all widths and sparsities")
    _logarithmic(right.xaxis)
    _logarithmic(right.yaxis)
    return _finished(figure, left, 3)


def dead_latents(curves: pd.DataFrame, batch: int, threshold: int) -> Figure:
    """Share of dead latents over training, one line per variant through the means over seeds, a thin one per seed."""
    style()
    figure, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    colours = dict(zip(curves.method.unique(), ("#0072B2", "#56B4E9", "#E69F00", "#009E73"), strict=False))
    for method, mine in curves.groupby("method", sort=False):
        for _, one in mine.groupby("seed"):
            ax.plot(one.step * batch, one.dead, color=colours[method], linewidth=0.7, alpha=0.5)
        mean = mine.groupby("step").dead.mean()
        ax.plot(mean.index * batch, mean, color=colours[method], label=method)
    ax.axvline(threshold, color="0.3", linewidth=1, linestyle=":")
    ax.set(
        xlabel="training tokens (dotted: the first at which a latent can count as dead)",
        ylabel="share dead",
        ylim=(0, None),
    )
    return _finished(figure, ax, 4)


def added_loss(table: pd.DataFrame) -> Figure:
    """Added cross-entropy of local and end-to-end SAEs against L0 (left) and against the elements that are alive (right)."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained", sharey=True)
    for method in _methods(table):
        mine = table[table.method == method]
        _log_curve(left, mine, "sparsity", "l0", "ce_increase", method)
        _log_curve(right, mine, "sparsity", "alive_elements", "ce_increase", method)
    left.set(xlabel="L0 (active elements per token)", ylabel="added nats per token")
    right.set(xlabel="alive elements")
    return _finished(figure, left, 3)


def later_errors(errors: pd.DataFrame) -> Figure:
    """Squared error at the site and every later position, all tokens (left) and without position 0 (right); one dot per seed."""
    style()
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
    places = list(errors.position.unique())
    for ax, column, title in zip(axes, ("mse", "mse_after_0"), ("all positions", "without position 0"), strict=True):
        for method in _methods(errors):
            mine = errors[errors.method == method]
            ax.scatter(
                mine.position.map(places.index), mine[column], s=16, color=PALETTE[method], alpha=0.6, linewidths=0
            )
            means = mine.groupby("position")[column].mean()
            ax.plot(range(len(places)), means[places], color=PALETTE[method], label=LABELS[method])
        _logarithmic(ax.yaxis)
        ax.set(title=title, xticks=range(len(places)), xlabel="residual stream before block")
        ax.set_xticklabels([place.split(".")[1] for place in places])
    axes[0].set_ylabel("mean squared error per dimension")
    return _finished(figure, axes[0], 3)


def cosine_densities(found: pd.DataFrame, control: pd.DataFrame) -> Figure:
    """Densities over alive elements of the largest cosine within an SAE, across seeds, and with local elements; dotted: at random."""
    style()
    titles = {"within": "within an SAE", "seeds": "with another seed", "local": "with a local SAE"}
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.8), layout="constrained")
    for ax, (column, title) in zip(axes, titles.items(), strict=True):
        for method in _methods(found):
            for table, style_ in ((found, "-"), (control, ":")):
                values = table[table.method == method][column]
                label = LABELS[method] if style_ == "-" else None
                sns.kdeplot(
                    x=values,
                    ax=ax,
                    color=PALETTE[method],
                    linestyle=style_,
                    label=label,
                    clip=(-1, 1),
                    warn_singular=False,
                )
        ax.set(title=title, xlabel="largest cosine", ylabel="density" if column == "within" else "")
    return _finished(figure, axes[0], 3)


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
            color=PALETTE["gated"],
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
    return _finished(figure, axes[0, 0], 3)


def dictionaries(found: pd.DataFrame, control: pd.DataFrame) -> Figure:
    """Loss recovered under optimisation against the L0 of the SAE that a decoder comes from, a panel for each target.

    `found` has columns method, sparsity, seed, own_l0, by, target, loss_recovered; `control` the same for random
    directions, whose mean is a dotted line in the colour of the kind that is as wide.
    """
    style()
    optimised = found[found.target > 0].drop(columns="l0", errors="ignore").rename(columns={"own_l0": "l0"})
    targets = sorted(optimised.target.unique())
    figure, axes = plt.subplots(1, len(targets), figsize=(9, 3.9), layout="constrained", squeeze=False)
    for ax, target in zip(axes[0], targets, strict=True):
        here = optimised[optimised.target == target]
        for method in _methods(here):
            sweep_curve(ax, here, method)
            mine = control[(control.method == method) & (control.target == target)]
            label = f"random directions, as many as {LABELS[method]}"
            ax.axhline(mine.loss_recovered.mean(), color=PALETTE[method], linewidth=1.2, linestyle=":", label=label)
        _logarithmic(ax.xaxis)
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))  # a third of the width has no room for 1, 2 and 5
        ax.set(title=f"optimised to L0 {target}", xlabel="own L0 of the SAE", ylabel="loss recovered")
    for ax in axes[0, 1:]:
        ax.set_ylabel("")
    return _finished(figure, axes[0, 0])


def encoder_and_optimum(shown: pd.DataFrame, gaps: pd.DataFrame) -> Figure:
    """Left: loss recovered against L0, by encoder (lines) and by optimisation on the best decoder (dashes), means over seeds.

    Right: how many times the features of the optimum each encoder needs at equal loss. `shown` has columns method, by,
    seed, sparsity, target, l0, loss_recovered; `gaps` has columns method and log_gap, one line per seed.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained", width_ratios=(2, 1))
    for method in _methods(shown):
        mine, colour = shown[shown.method == method], PALETTE[method]
        for by, key, line in (("encoder", "sparsity", "-"), ("optimisation", "target", "--")):
            rows = mine[mine.by == by]
            means = rows.groupby(key)[["l0", "loss_recovered"]].mean().sort_values("l0")
            left.plot(means.l0, means.loss_recovered, line, color=colour, label=f"{LABELS[method]}, {by}")
            marker = "o" if by == "encoder" else "D"
            left.scatter(rows.l0, rows.loss_recovered, s=14, color=colour, marker=marker, alpha=0.5, linewidths=0)
    _logarithmic(left.xaxis)
    left.set(xlabel="L0 (active features per token)", ylabel="loss recovered")
    places = _methods(gaps)
    for place, method in enumerate(places):
        times = np.exp(gaps[gaps.method == method].log_gap.dropna())
        right.scatter(np.full(len(times), place), times, s=18, color=PALETTE[method], alpha=0.5, linewidths=0)
        interval = t_interval(np.log(times).to_list())
        if interval.n > 1:
            mean, low, high = np.exp([interval.mean, interval.low, interval.high])
            error = [[mean - low], [high - mean]]
            right.errorbar(place + 0.15, mean, yerr=error, color=PALETTE[method], capsize=3, marker="o", markersize=4)
    right.axhline(1.0, color="0.3", linewidth=1, linestyle=":")
    _logarithmic(right.yaxis)
    right.set(
        xticks=range(len(places)), xticklabels=[LABELS[m].split(" ")[0] for m in places], xlim=(-0.5, len(places) - 0.4),
        ylabel="L0, encoder over optimisation",
    )  # fmt: skip
    return _finished(figure, left)


def _methods(table: pd.DataFrame) -> list[str]:
    return [method for method in PALETTE if method in set(table.method)]


def _log_curve(ax, table: pd.DataFrame, by: str, x: str, y: str, method: str) -> None:
    """A line through the means over seeds of each group of `by`, with 95 % t intervals of `y`, both axes logarithmic."""
    colour = PALETTE[method]
    ax.scatter(table[x], table[y], s=12, color=colour, alpha=0.4, linewidths=0, zorder=3)
    points = [(g[x].mean(), t_interval(g[y].to_list())) for _, g in table.groupby(by)]
    points.sort(key=lambda point: point[0])
    if points:
        ax.plot([p for p, _ in points], [i.mean for _, i in points], color=colour, label=LABELS[method], zorder=2)
    for place, interval in points:
        if interval.n > 1:
            low = max(interval.low, interval.mean / 10)  # a log axis knows no zero
            error = [[interval.mean - low], [interval.high - interval.mean]]
            ax.errorbar(place, interval.mean, yerr=error, color=colour, capsize=2, linewidth=1)
    _logarithmic(ax.xaxis)
    _logarithmic(ax.yaxis)


def _logarithmic(axis) -> None:
    """A log axis with plain numbers at 1, 2 and 5: powers of ten alone leave a short range without a label."""
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _finished(figure: Figure, panel, columns: int = 2) -> Figure:
    # One legend for all panels, outside them, so that it covers no data.
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)
    plt.close(figure)
    return figure
