"""How often latents fire, how strongly, and how close their directions lie (Top-k paper, appendix on qualitative results).

Letters: N rows, T positions, B tokens, D d_in, M d_sae.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.evaluation.geometry import max_cosine
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

DENSE = 0.1  # share of tokens from which on a latent is called dense
SIZES = np.logspace(-2.0, 1.5, 36)  # ends of the ranges of activations that are counted, in units of a token's spread
_ROWS = 16  # rows a pass of the subject


def nearest_to(table: pd.DataFrame, l0: float) -> pd.DataFrame:
    """Of a sweep's table the runs of each method at the one sparsity whose mean L0 lies nearest to `l0` by its logarithm."""
    means = table.groupby(["method", "sparsity"]).l0.mean()
    distance = (means[means > 0].astype(float) / l0).apply(np.log).abs()
    chosen = distance.groupby("method").idxmin().tolist()
    return table[pd.MultiIndex.from_frame(table[["method", "sparsity"]]).isin(chosen)].reset_index(drop=True)


@torch.inference_mode()
def measured(
    table: pd.DataFrame, saes: Sequence[SAEStack], subject: Subject, site: Site, rows: Tensor, skip: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every latent of every SAE on `rows` [N, T], and how often activations of each size occur.

    `saes` are stacks of one, the runs of a sweep's `table` line by line. The first table has one row per latent: method, seed,
    sparsity, `density` (share of tokens), `again` (the same on every other row alone), `strength` (mean where it fires) and
    `nearest` (largest cosine of its decoder row with another's that ever fires; NaN if it never does). The second has one row
    per SAE and range of `SIZES`: `size` (its lower end) and `share` of all activations. The first `skip` positions are left out.
    """
    latents, sizes = [], []
    runs = [
        {str(name): value for name, value in run.items()}
        for run in table[["method", "seed", "sparsity"]].to_dict("records")
    ]
    for run, sae in zip(runs, (one.to(subject.device) for one in saes), strict=True):
        fires = torch.zeros(2, sae.d_sae, dtype=torch.float64, device=subject.device)
        total, counts, tokens = torch.zeros_like(fires[0]), np.zeros(len(SIZES) - 1), [0, 0]
        for part in rows.split(_ROWS):
            for half in (0, 1):
                few = part[half::2]
                if not len(few):
                    continue
                x = subject.activations(few, site)[:, skip:].flatten(0, 1)
                f = sae.encode(sae.prepare(x)[0])[0]
                fires[half] += (f > 0).sum(0)
                total += f.double().sum(0)
                counts += np.histogram(f[f > 0].cpu().numpy(), SIZES)[0]
                tokens[half] += len(x)
        fired = fires.sum(0)
        numbers = {
            "density": fired / sum(tokens), "again": fires[1] / max(1, tokens[1]), "strength": total / fired,
            "nearest": nearest(sae.W_dec[0], fired > 0),
        }  # fmt: skip
        latents.append(pd.DataFrame({name: value.cpu().numpy() for name, value in numbers.items()}).assign(**run))
        share = counts / max(1.0, float(fired.sum()))
        sizes.append(pd.DataFrame({"size": SIZES[:-1], "share": share}).assign(**run))
    return pd.concat(latents, ignore_index=True), pd.concat(sizes, ignore_index=True)


def nearest(directions: Tensor, alive: Tensor) -> Tensor:
    """For each of `directions` [M, D] the largest cosine [M] with another one, among those `alive` [M]; NaN for all others."""
    largest = torch.full((len(directions),), math.nan, device=directions.device)
    if int(alive.sum()) > 1:
        largest[alive] = max_cosine(directions[alive])
    return largest


def random_nearest(count: int, d_in: int, seed: int = 0) -> np.ndarray:
    """`nearest` of `count` random directions in `d_in` dimensions: what crowding alone brings about."""
    generator = torch.Generator().manual_seed(seed)
    return max_cosine(torch.randn(count, d_in, generator=generator)).numpy()


def summary(latents: pd.DataFrame) -> pd.DataFrame:
    """Per SAE: shares of latents that are dense or never fire, the median density and nearest cosine of the others."""
    alive = latents[latents.density > 0]
    by = ["method", "seed", "sparsity"]
    return pd.DataFrame(
        {
            "dense": latents.groupby(by).density.agg(lambda one: (one > DENSE).mean()),
            "never": latents.groupby(by).density.agg(lambda one: (one == 0).mean()),
            "median_density": alive.groupby(by).density.median(),
            "median_nearest": alive.groupby(by).nearest.median(),
            "firing_by_dense": alive.groupby(by).density.agg(lambda one: one[one > DENSE].sum() / one.sum()),
        }
    ).reset_index()
