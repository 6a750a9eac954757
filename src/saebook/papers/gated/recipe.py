"""Ablations of the Gated SAE: its L0 against a variant's, and which loss trains what (Gated paper, Figures 8 and 17)."""

import pandas as pd
from torch import Tensor

from saebook.evaluation.pareto import ratio
from saebook.sae.base import SAEStack

VARIANTS = ("gated_unfrozen", "gated_no_r_mag", "gated_untied")


def full_over(table: pd.DataFrame, variant: str) -> list[float]:
    """L0 of the full Gated SAE over L0 of `variant` at equal loss recovered, one value per seed; a value below one favours the full SAE.

    Both are read at the variant's sparsities only, so that both curves have the same number of points.
    """
    mine = table[table.method == variant]
    full = table[(table.method == "gated") & table.sparsity.isin(mine.sparsity)]
    return [ratio(full[full.seed == seed], group) for seed, group in mine.groupby("seed")]


def routes(sae: SAEStack, x: Tensor) -> pd.Series:
    """The parameters that receive a gradient from each term of the loss of `x` [B, D], found by autograd."""
    reached = {}
    for term in sae.loss(x).terms:
        sae.zero_grad()
        sae.loss(x).terms[term].sum().backward()
        reached[term] = ", ".join(n for n, p in sae.named_parameters() if p.grad is not None and p.grad.any())
    return pd.Series(reached)
