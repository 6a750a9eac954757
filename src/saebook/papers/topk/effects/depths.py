"""Error and added loss of the same SAEs at every layer (Top-k paper, appendix F.1). Letters: N rows, T positions, D d_in."""

import math
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

_ROWS = 16  # rows a pass of the subject


def left_over(covariance: Tensor, k: int) -> float:
    """The share of the variance outside the `k` first principal components of a `covariance` [D, D]."""
    values = torch.linalg.eigvalsh(covariance.double()).clamp_min(0.0)
    return float(values[: max(0, len(values) - k)].sum() / values.sum())


@torch.inference_mode()
def principal_errors(
    subject: Subject, sites: Sequence[Site], rows: Tensor, skip: int, sae: SAEStack, ks: Sequence[int]
) -> pd.DataFrame:
    """The normalised MSE of k principal components at each site, as columns layer, k and normalised_mse.

    Activations of `rows` [N, T] are normalised as `sae` takes them, the first `skip` positions left out.
    """
    sums = [torch.zeros(site.d_in, dtype=torch.float64, device=subject.device) for site in sites]
    products = [torch.zeros(site.d_in, site.d_in, dtype=torch.float64, device=subject.device) for site in sites]
    count = 0
    for part in rows.split(_ROWS):
        for i, x in enumerate(subject.activations_at(part, sites)):
            z = sae.prepare(x[:, skip:].flatten(0, 1))[0].double()
            sums[i], products[i] = sums[i] + z.sum(0), products[i] + z.T @ z
        count += len(part) * (part.shape[1] - skip)
    covariances = [product / count - torch.outer(s, s) / count**2 for s, product in zip(sums, products, strict=True)]
    return pd.DataFrame(
        [
            {"layer": site.layer, "k": k, "normalised_mse": left_over(covariance, k)}
            for site, covariance in zip(sites, covariances, strict=True)
            for k in ks
        ]
    )


def last_over_first(table: pd.DataFrame, column: str) -> list[float]:
    """`column` at the last layer over the first: one geometric mean over k for each seed; NaN where one is not positive."""
    ends = table[table.layer.isin([table.layer.min(), table.layer.max()])]
    wide = ends.pivot(index=["seed", "sparsity"], columns="layer", values=column)
    ratios = wide[table.layer.max()] / wide[table.layer.min()]
    logs = ratios.map(lambda ratio: math.log(ratio) if ratio > 0 else math.nan)
    return logs.groupby("seed").apply(lambda of_seed: math.exp(of_seed.mean(skipna=False))).tolist()
