"""Error by position in the context (Top-k paper, appendix F.2). Letters: N rows, T positions, D d_in."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common.progress import bar
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

OWN = "own_mse"  # the error over the variance among tokens of the same position
_ROWS = 16  # rows a pass of the subject


@torch.inference_mode()
def measured(table: pd.DataFrame, saes: Sequence[SAEStack], subject: Subject, site: Site, rows: Tensor) -> pd.DataFrame:
    """Errors at each of the T positions of `rows` [N, T], every position counted: one row per SAE and position.

    `saes` are stacks of one, the runs of a sweep's `table` line by line. Columns: method, seed, sparsity, position,
    normalised_mse (the error over the variance of all tokens), `OWN` (over that of the position alone), l0, tokens.
    """
    saes = [sae.to(subject.device) for sae in saes]
    shape = (rows.shape[1], site.d_in)
    like = {"dtype": torch.float64, "device": subject.device}
    total, squares = torch.zeros(shape, **like), torch.zeros(shape[0], **like)
    errors = torch.zeros(len(saes), shape[0], 2, **like)
    with bar(len(rows), "measuring positions", "row") as progress:
        for part in rows.split(_ROWS):
            x = subject.activations(part, site)
            z = saes[0].prepare(x.flatten(0, 1))[0]
            by_position = z.double().view(x.shape)
            total, squares = total + by_position.sum(0), squares + by_position.square().sum((0, 2))
            for i, sae in enumerate(saes):
                f = sae.encode(z)
                error = (sae.decode(f)[0] - z).square().sum(1)
                both = torch.stack([error, (f[0] > 0).sum(1)], 1).double()
                errors[i] += both.view(*x.shape[:2], 2).sum(0)
            progress.update(len(part))
    count = len(rows)
    spread = squares / count - (total / count).square().sum(1)  # [T]
    variance = squares.mean() / count - (total.mean(0) / count).square().sum()
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "position": range(rows.shape[1]), "normalised_mse": (error / variance).cpu().numpy(),
                    OWN: (error / spread).cpu().numpy(), "l0": l0.cpu().numpy(), "tokens": count,
                }
            ).assign(method=run["method"], seed=run["seed"], sparsity=run["sparsity"])
            for run, (error, l0) in zip(table.to_dict("records"), (errors / count).transpose(1, 2), strict=True)
        ],
        ignore_index=True,
    )  # fmt: skip


def over_later(errors: pd.DataFrame, position: int, column: str = "normalised_mse") -> list[float]:
    """`column` at a position over its mean at all later ones: one geometric mean over the SAEs of each seed."""
    here = errors[errors.position == position].set_index(["seed", "sparsity"])[column]
    later = errors[errors.position > position].groupby(["seed", "sparsity"])[column].mean()
    return (here / later).map(math.log).groupby("seed").mean().map(math.exp).tolist()


def range_of_ratios(errors: pd.DataFrame, first: int) -> tuple[float, float]:
    """The smallest and the largest ratio of the error at one position to the mean at the others, of the positions from `first` on.

    Geometric means over all SAEs, by position.
    """
    late = errors[errors.position >= first].pivot(
        index="position", columns=["seed", "sparsity"], values="normalised_mse"
    )
    others = (late.sum() - late) / (len(late) - 1)
    ratios = np.exp(np.log(late / others).mean(axis=1))
    return float(ratios.min()), float(ratios.max())


def spans(errors: pd.DataFrame) -> pd.DataFrame:
    """Means over spans of positions, each twice as long as the one before: 0, 1, 2 to 3, 4 to 7 ... One row per SAE and span.

    `position` is then the middle of the span, counted from 1 on the logarithmic axis of the figure.
    """
    span = np.ceil(np.log2(errors.position + 1)).astype(int)
    grouped = errors.assign(position=errors.position + 1.0).groupby(["method", "seed", "sparsity", span.rename("span")])
    return grouped[["position", "normalised_mse", OWN]].mean().reset_index()
