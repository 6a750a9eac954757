"""Inference-time optimisation (ITO) judges a dictionary without its encoder (Gated paper, appendix A, Figures 10 and 11).

The encoder is put aside, and every activation is approximated anew by at most k directions of the trained dictionary with
non-negative weights, by gradient pursuit (Blumensath and Davies 2008). What a better code could still gain lies between the
encoder and this; what differs between two dictionaries under it, the encoder cannot explain.

Letters: B tokens, D d_in, M d_sae, k directions in use.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.optimize import nnls
from torch import Tensor

from saebook.common.errors import UserError
from saebook.common.progress import bar
from saebook.evaluation import metrics
from saebook.evaluation.intervals import Interval, t_interval
from saebook.evaluation.pareto import matched_ratio, ratio
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

ENCODER, ITO = "encoder", "optimisation"
_ROWS = 16  # rows a pass of the subject
# Size of the [B, M] whose codes are sought together: large enough for every thread, small enough for their caches.
_CELLS = {"cpu": 2**19, "cuda": 2**25}


@dataclass(frozen=True)
class Code:
    """Sparse codes of B tokens: which latents, `support` [B, k], how strongly, `weights` [B, k], and their sum `xhat` [B, D].

    A slot that is not in use has weight 0, whatever latent its support names.
    """

    support: Tensor
    weights: Tensor
    xhat: Tensor

    def dense(self, d_sae: int) -> Tensor:
        """The same as latents [B, M]."""
        return self.weights.new_zeros(len(self.weights), d_sae).scatter_add_(1, self.support, self.weights)


@torch.no_grad()
def pursuit(x: Tensor, directions: Tensor, l0s: Sequence[int]) -> dict[int, Code]:
    """Codes of `x` [B, D] with at most s latents each, for every s of `l0s`, from unit `directions` [M, D] (Eq. 12).

    Each step adds the direction that agrees best with what is left (signed: a weight cannot be negative), and moves all
    weights in use along the gradient by the length that is best on that line. A step that would leave weights below zero
    is clipped, and then shortened to the best point on the way there, so that no step adds error. The codes for a smaller s
    are those of earlier steps: a whole frontier costs one run. Only the support is ever touched, but for one
    product with the dictionary a step. Raises `UserError` for a number of latents that the dictionary does not have.
    """
    if not l0s or min(l0s) < 1 or max(l0s) > len(directions):
        raise UserError(f"optimisation takes 1 to {len(directions)} latents a token, not {list(l0s)}")
    together = max(1, _CELLS.get(x.device.type, 2**19) // len(directions))
    parts = [_pursuit(part, directions, set(l0s)) for part in x.split(together)]
    return {s: Code(*(torch.cat(pieces) for pieces in zip(*(part[s] for part in parts), strict=True))) for s in l0s}


def _pursuit(x: Tensor, directions: Tensor, l0s: set[int]) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
    steps = max(l0s)
    residual, kept = x.clone(), {}
    agreement = x.new_empty(len(x), len(directions))
    atoms = x.new_zeros(len(x), steps, x.shape[1])
    weights, used = x.new_zeros(len(x), steps), x.new_zeros(len(x), steps)
    support = torch.zeros(len(x), steps, dtype=torch.long, device=x.device)
    for step in range(steps):
        torch.mm(residual, directions.T, out=agreement)
        best = agreement.argmax(1)
        # A latent picked again takes a slot that stays empty: all tokens then have their slots in the same places.
        used[:, step] = (support[:, :step] != best[:, None]).all(1)
        support[:, step], atoms[:, step] = best, directions[best]
        mine, chosen = slice(step + 1), atoms[:, : step + 1]
        gradient = agreement.gather(1, support[:, mine]) * used[:, mine]
        length = best_length(_combine(gradient, chosen), residual)
        change = (weights[:, mine] + length * gradient).clamp_min(0.0) - weights[:, mine]
        towards = _combine(change, chosen)
        share = best_length(towards, residual).clamp(0.0, 1.0)
        weights[:, mine] += share * change
        residual -= share * towards
        if step + 1 in l0s:
            kept[step + 1] = support[:, mine].clone(), weights[:, mine].clone(), x - residual
    return kept


def _combine(weights: Tensor, atoms: Tensor) -> Tensor:
    """Sums [B, D] of `atoms` [B, k, D] by `weights` [B, k]."""
    return torch.bmm(weights[:, None], atoms)[:, 0]


def best_length(towards: Tensor, residual: Tensor) -> Tensor:
    """Step length [B, 1] along `towards` [B, D] that minimises ||residual - length * towards||; 0 where `towards` is zero."""
    norm2 = towards.square().sum(1, keepdim=True)
    return torch.where(norm2 > 0, (towards * residual).sum(1, keepdim=True) / norm2, 0.0)


@torch.no_grad()
def excess_error(x: Tensor, directions: Tensor, code: Code, tokens: int = 64) -> float:
    """Squared error of `code` on the first `tokens` of `x`, over the least that non-negative weights on its supports allow, minus 1.

    The least comes from `scipy.optimize.nnls`, which takes one token at a time. NaN where it is zero.
    """
    atoms, wanted, xhat = (tensor.detach().double().cpu() for tensor in (directions, x[:tokens], code.xhat[:tokens]))
    pairs = zip(wanted, code.support[:tokens].cpu(), strict=True)
    least = sum(nnls(atoms[support].T.numpy(), one.numpy())[1] ** 2 for one, support in pairs)
    return float((wanted - xhat).square().sum()) / least - 1.0 if least else math.nan


# The dictionaries to optimise over ----------------------------------------------------------------------------------------


def trained(sae: SAEStack) -> Tensor:
    """The unit directions [M, D] of an SAE."""
    return sae.W_dec[0]


def drawn(sae: SAEStack) -> Tensor:
    """A control: as many unit directions [M, D], drawn at random."""
    directions = torch.randn(sae.W_dec[0].shape, generator=_generator(sae))
    return torch.nn.functional.normalize(directions, dim=1).to(sae.W_dec)


def rotated(sae: SAEStack) -> Tensor:
    """A control: the same directions [M, D], all turned by one random rotation. Every angle between them stays as it was."""
    turn, _ = torch.linalg.qr(torch.randn(sae.d_in, sae.d_in, generator=_generator(sae), dtype=torch.float64))
    return sae.W_dec[0] @ turn.to(sae.W_dec)


def _generator(sae: SAEStack) -> torch.Generator:
    return torch.Generator().manual_seed(sae.members[0].seed)


@torch.inference_mode()
def measured(
    table: pd.DataFrame, saes: Sequence[SAEStack], subject: Subject, site: Site, rows: Tensor, skip: int,
    l0s: Sequence[int], dictionary: Callable[[SAEStack], Tensor] = trained,
) -> pd.DataFrame:  # fmt: skip
    """Measure SAEs on `rows` [N, T] by their encoder and by optimisation to each target of `l0s`, on the same tokens.

    `saes` are stacks of one, the runs of a sweep's `table` line by line. Activations minus b_dec are approximated by the
    `dictionary` of each SAE. One row per SAE and code: method, seed, sparsity, own_l0 (of the sweep's table), by, target
    (0 for the encoder), l0, normalised_mse, loss_recovered, and `excess_error` of the first tokens. As in
    `metrics.measure`, the first `skip` positions of a row keep their activations
    and count nowhere.
    """
    saes = [sae.to(subject.device) for sae in saes]
    asked = [dictionary(sae) for sae in saes]
    sums = {(i, target): metrics.Sums() for i in range(len(saes)) for target in (0, *l0s)}
    excess: dict[tuple[int, int], float] = {}
    clean_and_zero = torch.zeros(2, dtype=torch.float64, device=subject.device)
    centre = torch.zeros(site.d_in, dtype=torch.float64, device=subject.device)
    with bar(len(rows) * len(saes), "optimising codes", "row") as progress:
        for part in rows.split(_ROWS):
            intervention = subject.intervene(part, site)
            x = intervention.activations[:, skip:].flatten(0, 1)
            centre += x.double().sum(0)
            clean_and_zero += metrics.summed_loss(intervention, torch.stack([x, torch.zeros_like(x)]), skip)
            for i, (sae, directions) in enumerate(zip(saes, asked, strict=True)):
                f = sae.encode(x)
                codes = {0: (f[0], sae.decode(f)[0])}
                centred = x - sae.b_dec[0]
                for target, code in pursuit(centred, directions, l0s).items():
                    codes[target] = code.weights, code.xhat + sae.b_dec[0]
                    if (i, target) not in excess:
                        excess[i, target] = excess_error(centred, directions, code)
                for target, (active, xhat) in codes.items():
                    sums[i, target].add(x, active[None], xhat[None])
                    sums[i, target].add_loss(metrics.summed_loss(intervention, xhat[None], skip))
                progress.update(len(part))
    totals = {code: of_code.totals()[0] for code, of_code in sums.items()}
    total, (clean, zero) = totals[0, 0], clean_and_zero.tolist()
    variance = total.x_norm2 / total.tokens - float((centre / total.tokens).square().sum())
    of_run = table.rename(columns={"l0": "own_l0"})[["method", "seed", "sparsity", "own_l0"]].to_dict("records")
    lines = [
        of_run[i] | {
            "by": ITO if target else ENCODER, "target": target, "l0": total.l0 / total.tokens,
            "normalised_mse": metrics.normalised_mse(total.error2 / total.tokens, variance),
            "loss_recovered": metrics.loss_recovered(clean, total.loss, zero),
            "excess_error": excess.get((i, target), math.nan),
        }
        for (i, target), total in totals.items()
    ]  # fmt: skip
    return pd.DataFrame(lines)


# What a chapter reads off -------------------------------------------------------------------------------------------------


def best_per_target(measured: pd.DataFrame, method: str) -> pd.DataFrame:
    """Loss recovered under optimisation of a method's best decoder at each target: one row per seed, one column per target."""
    mine = measured[(measured.method == method) & (measured.by == ITO)]
    return mine.groupby(["seed", "target"]).loss_recovered.max().unstack()


def excess_per_seed(measured: pd.DataFrame, method: str) -> list[float]:
    """The mean excess error of the optimiser over a method's decoders and all targets, one value per seed."""
    mine = measured[(measured.method == method) & (measured.by == ITO)]
    return mine.groupby("seed").excess_error.mean().tolist()


def gains(measured: pd.DataFrame, one: str, other: str, against: pd.DataFrame | None = None) -> list[float]:
    """Loss recovered of the best decoder of `one` minus that of `other` at equal targets, their mean, one value per seed.

    `other` is looked up in `against` where that is given.
    """
    theirs = best_per_target(measured if against is None else against, other)
    return (best_per_target(measured, one) - theirs).mean(axis=1).tolist()


def best_decoders(measured: pd.DataFrame) -> pd.DataFrame:
    """For each method and seed the decoder with the highest loss recovered under optimisation, on average over the targets."""
    mean = (
        measured[measured.by == ITO]
        .groupby(["method", "seed", "sparsity", "own_l0"])
        .loss_recovered.mean()
        .reset_index()
    )
    return mean.loc[mean.groupby(["method", "seed"]).loss_recovered.idxmax()].reset_index(drop=True)


def own_l0_ratios(measured: pd.DataFrame, one: str, other: str) -> list[float]:
    """The L0 that the encoder of the best decoder of `one` has, over that of `other`, one value per seed."""
    wide = best_decoders(measured).pivot(index="seed", columns="method", values="own_l0")
    return (wide[one] / wide[other]).tolist()


def frontiers(measured: pd.DataFrame) -> pd.DataFrame:
    """The lines of `measured` that Figure 11 shows: every encoder, and optimisation on the best decoder of each method and seed."""
    best = measured.merge(best_decoders(measured)[["method", "seed", "sparsity"]])
    return pd.concat([measured[measured.by == ENCODER], best[best.by == ITO]], ignore_index=True)


def gaps(measured: pd.DataFrame, method: str) -> pd.Series:
    """Log of L0 by encoder over L0 by optimisation on the best decoder, at equal loss recovered; one value per seed.

    NaN where the two reach no loss in common.
    """
    shown = frontiers(measured)
    groups = shown[shown.method == method].groupby("seed")
    return groups.apply(lambda g: math.log(ratio(g[g.by == ENCODER], g[g.by == ITO])))


def gap_ratios(measured: pd.DataFrame, one: str, other: str) -> list[float]:
    """The gap of `one` over that of `other`, one value per seed. Seeds where that of `other` is not positive are left out."""
    ours, theirs = gaps(measured, one), gaps(measured, other)
    return (ours / theirs)[theirs > 0].dropna().tolist()


def error_ratios(measured: pd.DataFrame, method: str) -> list[float]:
    """Normalised MSE by optimisation over that by encoder, at equal L0, one geometric mean per seed."""
    shown = frontiers(measured)
    groups = [g for _, g in shown[shown.method == method].groupby("seed")]
    return [matched_ratio(g[g.by == ITO], g[g.by == ENCODER], "normalised_mse") for g in groups]


def finite_interval(values: Sequence[float]) -> Interval:
    """A t interval over the finite values."""
    return t_interval([value for value in values if np.isfinite(value)])
