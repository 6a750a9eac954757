"""Trained SAEs at another L0 than that of training (Top-k paper, section 5, Figure 10): another k, or a fixed threshold.

Both keep the pre-activations above a threshold. TopK has one for every token, which lets k of them through, and a JumpReLU one
for all tokens. Letters: B tokens, D d_in, M d_sae, N rows, T positions.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common.progress import bar
from saebook.evaluation import metrics
from saebook.evaluation.pareto import matched_ratio
from saebook.sae.base import SAEStack
from saebook.sae.multi_topk import WIDER
from saebook.sae.topk import TopK
from saebook.subject.model import Site, Subject
from saebook.text.held_out import CHOOSING, held_out
from saebook.training.config import Data

TOPK, JUMPRELU, BLIND = "topk", "jumprelu", "blind"  # BLIND keeps latents of the SAE's own code, drawn at random
NMSE = "normalised_mse"
_CELLS = {"cpu": 2**20, "cuda": 2**27}  # how many numbers the codes [B, M] of one batch may have


def pre_activations(sae: SAEStack, z: Tensor) -> Tensor:
    """W_enc (z - b_dec) + b_enc [B, M] of a TopK, Multi-TopK or ReLU SAE of one member, for tokens `z` [B, D] as it takes them."""
    b_enc = sae.get_parameter("b_enc")
    return torch.addmm(b_enc[0], z - sae.b_dec[0], sae.W_enc[0])


def above(pre: Tensor, theta: Tensor | float) -> Tensor:
    """J_theta(pre): `pre` [B, M] where it lies above `theta`, which is not negative, elsewhere zero."""
    return torch.where(pre > theta, pre, 0.0)


def token_thresholds(scores: Tensor, ks: Sequence[int]) -> dict[int, Tensor]:
    """For each k, the threshold [B, 1] of every token above which its k largest `scores` [B, M] lie, as far as they are positive."""
    latents = scores.shape[1]
    largest = scores.topk(min(max(ks) + 1, latents)).values.clamp_min(0.0)
    return {k: largest[:, k : k + 1] if k < latents else torch.zeros_like(largest[:, :1]) for k in ks}


def fixed_thresholds(pre: Tensor, l0s: Sequence[int]) -> dict[int, float]:
    """For each wanted L0, the one threshold that `pre` [B, M] exceeds so many times a token; 0 where fewer are positive."""
    ordered = pre.detach().flatten().sort(descending=True).values
    return {l0: max(0.0, float(ordered[min(l0 * len(pre), len(ordered) - 1)])) for l0 in l0s}


def levels(l0s: Sequence[int], ks: Sequence[int], width: int) -> list[int]:
    """The L0 to measure at: `l0s`, every k of training, and four times each as far as there are so many latents (`width`)."""
    return sorted({*l0s, *ks, *(WIDER * k for k in ks if WIDER * k <= width)})


def choosing_rows(subject: Subject, data: Data, count: int) -> Tensor:
    """Up to `count` validation rows [N, T] of the part that judges nothing (`text.held_out`)."""
    rows = held_out(data.source, subject.tokenizer, data.row_length(subject.context), count, CHOOSING)
    return torch.from_numpy(rows.astype(np.int64))


@torch.inference_mode()
def measured(
    table: pd.DataFrame, saes: Sequence[SAEStack], subject: Subject, site: Site, rows: Tensor, choosing: Tensor, skip: int,
    l0s: Sequence[int],
) -> pd.DataFrame:  # fmt: skip
    """Normalised MSE of SAEs on `rows` [N, T] at every L0 of `l0s`, by TopK and by a threshold that the rows `choosing` set.

    `saes` are stacks of one, the runs of a sweep's `table` line by line. Where TopK with k is how an SAE was trained, smaller
    codes are also made of k' of its k latents drawn at random (BLIND). One row per SAE and code: method, seed, sparsity,
    own_l0 (of the sweep's table), by, wanted, l0, normalised_mse. The first `skip` positions count nowhere.
    """
    saes = [sae.to(subject.device) for sae in saes]
    cells = _CELLS.get(subject.device.type, _CELLS["cpu"])
    together = max(1, cells // (rows.shape[1] * max(sae.d_sae for sae in saes)))
    chosen_on = subject.activations(choosing, site)[:, skip:].flatten(0, 1)
    fixed = [fixed_thresholds(pre_activations(sae, sae.prepare(chosen_on)[0]), l0s) for sae in saes]
    sums: dict[tuple[int, str, int], Tensor] = {}
    total = torch.zeros(site.d_in, dtype=torch.float64, device=subject.device)
    squares, tokens = 0.0, 0
    generator = torch.Generator(subject.device).manual_seed(0)
    with bar(len(rows) * len(saes), "changing L0", "row") as progress:
        for part in rows.split(together):
            x = subject.activations(part, site)[:, skip:].flatten(0, 1)
            z = saes[0].prepare(x)[0]
            total, squares, tokens = (
                total + z.double().sum(0),
                squares + float(z.double().square().sum()),
                tokens + len(z),
            )
            for i, sae in enumerate(saes):
                for (by, l0), f in _codes(sae, pre_activations(sae, z), l0s, fixed[i], generator):
                    error = torch.addmm(sae.b_dec[0], f, sae.W_dec[0]).sub_(z).square().sum()
                    both = torch.stack([error, (f > 0).sum()]).double()
                    sums[i, by, l0] = sums[i, by, l0] + both if (i, by, l0) in sums else both
                progress.update(len(part))
    variance = squares / tokens - float((total / tokens).square().sum())
    of_run = table.rename(columns={"l0": "own_l0"})[["method", "seed", "sparsity", "own_l0"]].to_dict("records")
    lines = []
    for (i, by, wanted), both in sums.items():
        error, active = (both / tokens).tolist()
        mse = metrics.normalised_mse(error, variance)
        lines.append(of_run[i] | {"by": by, "wanted": wanted, "l0": active, NMSE: mse})
    return pd.DataFrame(lines)


def _codes(
    sae: SAEStack, pre: Tensor, l0s: Sequence[int], fixed: dict[int, float], generator: torch.Generator
) -> Iterator[tuple[tuple[str, int], Tensor]]:
    """Every code [B, M] of a batch, each with how it was made and the L0 that was wanted."""
    for k, theta in token_thresholds(pre, l0s).items():
        yield (TOPK, k), above(pre, theta)
    for l0, theta in fixed.items():
        yield (JUMPRELU, l0), above(pre, theta)
    own_k = int(sae.members[0].sparsity)
    fewer = [k for k in l0s if k < own_k] if isinstance(sae, TopK) else []
    if fewer:
        own = above(pre, token_thresholds(pre, [own_k])[own_k])
        scores = torch.rand(pre.shape, generator=generator, device=pre.device) * (own > 0)
        for k, theta in token_thresholds(scores, fewer).items():
            yield (BLIND, k), torch.where(scores > theta, own, 0.0)


# What the chapter reads off -----------------------------------------------------------------------------------------------


def at_multiple(codes: pd.DataFrame, one: str, other: str, factor: int) -> list[float]:
    """Error of the SAEs of `one` over that of `other` at `factor` times the k that both were trained with, by TopK.

    The geometric mean over the trained k, one value per seed. A multiple that was not measured is left out.
    """
    return _at_multiple(codes, one, other, factor).groupby("seed").mean().map(math.exp).tolist()


def by_trained_k(codes: pd.DataFrame, one: str, other: str, factor: int) -> pd.Series:
    """The same for every k of training: geometric means over seeds."""
    return _at_multiple(codes, one, other, factor).groupby("sparsity").mean().map(math.exp)


def _at_multiple(codes: pd.DataFrame, one: str, other: str, factor: int) -> pd.Series:
    there = codes[(codes.by == TOPK) & (codes.wanted == factor * codes.sparsity)]
    logs = np.log(there.pivot(index=["seed", "sparsity"], columns="method", values=NMSE).reindex(columns=[one, other]))
    return (logs[one] - logs[other]).dropna()


def against_topk(codes: pd.DataFrame, method: str, by: str, below: bool = True) -> list[float]:
    """Error of the codes made `by` other means over that of TopK's of the very same SAEs, at equal L0.

    Only codes count whose wanted L0 is below that of training (with `below` false: above it). Each SAE's two curves are
    compared over the range of L0 that both cover; one geometric mean over the SAEs of a seed, NaN where no curves meet.
    """
    mine = codes[codes.method == method]
    mine = mine[(mine.wanted < mine.own_l0.round()) if below else (mine.wanted > mine.own_l0.round())]
    means = []
    for _, of_seed in mine.groupby("seed"):
        pairs = [(g[g.by == by], g[g.by == TOPK]) for _, g in of_seed.groupby("sparsity")]
        ratios = [matched_ratio(one, other, NMSE) for one, other in pairs if min(len(one), len(other)) > 1]
        logs = [math.log(ratio) for ratio in ratios if math.isfinite(ratio)]
        means.append(math.exp(sum(logs) / len(logs)) if logs else math.nan)
    return means


def over_trained_there(codes: pd.DataFrame, method: str, factor: int) -> list[float]:
    """Error of `method` at `factor` times its k over that of a TopK SAE trained with so many; one geometric mean per seed."""
    topk = codes[codes.by == TOPK]
    trained = topk[(topk.method == "topk") & (topk.wanted == topk.sparsity)].set_index(["seed", "wanted"])[NMSE]
    there = topk[(topk.method == method) & (topk.wanted == factor * topk.sparsity)].set_index(["seed", "wanted"])[NMSE]
    return (there / trained).dropna().map(math.log).groupby("seed").mean().map(math.exp).tolist()
