"""Metrics on planted dictionaries, whose every true value is known before it is measured.

Letters: N tokens, D d_in, M elements, S seeds.
"""

import math

import numpy as np
import pandas as pd
import torch

from saebook.evaluation import metrics
from saebook.evaluation.geometry import max_cosine
from saebook.evaluation.intervals import l0_ratio
from saebook.papers.checks.budgets import Planted
from saebook.sae.base import Member
from saebook.sae.relu import ReLU
from saebook.subject.model import Site, Subject


def readings(budget: Planted) -> pd.DataFrame:
    """Every subject-free metric on planted dictionaries: one row per metric, setting and seed, with `truth` and `read`."""
    rows = []
    for seed in budget.seeds:
        rng = np.random.default_rng(seed)
        for l0 in budget.planted_l0s:
            rows += _dictionary(rng, budget, l0=l0, dead=0.25, shrink=0.8)
        for shrink in budget.shrinkages:
            rows += _dictionary(rng, budget, l0=budget.planted_l0s[0], dead=0.25, shrink=shrink)
        for dead in budget.dead_shares:
            rows += _dictionary(rng, budget, l0=budget.planted_l0s[0], dead=dead, shrink=0.8)
        for angle in budget.angles:
            rows.append(_rotated(rng, budget, angle))
        for factor in budget.factors:
            rows.append(_curves(rng, factor))
        rows = [{"seed": seed} | row for row in rows]
    return pd.DataFrame(rows).drop_duplicates()


def _dictionary(rng, budget: Planted, l0: int, dead: float, shrink: float) -> list[dict]:
    """x = f W + noise with exactly `l0` of the living elements on; the SAE under test answers shrink * f."""
    alive = budget.elements - round(dead * budget.elements)
    W = torch.from_numpy(_unit(rng, budget.elements, budget.width))
    on = torch.from_numpy(np.argsort(rng.random((budget.tokens, alive)), axis=1)[:, :l0].copy())
    f = torch.zeros(budget.tokens, budget.elements, dtype=torch.float64)
    f.scatter_(1, on, torch.from_numpy(rng.exponential(1.0, (budget.tokens, l0)) + 0.1))
    clean = f @ W
    x = clean + 0.1 * torch.from_numpy(rng.standard_normal(clean.shape))
    sums = metrics.Sums()
    for part in range(0, len(x), 1000):  # in uneven pieces, as real batches come
        piece = slice(part, part + 1000)
        sums.add(x[piece], shrink * f[None, piece], shrink * clean[None, piece])
    (total,) = sums.totals()
    variance = float((x - x.mean(0)).square().sum(1).mean())
    readings = {
        "L0": (l0, total.l0 / total.tokens),
        "relative reconstruction bias": (shrink, metrics.relative_reconstruction_bias(total.xhat_norm2, total.dot)),
        "normalised MSE": (
            # In expectation: the error of shrinking, and the noise, which no dictionary explains.
            ((1 - shrink) ** 2 * float(clean.square().sum(1).mean()) + 0.01 * budget.width) / variance,
            metrics.normalised_mse(total.error2 / total.tokens, variance),
        ),
        "alive": (alive / budget.elements, total.alive),
    }
    return [
        {"metric": name, "setting": f"L0 {l0}, {dead:g} dead, shrunk to {shrink:g}", "truth": truth, "read": read}
        for name, (truth, read) in readings.items()
    ]


def _rotated(rng, budget: Planted, angle: float) -> dict:
    """A dictionary and a copy with every element turned by `angle` degrees; in many dimensions no other element is nearer."""
    width = 8 * budget.width
    one, away = (torch.from_numpy(_unit(rng, budget.elements, width)) for _ in range(2))
    away = away - (away * one).sum(1, keepdim=True) * one
    away = away / away.norm(dim=1, keepdim=True)
    turned = math.cos(math.radians(angle)) * one + math.sin(math.radians(angle)) * away
    order = torch.from_numpy(rng.permutation(budget.elements))
    return {
        "metric": "largest cosine", "setting": f"turned by {angle:g} degrees", "truth": math.cos(math.radians(angle)),
        "read": float(max_cosine(one, turned[order]).mean()),
    }  # fmt: skip


