"""Shrinkage: how much too small reconstructions are, and how much of it one factor repairs (Gated paper, 2.3 and 4.2)."""

import numpy as np
import pandas as pd
import torch

from saebook.evaluation.metrics import Sums, relative_reconstruction_bias
from saebook.subject.model import Site, Subject
from saebook.training.store import Store

GAMMA = "relative_reconstruction_bias"


def mean_per_seed(table: pd.DataFrame, method: str, column: str = GAMMA) -> list[float]:
    """The mean of `column` over a method's sweep, one value per seed."""
    return [float(group[column].mean()) for _, group in table[table.method == method].groupby("seed")]


def slope_per_seed(table: pd.DataFrame, method: str, column: str = GAMMA) -> list[float]:
    """The change of `column` per e-fold of lambda (least squares over the sweep), one value per seed."""
    mine = table[table.method == method]
    return [float(np.polyfit(np.log(g.sparsity), g[column], 1)[0]) for _, g in mine.groupby("seed")]


@torch.inference_mode()
def rescaled(row: pd.Series, subject: Subject, site: Site, rows: torch.Tensor, skip: int, store: Store | None = None):
    """One stored SAE with its reconstructions divided by its own bias: bias and squared error before and after.

    `row` is a line of a sweep's table, `rows` [N, T] validation tokens. By Eq. 9 the bias after is one; the error says how
    much of the damage one factor repairs.
    """
    sae = (store or Store()).load_sae(row.key).to(subject.device)
    before, after = Sums(), Sums()
    for part in rows.split(32):
        x, _, _ = sae.prepare(subject.activations(part, site)[:, skip:].flatten(0, 1))
        f = sae.encode(x)
        xhat = sae.decode(f)
        before.add(x, f, xhat)
        after.add(x, f, xhat / row[GAMMA])
    (own,), (divided,) = before.totals(), after.totals()
    return {
        "bias": relative_reconstruction_bias(own.xhat_norm2, own.dot),
        "bias_rescaled": relative_reconstruction_bias(divided.xhat_norm2, divided.dot),
        "error_ratio": divided.error2 / own.error2,
    }
