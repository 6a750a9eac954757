"""How many latents each token gets, and whether they go to the tokens that need them. Letters: N rows, T positions, B tokens."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy  # `scipy.stats` is imported when it is first used
import torch
from torch import Tensor

from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

_ROWS = 16  # rows a pass of the subject


@torch.inference_mode()
def by_token(
    table: pd.DataFrame, saes: Sequence[SAEStack], subject: Subject, site: Site, rows: Tensor, skip: int
) -> pd.DataFrame:
    """Latents and squared error of every token of `rows` [N, T] but the first `skip` of each, for every SAE.

    `saes` are stacks of one, the runs of a sweep's `table` line by line. Columns: method, sparsity, seed, token, latents, error.
    """
    saes = [sae.to(subject.device) for sae in saes]
    parts: list[list[tuple[Tensor, Tensor]]] = [[] for _ in saes]
    for some in rows.split(_ROWS):
        x = subject.activations(some, site)[:, skip:].flatten(0, 1)
        for sae, of_sae in zip(saes, parts, strict=True):
            z = sae.prepare(x)[0]
            f = sae.encode(z)
            of_sae.append(((f[0] > 0).sum(1), (sae.decode(f)[0] - z).square().sum(1)))
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "latents": torch.cat([latents for latents, _ in of_sae]).cpu().numpy(),
                    "error": torch.cat([error for _, error in of_sae]).double().cpu().numpy(),
                }
            )
            .rename_axis("token")
            .reset_index()
            .assign(method=run["method"], sparsity=run["sparsity"], seed=run["seed"])
            for run, of_sae in zip(table.to_dict("records"), parts, strict=True)
        ],
        ignore_index=True,
    )


def spreads(tokens: pd.DataFrame) -> pd.DataFrame:
    """Mean number of latents a token of each SAE of `by_token`, with the fifth and ninety-fifth percentile over tokens."""
    latents = tokens.groupby(["method", "sparsity", "seed"]).latents
    columns = {"mean": latents.mean(), "5 %": latents.quantile(0.05), "95 %": latents.quantile(0.95)}
    return pd.DataFrame(columns).reset_index()


def goes_where_it_is_hard(
    tokens: pd.DataFrame, method: str, against: str = "topk", shuffle: bool = False
) -> list[float]:
    """Rank correlation of a token's latents under `method` with its error under `against`, one mean over k for each seed.

    Both have the same `sparsity`, k. TopK has the same number for every token, so its error says which are hard. With
    `shuffle`, tokens of the two are paired at random: the control, which has to come out at zero.
    """
    values = []
    for seed, group in tokens.groupby("seed"):
        of_k = []
        for _, one in group.groupby("sparsity"):
            mine, other = (one[one.method == name].set_index("token") for name in (method, against))
            if mine.empty or other.empty:
                continue
            error = other.error.reindex(mine.index).to_numpy()
            if shuffle:
                error = np.random.default_rng(int(seed)).permutation(error)  # pyright: ignore[reportArgumentType]
            of_k.append(scipy.stats.spearmanr(mine.latents, error).statistic)
        values.append(float(np.mean(of_k)))
    return values


def l0_off_k(table: pd.DataFrame, method: str = "batch_topk") -> list[float]:
    """L0 on validation text over the k of training, one geometric mean over k for each seed: what the threshold gets wrong."""
    mine = table[table.method == method]
    logs = (mine.l0 / mine.sparsity).map(math.log)
    return logs.groupby(mine.seed).mean().map(math.exp).tolist()
