"""Figures of the Top-k chapters."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from saebook.plotting.curves import log_curve
from saebook.plotting.style import L0_AXIS, finished, logarithmic, look, methods, style

# variant of `papers.topk.dead_latents.VARIANTS`, in its order -> (colour, line)
_REMEDIES = (("#0072B2", "-"), ("#56B4E9", "--"), ("#E69F00", "-."), ("#009E73", ":"))


def activation_functions(table: pd.DataFrame, fixed: pd.DataFrame, width: int, l0: float) -> Figure:
    """Normalised MSE against L0 at one `width` (left), and against width at one `l0` (right; `fixed` holds it)."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    for method in methods(table):
        log_curve(
            left, table[(table.method == method) & (table.d_sae == width)], "sparsity", "l0", "normalised_mse", method
        )
        log_curve(right, fixed[fixed.method == method], "d_sae", "d_sae", "normalised_mse", method)
    left.set(xlabel=L0_AXIS, ylabel="normalised MSE", title=f"{width} latents")
    right.set(xlabel="latents", ylabel="normalised MSE", title=f"at an L0 of {l0:g}")
    right.xaxis.set_major_locator(FixedLocator(sorted(fixed.d_sae.unique())))
    return finished(figure, left, 3)


def downstream(table: pd.DataFrame, width: int) -> Figure:
    """Cross-entropy increase against L0 at one `width` (left), and against normalised MSE over all widths (right)."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    for method in methods(table):
        mine = table[table.method == method]
        log_curve(left, mine[mine.d_sae == width], "sparsity", "l0", "ce_increase", method)
        right.scatter(
            mine.normalised_mse,
            mine.ce_increase,
            s=14,
            color=look(method).colour,
            marker=look(method).marker,
            alpha=0.6,
            linewidths=0,
        )
    left.set(xlabel=L0_AXIS, ylabel="added nats per token", title=f"{width} latents")
    right.set(xlabel="normalised MSE", ylabel="added nats per token", title="all widths and sparsities")
    logarithmic(right.xaxis)
    logarithmic(right.yaxis)
    return finished(figure, left, 3)


def dead_latents(curves: pd.DataFrame, batch: int, threshold: int) -> Figure:
    """Share of dead latents over training, one line per variant through the means over seeds, a thin one per seed."""
    style()
    figure, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    looks = dict(zip(curves.method.unique(), _REMEDIES, strict=False))
    for method, mine in curves.groupby("method", sort=False):
        colour, line = looks[method]
        for _, one in mine.groupby("seed"):
            ax.plot(one.step * batch, one.dead, color=colour, linewidth=0.7, alpha=0.5)
        mean = mine.groupby("step").dead.mean()
        ax.plot(mean.index * batch, mean, line, color=colour, label=method)
    ax.axvline(threshold, color="0.3", linewidth=1, linestyle=":")
    ax.set(
        xlabel="training tokens (dotted: the first at which a latent can count as dead)",
        ylabel="share dead",
        ylim=(0, None),
    )
    return finished(figure, ax, 4)
