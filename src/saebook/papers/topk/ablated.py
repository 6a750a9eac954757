"""What one part of the TopK recipe is worth (Top-k paper, appendices A and C): errors at equal k, seed by seed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter
from torch import Tensor

from saebook.plotting.style import finished, logarithmic, plain_numbers, style
from saebook.sae.base import Member, SAEStack
from saebook.training.config import Method

_LOOKS = (("#009E73", "-", "o"), ("#E69F00", "--", "s"), ("#CC79A7", "-.", "D"), ("#0072B2", ":", "^"))


def error_ratios(table: pd.DataFrame, one: str, other: str) -> list[float]:
    """Normalised MSE of method `one` over that of `other`, a geometric mean over all k of a sweep's `table`, per seed."""
    logs = table.assign(log=table.normalised_mse.map(math.log))
    means = logs.groupby(["method", "seed"]).log.mean()
    return [math.exp(means[one, seed] - means[other, seed]) for seed in sorted(table.seed.unique())]


def largest_between_seeds(table: pd.DataFrame, method: str) -> float:
    """The largest factor between the errors of two seeds of `method`, each a geometric mean over all k."""
    logs = table[table.method == method].assign(log=lambda rows: rows.normalised_mse.map(math.log))
    means = logs.groupby("seed").log.mean()
    return math.exp(means.max() - means.min())


class Spread(NamedTuple):
    """The 5th and the 95th percentile of some numbers."""

    low: float
    high: float


def decoder_norms(saes: Sequence[SAEStack]) -> Spread:
    """How long the decoder rows of trained SAEs are, all rows of all SAEs together."""
    norms = torch.cat([sae.W_dec.detach().norm(dim=-1).flatten() for sae in saes]).cpu()
    return Spread(*norms.quantile(torch.tensor([0.05, 0.95])).tolist())


@torch.no_grad()
def scale_factors(methods: Sequence[Method], x: Tensor) -> dict[float, float]:
    """By what the encoder of seed 0 is divided before training, for each k; of `methods` the first is not scaled.

    `x` [B, D] are activations, by which the biases begin.
    """
    plain, scaled = (
        method.build(x.shape[1], tuple(Member(0, k) for k in method.sparsities), x.device) for method in methods
    )
    for stack in (plain, scaled):
        stack.init_bias(stack.prepare(x)[0])
    factors = plain.W_enc.norm(dim=(1, 2)) / scaled.W_enc.norm(dim=(1, 2))
    return dict(zip(plain.sparsity, factors.tolist(), strict=True))


def by_k(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Normalised MSE of every other method over that of `reference`, at the same seed and k: method, k, seed, ratio."""
    errors = table.pivot(index=["seed", "sparsity"], columns="method", values="normalised_mse")
    ratios = errors.drop(columns=reference).div(errors[reference], axis=0)
    long = ratios.reset_index().melt(["seed", "sparsity"], var_name="method", value_name="ratio")
    return long.rename(columns={"sparsity": "k"})


def figure(history: pd.DataFrame, table: pd.DataFrame, reference: str, batch: int) -> Figure:
    """Training loss at the largest k (left), and the error over that of `reference` by k (right), a dot per seed."""
    style()
    made, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    names = [reference, *(name for name in history.method.unique() if name != reference)]
    ratios, k = by_k(table, reference), table.sparsity.max()
    for name, (colour, line, marker) in zip(names, _LOOKS, strict=False):
        mine = history[(history.method == name) & (history.sparsity == k)]
        mean = mine.groupby("step").loss.mean()
        left.plot((mean.index + 1) * batch, mean, line, marker=".", markersize=3, color=colour, label=name)
        here = ratios[ratios.method == name]
        right.plot(here.k, here.ratio, marker, color=colour, markersize=4, alpha=0.6)
        right.plot(here.groupby("k").ratio.mean(), line, color=colour)
    right.axhline(1.0, color="0.3", linewidth=1, linestyle=":")
    left.set(xlabel="training tokens", ylabel="training loss", title=f"k = {k:g}")
    right.set(xlabel="k", ylabel=f"normalised MSE, relative to {reference}", title="at the end")
    logarithmic(left.yaxis)
    left.set_xscale("log")
    left.xaxis.set_major_formatter(EngFormatter(sep=""))
    left.xaxis.set_minor_formatter(NullFormatter())
    right.set_xscale("log")
    plain_numbers(right.xaxis, tuple(sorted(table.sparsity.unique())))
    return finished(made, left, 4)
