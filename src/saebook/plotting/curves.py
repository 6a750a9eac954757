"""The book's figures: one style, one colour per method, in every chapter."""

import math

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from saebook.evaluation.intervals import Interval, t_interval

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


def curves_and_quantity(table: pd.DataFrame, quantity: str, mark: float | None = None) -> Figure:
    """Loss recovered (left) and another `quantity` (right) against L0, every method of `table`; a dotted line at `mark`."""
    style()
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    for ax, column in zip(axes, ("loss_recovered", quantity), strict=True):
        for method in methods(table):
            sweep_curve(ax, table, method, column)
        ax.set(xlabel="L0 (active features per token)", ylabel=QUANTITIES[column][0])
        logarithmic(ax.xaxis)
    if mark is not None:
        axes[1].axhline(mark, color="0.3", linewidth=1, linestyle=":")
    return finished(figure, axes[0], 3 if table.method.nunique() == 3 else 2)


def curves_and_ratios(table: pd.DataFrame, ratios: dict[str, Interval], name: str) -> Figure:
    """Loss recovered against L0 (left), and one line per method of `ratios` (right): its interval, and a dot per seed.

    `name` says what the ratios are; a dotted line marks one.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
    for method in methods(table):
        sweep_curve(left, table, method)
    left.set(xlabel="L0 (active features per token)", ylabel="loss recovered")
    logarithmic(left.xaxis)
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
    return finished(figure, left, 3)


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
    for method in methods(table):
        _log_curve(
            left, table[(table.method == method) & (table.d_sae == width)], "sparsity", "l0", "normalised_mse", method
        )
        _log_curve(right, fixed[fixed.method == method], "d_sae", "d_sae", "normalised_mse", method)
    left.set(xlabel="L0 (active latents per token)", ylabel="normalised MSE", title=f"{width} latents")
    right.set(xlabel="latents", ylabel="normalised MSE", title=f"at an L0 of {l0:g}")
    right.xaxis.set_major_locator(FixedLocator(sorted(fixed.d_sae.unique())))
    return finished(figure, left, 3)


def downstream(table: pd.DataFrame, width: int) -> Figure:
    """Cross-entropy increase against L0 at one `width` (left), and against normalised MSE over all widths (right)."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    for method in methods(table):
        mine = table[table.method == method]
        _log_curve(left, mine[mine.d_sae == width], "sparsity", "l0", "ce_increase", method)
        right.scatter(mine.normalised_mse, mine.ce_increase, s=14, color=PALETTE[method], alpha=0.6, linewidths=0)
    left.set(xlabel="L0 (active latents per token)", ylabel="added nats per token", title=f"{width} latents")
    right.set(xlabel="normalised MSE", ylabel="added nats per token", title="all widths and sparsities")
    logarithmic(right.xaxis)
    logarithmic(right.yaxis)
    return finished(figure, left, 3)


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
    return finished(figure, ax, 4)


def added_loss(table: pd.DataFrame) -> Figure:
    """Added cross-entropy of local and end-to-end SAEs against L0 (left) and against the elements that are alive (right)."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained", sharey=True)
    for method in methods(table):
        mine = table[table.method == method]
        _log_curve(left, mine, "sparsity", "l0", "ce_increase", method)
        _log_curve(right, mine, "sparsity", "alive_elements", "ce_increase", method)
    left.set(xlabel="L0 (active elements per token)", ylabel="added nats per token")
    right.set(xlabel="alive elements")
    return finished(figure, left, 3)


def later_errors(errors: pd.DataFrame) -> Figure:
    """Squared error at the site and every later position, all tokens (left) and without position 0 (right); one dot per seed."""
    style()
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
    places = list(errors.position.unique())
    for ax, column, title in zip(axes, ("mse", "mse_after_0"), ("all positions", "without position 0"), strict=True):
        for method in methods(errors):
            mine = errors[errors.method == method]
            ax.scatter(
                mine.position.map(places.index), mine[column], s=16, color=PALETTE[method], alpha=0.6, linewidths=0
            )
            means = mine.groupby("position")[column].mean()
            ax.plot(range(len(places)), means[places], color=PALETTE[method], label=LABELS[method])
        logarithmic(ax.yaxis)
        ax.set(title=title, xticks=range(len(places)), xlabel="residual stream before block")
        ax.set_xticklabels([place.split(".")[1] for place in places])
    axes[0].set_ylabel("mean squared error per dimension")
    return finished(figure, axes[0], 3)


def cosine_densities(found: pd.DataFrame, control: pd.DataFrame) -> Figure:
    """Densities over alive elements of the largest cosine within an SAE, across seeds, and with local elements; dotted: at random."""
    style()
    titles = {"within": "within an SAE", "seeds": "with another seed", "local": "with a local SAE"}
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.8), layout="constrained")
    for ax, (column, title) in zip(axes, titles.items(), strict=True):
        for method in methods(found):
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
    return finished(figure, axes[0], 3)


def methods(table: pd.DataFrame) -> list[str]:
    """The methods of a table in the palette's order."""
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
    logarithmic(ax.xaxis)
    logarithmic(ax.yaxis)


def logarithmic(axis: Axis) -> None:
    """A log axis with plain numbers at 1, 2 and 5: powers of ten alone leave a short range without a label."""
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def finished(figure: Figure, panel, columns: int = 2) -> Figure:
    """The figure, closed, with one legend for all panels, that of `panel`, outside them, so that it covers no data."""
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)
    plt.close(figure)
    return figure
