"""How large the gradients of trained SAEs are, and how many elements such SAEs have alive (e2e paper, appendix C; Tables 2 and 3).

The gradient is that of the whole objective with its penalty, over all parameters, one batch of training size at a time, and
the norm is averaged over batches; nothing is clipped. Decoder rows have norm one, as in the stored SAE. In training their
norm is free and only divides the decoder's share of the gradient, so that absolute values differ from those of a log.
Letters: N rows, T positions.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.common.progress import bar
from saebook.papers.e2e.comparison import ALIVE
from saebook.papers.e2e.measured.picking import OF_RUN, slopes_within
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject
from saebook.training.config import Method
from saebook.training.objectives import Reference

GRADIENT, OTHER_HALF, LOG_ALIVE = "gradient_norm", "gradient_norm_elsewhere", "log_alive"
_BATCHES = 64  # at most


def gradient_norm(sae: SAEStack) -> float:
    """The norm of the gradients that all parameters of `sae` hold together."""
    return float(torch.stack([p.grad.norm() for p in sae.parameters() if p.grad is not None]).norm())


def gradient_norms(
    table: pd.DataFrame, saes: Sequence[SAEStack], methods: Sequence[Method], subject: Subject, site: Site, rows: Tensor,
    batch: int,
) -> pd.DataFrame:  # fmt: skip
    """The gradient norm of every SAE of a sweep's `table` under its own objective, on batches of `batch` tokens of `rows` [N, T].

    `saes` are stacks of one, the runs of `table` line by line, and `methods` what the chapter's plan trains. One line per SAE
    with the columns of `OF_RUN` (those without an alive element left out): the norm over batches with even numbers, over
    odd ones (`OTHER_HALF`), and the logarithm of the number alive. Raises `UserError` if `rows` do not fill two batches.
    """
    together = max(1, batch // rows.shape[1])
    parts = [part for part in rows.split(together) if len(part) == together][:_BATCHES]
    if len(parts) < 2:
        raise UserError(f"gradients need eval_rows for two batches of {batch} tokens: {2 * together} or more")
    objectives = {method.name: method.objective for method in methods if method.objective}
    saes, norms = [sae.to(subject.device) for sae in saes], np.zeros((len(saes), len(parts)))
    with bar(len(parts), "gradients", "batch") as progress:
        for b, part in enumerate(parts):
            reference = Reference(subject, part, site)
            for i, (sae, method) in enumerate(zip(saes, table.method, strict=True)):
                reference.step_gradients(sae, objectives[method])
                norms[i, b] = gradient_norm(sae)
            progress.update()
    halves = {GRADIENT: norms[:, 0::2].mean(1), OTHER_HALF: norms[:, 1::2].mean(1)}
    alive = table[ALIVE].to_numpy(float)
    made = table[OF_RUN].reset_index(drop=True).assign(**halves)
    return made[alive > 0].assign(**{LOG_ALIVE: np.log(alive[alive > 0])}).reset_index(drop=True)


def slopes_at_equal(runs: pd.DataFrame, column: str, of: str, given: str = "l0") -> list[float]:
    """`slopes_within`, with what `given` explains (linear in its logarithm) taken out of both quantities first; one per seed.

    NaN for a seed with too few runs: each method has a level of its own, `given` a slope, and one run has to be left.
    """
    usable = runs[(runs[of] > 0) & (runs[given] > 0)]
    slopes = []
    for _, group in usable.groupby("seed"):
        if len(group) < group.method.nunique() + 3:
            slopes.append(math.nan)
            continue
        logs = group.assign(x=np.log(group[of]), y=group[column], z=np.log(group[given]))
        x, y, z = (logs[name] - logs.groupby("method")[name].transform("mean") for name in "xyz")
        x, y = (one - z * ((one * z).sum() / (z * z).sum()) for one in (x, y))
        slopes.append(float((x * y).sum() / (x * x).sum()) if (x * x).sum() > 1e-12 else math.nan)
    return slopes


def exchanged(runs: pd.DataFrame, column: str, of: str, draws: int = 999, seed: int = 0) -> np.ndarray:
    """Mean slopes over seeds [draws] after `column` was exchanged at random among the runs of each method and seed.

    What the slope would be if gradients and elements had nothing to do with each other.
    """
    generator, slopes = np.random.default_rng(seed), []
    places = [np.asarray(at) for at in runs.reset_index(drop=True).groupby(["method", "seed"]).indices.values()]
    values = runs[column].to_numpy(float)
    for _ in range(draws):
        mixed = values.copy()
        for at in places:
            mixed[at] = values[generator.permutation(at)]
        slopes.append(np.nanmean(slopes_within(runs.assign(**{column: mixed}), column, of)))
    return np.array(slopes)