def _curves(rng, factor: float) -> dict:
    """Two sweeps of one smooth, bent curve, the first at `factor` times the L0 of the second, sampled at other points."""
    quality = [np.sort(rng.uniform(0.5, 0.99, 6)) for _ in range(2)]
    l0 = [scale * np.exp(2.0 * q + 3.0 * q**3) for q, scale in zip(quality, (factor, 1.0), strict=True)]
    return {
        "metric": "L0 ratio", "setting": f"planted ratio {factor:g}", "truth": factor,
        "read": l0_ratio(l0[0], quality[0], l0[1], quality[1]),
    }  # fmt: skip


def through_the_subject(subject: Subject, site: Site, rows: torch.Tensor, shrink: float = 0.8) -> pd.DataFrame:
    """SAEs of known effect, measured on a real model as any other: the identity, silence, and a shrunken identity.

    Two latents per coordinate, one for each sign, pass activations through exactly: L0 is then the width of the site.
    """
    eye = torch.eye(site.d_in, device=subject.device)
    stacks = []
    for scale, bias in ((1.0, 0.0), (1.0, -1e6), (shrink, 0.0)):
        stack = ReLU(site.d_in, 2 * site.d_in, (Member(0, 1.0),), device=subject.device)
        stack.W_enc.data[0] = torch.cat([eye, -eye], 1)
        stack.W_dec.data[0] = scale * torch.cat([eye, -eye])
        stack.get_parameter("b_enc").data.fill_(bias)
        stacks.append(stack)
    x = subject.activations(rows, site)[:, 1:].flatten(0, 1)
    # A coordinate of a real model may have one sign on all this text: the latent of the other sign is then rightly silent.
    signs = float(torch.cat([(x > 0).any(0), (x < 0).any(0)]).double().mean())
    measured = [group[0] for group in metrics.measure(stacks, subject, site, rows, skip=1)]
    read = pd.DataFrame(measured, index=["identity", "silent", f"identity times {shrink:g}"])
    truth = {
        "identity": {"l0": site.d_in, "loss_recovered": 1.0, "normalised_mse": 0.0, "relative_reconstruction_bias": 1.0, "alive": signs},
        "silent": {"l0": 0.0, "loss_recovered": 0.0, "alive": 0.0},
        f"identity times {shrink:g}": {"l0": site.d_in, "relative_reconstruction_bias": shrink, "alive": signs},
    }  # fmt: skip
    lines = [
        {"SAE": sae, "metric": name, "truth": value, "read": read.loc[sae, name]}
        for sae, known in truth.items()
        for name, value in known.items()
    ]
    return pd.DataFrame(lines)


def averaged_ratios(budget: Planted) -> dict[str, float]:
    """The bias of a planted SAE that shrinks large tokens most, computed from sums (right) and as an average of ratios (wrong)."""
    rng = np.random.default_rng(budget.seeds[0])
    x = torch.from_numpy(rng.standard_normal((200, 20, budget.width)) * rng.lognormal(0.0, 1.0, (200, 1, 1)))
    xhat = x / (1 + x.square().mean((1, 2), keepdim=True).sqrt())
    norms, dots = xhat.square().sum((1, 2)), (xhat * x).sum((1, 2))
    # The definition itself (Eq. 9), by least squares.
    truth = 1 / float(torch.linalg.lstsq(xhat.reshape(-1, 1), x.reshape(-1, 1)).solution)
    sums = metrics.relative_reconstruction_bias(float(norms.sum()), float(dots.sum()))
    return {"truth": truth, "sums": sums, "averaged": float((norms / dots).mean())}


def _unit(rng, count: int, width: int) -> np.ndarray:
    rows = rng.standard_normal((count, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
