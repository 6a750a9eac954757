"""Activations refined under a fixed decoder (Top-k paper, section 5.1, Figure 9).

An SAE says which latents are active and how strongly. Refinement keeps the first and asks what the second should have been:
non-negative weights on the same latents that reconstruct the token best. Where they are larger than the SAE's own, it shrinks.
The paper takes projected gradient descent and gives no length; here it has Nesterov's momentum, which starts anew for a token
when it points uphill (O'Donoghue and Candes 2015). Letters: B tokens, D d_in, M d_sae, k latents in use.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common.progress import bar
from saebook.evaluation import metrics
from saebook.evaluation.intervals import Interval, ratio_interval
from saebook.evaluation.ito import Code, excess_error
from saebook.evaluation.pareto import value_at
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

ENCODER, REFINED = "encoder", "refined"
NMSE, CE = "normalised_mse", "ce_increase"
SIZES = np.logspace(
    -1.5, 1.0, 11
)  # ends of the ranges of activations that `measured` tells apart, in units of a token's spread
_ROWS = 16  # rows a pass of the subject
_CELLS = {"cpu": 2**20, "cuda": 2**26}  # numbers of the Gram matrices [B, k, k] of tokens refined together


@torch.no_grad()
def refine(x: Tensor, directions: Tensor, f: Tensor, steps: int) -> Code:
    """Codes of `x` [B, D] on the latents that are active in `f` [B, M], by `steps` projected gradient steps from there.

    Minimises ||x - w W||^2 over w >= 0, W being the rows of `directions` [M, D] of those latents. A slot of the code that is
    not in use has weight 0 and names a latent that is. All work is on the Gram matrices of the active latents.
    """
    counts = (f > 0).sum(1)
    most = max(1, int(counts.max()))
    support = torch.zeros(len(x), most, dtype=torch.long, device=x.device)
    weights, xhat = x.new_zeros(len(x), most), torch.empty_like(x)
    for tokens, k in _alike(counts, _CELLS.get(x.device.type, _CELLS["cpu"])):
        start, latents = f[tokens].topk(k)
        latents = torch.where(start > 0, latents, latents[:, :1])
        atoms = directions[latents] * (start > 0)[:, :, None]
        best = _descended(atoms, x[tokens], start, steps)
        support[tokens] = latents[:, :1]
        support[tokens, :k], weights[tokens, :k] = latents, best
        xhat[tokens] = torch.bmm(best[:, None], atoms)[:, 0]
    return Code(support, weights, xhat)


def _descended(atoms: Tensor, x: Tensor, start: Tensor, steps: int) -> Tensor:
    """Weights [B, k] of `atoms` [B, k, D] that approximate `x` [B, D], from `start` [B, k]. An atom of zeros keeps weight 0."""
    gram, wanted = torch.bmm(atoms, atoms.transpose(1, 2)), torch.bmm(atoms, x[:, :, None])[:, :, 0]
    # No eigenvalue is larger than the largest sum of magnitudes in a row.
    length = gram.abs().sum(2).amax(1, keepdim=True).clamp_min(1e-12).reciprocal()
    weights, ahead, momentum = start, start, torch.ones_like(length)
    for _ in range(steps):
        downhill = torch.baddbmm(wanted[:, None], ahead[:, None], gram, alpha=-1.0)[:, 0]
        moved = (ahead + length * downhill).clamp_min(0.0)
        change = moved - weights
        uphill = (downhill * change).sum(1, keepdim=True) < 0
        following = torch.where(uphill, 1.0, 0.5 + (0.25 + momentum.square()).sqrt())
        ahead = moved + torch.where(uphill, 0.0, (momentum - 1.0) / following) * change
        weights, momentum = moved, following
    return weights


def _alike(counts: Tensor, cells: int) -> Iterator[tuple[Tensor, int]]:
    """Tokens with about as many active latents, and the most that one of them has; at most `cells` numbers of [B, k, k] at once."""
    order = counts.argsort(descending=True)
    sizes, first = counts[order].tolist(), 0
    while first < len(sizes):
        k = max(1, sizes[first])
        last = first + max(1, cells // (k * k))
        yield order[first:last], k
        first = last


@torch.inference_mode()
def measured(
    table: pd.DataFrame, saes: Sequence[SAEStack], subject: Subject, site: Site, rows: Tensor, skip: int, steps: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """SAEs on `rows` [N, T] by their own activations and by refined ones, and how activations of each size change.

    `saes` are stacks of one, the runs of a sweep's `table` line by line. The first table has one row per SAE and code:
    method, seed, sparsity, by (ENCODER or REFINED), l0, normalised_mse, ce_increase, and for REFINED `growth`, the sum of
    refined activations over that of the SAE's own, and `excess`, `ito.excess_error` of the first tokens. The second has one
    row per SAE and range of `SIZES`: the mean activation `before` and `after`, and how many. The first `skip` positions of a
    row keep their activations and count nowhere.
    """
    saes = [sae.to(subject.device) for sae in saes]
    sums = {(i, by): metrics.Sums() for i in range(len(saes)) for by in (ENCODER, REFINED)}
    like = {"dtype": torch.float64, "device": subject.device}
    sizes, excess = torch.zeros(len(saes), len(SIZES) + 1, 3, **like), [math.nan] * len(saes)
    moments = [torch.zeros(site.d_in, **like), torch.zeros((), **like)]
    clean, ends = torch.zeros(1, **like), torch.tensor(SIZES, device=subject.device, dtype=torch.float32)
    with bar(len(rows) * len(saes), "refining activations", "row") as progress:
        for part in rows.split(_ROWS):
            intervention = subject.intervene(part, site)
            x = intervention.activations[:, skip:].flatten(0, 1)
            z, mean, spread = saes[0].prepare(x)
            moments = [moments[0] + z.double().sum(0), moments[1] + z.double().square().sum()]
            clean += metrics.summed_loss(intervention, x[None], skip)
            for i, sae in enumerate(saes):
                f, centred = sae.encode(z)[0], z - sae.b_dec[0]
                code = refine(centred, sae.W_dec[0], f, steps)
                after = code.dense(sae.d_sae)
                if math.isnan(excess[i]):
                    excess[i] = excess_error(centred[f.any(1)], sae.W_dec[0], _of(code, f.any(1)))
                sizes[i] += _by_size(f, after, ends)
                for by, latents in ((ENCODER, f), (REFINED, after)):
                    xhat = sae.decode(latents[None])
                    sums[i, by].add(z, latents[None], xhat)
                    sums[i, by].add_loss(metrics.summed_loss(intervention, xhat * spread + mean, skip))
                progress.update(len(part))
    totals = {key: of_code.totals()[0] for key, of_code in sums.items()}
    tokens, predictions = totals[0, ENCODER].tokens, rows[:, 1 + skip :].numel()
    variance = float(moments[1] / tokens - (moments[0] / tokens).square().sum())
    of_run = table[["method", "seed", "sparsity"]].to_dict("records")
    growth = sizes[:, :, 1].sum(1) / sizes[:, :, 0].sum(1)
    lines = [
        of_run[i] | {
            "by": by, "l0": total.l0 / total.tokens, NMSE: metrics.normalised_mse(total.error2 / total.tokens, variance),
            CE: (total.loss - float(clean)) / predictions,
            "growth": float(growth[i]) if by == REFINED else math.nan, "excess": excess[i] if by == REFINED else math.nan,
        }
        for (i, by), total in totals.items()
    ]  # fmt: skip
    changes = [
        run | {"size": n, "before": before / count, "after": after / count, "count": count}
        for run, of_sae in zip(of_run, sizes.tolist(), strict=True)
        for n, (before, after, count) in enumerate(of_sae)
        if count
    ]
    return pd.DataFrame(lines), pd.DataFrame(changes)


def _of(code: Code, chosen: Tensor) -> Code:
    return Code(code.support[chosen], code.weights[chosen], code.xhat[chosen])


def _by_size(before: Tensor, after: Tensor, ends: Tensor) -> Tensor:
    """Sums [len(ends) + 1, 3] of active latents by the size of `before` [B, M]: before, after, and how many."""
    active = before > 0
    old, new = before[active], after[active]
    sums = torch.stack([old, new, torch.ones_like(old)], 1).double()
    return sums.new_zeros(len(ends) + 1, 3).index_add_(0, torch.bucketize(old, ends), sums)


@torch.no_grad()
def planted_growth(sae: SAEStack, x: Tensor, share: float, steps: int) -> float:
    """The growth of activations that are `share` of what they should be: 1 / `share`, if refinement sees all of it.

    The codes are those of an SAE of one member on activations `x` [B, D], and its own reconstructions are the target.
    """
    f = sae.encode(sae.prepare(x)[0])[0]
    code = refine(f @ sae.W_dec[0], sae.W_dec[0], share * f, steps)
    return float(code.weights.sum() / (share * f).sum())


# What the chapter reads off -----------------------------------------------------------------------------------------------


def growth_per_seed(codes: pd.DataFrame, method: str) -> list[float]:
    """`growth` of a method, averaged over its sweep: one value per seed."""
    return codes[(codes.method == method) & (codes.by == REFINED)].groupby("seed").growth.mean().tolist()


def share_closed(codes: pd.DataFrame, column: str = NMSE, refined: Sequence[str] = ("relu", "topk")) -> Interval:
    """Share of the gap in log `column` between ReLU and TopK at equal L0 that refining the methods `refined` closes.

    0 is none, 1 is all. Each seed's curves are read at the L0 that all of them reach, and the ratio of the two mean
    differences has Fieller's interval over seeds.
    """
    closed, gap = [], []
    for _, of_seed in codes.groupby("seed"):
        curves = {(m, by): g for (m, by), g in of_seed.groupby(["method", "by"]) if by == ENCODER or m in refined}
        means = dict(zip(curves, _mean_logs(list(curves.values()), column), strict=True))
        own = means["relu", ENCODER] - means["topk", ENCODER]
        left = [means[m, REFINED if m in refined else ENCODER] for m in ("relu", "topk")]
        gap.append(own)
        closed.append(own - (left[0] - left[1]))
    return ratio_interval(closed, gap)


def _mean_logs(curves: Sequence[pd.DataFrame], column: str, points: int = 20) -> list[float]:
    """Mean log `column` of each curve over `points` levels of L0 that all of them reach; NaN where there is none."""
    low, high = max(curve.l0.min() for curve in curves), min(curve.l0.max() for curve in curves)
    if not low < high:
        return [math.nan] * len(curves)
    levels = np.geomspace(low, high, points + 2)[1:-1]
    return [float(np.mean([math.log(value_at(curve, column, level)) for level in levels])) for curve in curves]
