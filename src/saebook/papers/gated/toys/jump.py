"""The Gated paper's toy of overlapping activations (appendix F, Figure 15): one direction, on or off, and units that read it.

The projection of a token on the direction is N(on_mean, on_sd) when the feature is on, N(0, off_sd) when it is off. The aim is
to read the feature's own strength: the projection when on, zero when off. Letters: n tokens.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from saebook.papers.gated.budgets import JumpReLUToy
from saebook.sae.base import Member
from saebook.sae.gated import Gated
from saebook.sae.relu import ReLU


@dataclass(frozen=True)
class Unit:
    """r(z) = 1[z > threshold] * slope * (z - shift): a ReLU when shift = threshold, else a JumpReLU (appendix F)."""

    threshold: float
    slope: float
    shift: float

    def __call__(self, z: np.ndarray) -> np.ndarray:
        return np.where(z > self.threshold, self.slope * (z - self.shift), 0.0)


PAPER_RELU = Unit(1.0, 2.0, 1.0)  # appendix F: t = 1, m = 2
PAPER_JUMP = Unit(1.0, 1.0, 0.0)  # t = 1, m = 1, d = 0


def sample(budget: JumpReLUToy, seed: int, tokens: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """`(z, y)` [n]: projections, and the strengths that a perfect unit would return."""
    rng, n = np.random.default_rng(seed), tokens or budget.tokens
    on = rng.random(n) < 0.5
    noise = rng.standard_normal(n)
    z = np.where(on, budget.on_mean + budget.on_sd * noise, budget.off_sd * noise)
    return z, np.where(on, z, 0.0)


def posterior_mean(budget: JumpReLUToy, z: np.ndarray) -> np.ndarray:
    """E[y | z] = z P(on | z): no function of the projection has a smaller squared error."""
    log_on = -0.5 * ((z - budget.on_mean) / budget.on_sd) ** 2 - math.log(budget.on_sd)
    log_off = -0.5 * (z / budget.off_sd) ** 2 - math.log(budget.off_sd)
    return z / (1.0 + np.exp(np.clip(log_off - log_on, -700, 700)))


def best_relu(z: np.ndarray, y: np.ndarray, threshold: float | None = None) -> Unit:
    """The least-squares ReLU of `z` [n] to `y` [n]: for every threshold at a token the slope in closed form, then the best.

    With a `threshold` only that one is tried.
    """
    t, n, sz, szz, sy, szy = _sums_above(z, y, threshold)
    square, cross = szz - 2 * t * sz + n * t**2, szy - t * sy
    slope = np.divide(cross, square, out=np.zeros_like(cross), where=square > 1e-12)
    best = int(np.argmax(slope * cross))  # what the unit takes off the squared error of answering zero
    return Unit(float(t[best]), float(slope[best]), float(t[best]))


def best_jump(z: np.ndarray, y: np.ndarray, threshold: float | None = None) -> Unit:
    """The least-squares JumpReLU of `z` [n] to `y` [n]: a straight line above every threshold at a token, then the best.

    A horizontal line, which no shift can write, is left out. With a `threshold` only that one is tried.
    """
    t, n, sz, szz, sy, szy = _sums_above(z, y, threshold)
    spread, cross = szz - sz**2 / n, szy - sz * sy / n
    slope = np.divide(cross, spread, out=np.zeros_like(cross), where=spread > 1e-12)
    level = (sy - slope * sz) / n
    gain = np.where(np.abs(slope) > 1e-12, slope * szy + level * sy, -np.inf)
    best = int(np.argmax(gain))
    return Unit(float(t[best]), float(slope[best]), float(-level[best] / slope[best]))


def _sums_above(z: np.ndarray, y: np.ndarray, threshold: float | None) -> tuple[np.ndarray, ...]:
    """Thresholds and, over the tokens above each: their count, and the sums of z, z^2, y and z y."""
    order = np.argsort(z)
    z, y = z[order], y[order]
    columns = np.stack([np.ones_like(z), z, z * z, y, z * y])
    above = columns.sum(1, keepdims=True) - np.cumsum(columns, 1)
    if threshold is None:
        return z[:-1], *above[:, :-1]
    last = int(np.searchsorted(z, threshold, side="right")) - 1
    sums = above[:, [last]] if last >= 0 else columns.sum(1, keepdims=True)
    return np.array([threshold]), *sums


def error(unit, z: np.ndarray, y: np.ndarray) -> float:
    """Mean squared error of a reader on tokens."""
    return float(np.mean((unit(z) - y) ** 2))


def comparison(budget: JumpReLUToy) -> pd.DataFrame:
    """One row per seed: both units fitted on one sample and scored on another, freely and at the paper's threshold.

    `ratio` and `ratio_same_threshold` are the JumpReLU's error over the ReLU's; `ratio_paper` that of the two units as the
    paper sets them; `least` the error of E[y | z]. Scored on the sample it was fitted to, a JumpReLU could not lose: a ReLU
    is one of them.
    """
    rows = []
    for seed in budget.seeds:
        fitted, fresh = sample(budget, 2 * seed), sample(budget, 2 * seed + 1)
        units = {
            "relu": best_relu(*fitted), "jump": best_jump(*fitted), "paper_relu": PAPER_RELU, "paper_jump": PAPER_JUMP,
            "relu_at_1": best_relu(*fitted, PAPER_RELU.threshold), "jump_at_1": best_jump(*fitted, PAPER_JUMP.threshold),
        }  # fmt: skip
        errors = {name: error(unit, *fresh) for name, unit in units.items()}
        least = error(lambda z: posterior_mean(budget, z), *fresh)
        rows.append(
            {
                "seed": seed, **errors, "least": least, "ratio": errors["jump"] / errors["relu"],
                "ratio_same_threshold": errors["jump_at_1"] / errors["relu_at_1"],
                "ratio_paper": errors["paper_jump"] / errors["paper_relu"],
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def over_separation(budget: JumpReLUToy) -> pd.DataFrame:
    """`comparison` at every distance between on and off: columns separation, seed, ratio, relu, jump, least."""
    parts = []
    for mean in budget.on_means:
        setting = budget.model_copy(update={"on_mean": mean})
        parts.append(comparison(setting).assign(separation=mean))
    return pd.concat(parts, ignore_index=True)


def control(budget: JumpReLUToy) -> list[float]:
    """The same fits where the truth *is* a ReLU with noise: the ratio must be one. One value per seed."""
    ratios = []
    for seed in budget.seeds:
        samples = []
        for part in (0, 1):
            rng = np.random.default_rng([seed, part, 7])
            z = rng.normal(budget.on_mean / 2, 1.0, budget.tokens)
            samples.append((z, PAPER_RELU(z) + 0.5 * rng.standard_normal(budget.tokens)))
        fitted, fresh = samples
        ratios.append(error(best_jump(*fitted), *fresh) / error(best_relu(*fitted), *fresh))
    return ratios


def as_relu(unit: Unit) -> ReLU:
    """The book's one-latent baseline that computes a ReLU `unit`: W_enc = slope, b_enc = - slope * threshold."""
    sae = _one_latent(ReLU)
    sae.W_enc.data.fill_(unit.slope)
    sae.b_enc.data.fill_(-unit.slope * unit.threshold)
    return sae


def as_gated(unit: Unit) -> Gated:
    """The book's one-latent Gated SAE that computes `unit` (section 3.2.1): the gate has its threshold, the magnitude its line.

    W_enc = 1, b_gate = - threshold, r_mag = log slope, b_mag = - slope * shift. What lies below zero stays zero.
    """
    sae = _one_latent(Gated)
    sae.W_enc.data.fill_(1.0)
    sae.b_gate.data.fill_(-unit.threshold)
    sae.r_mag.data.fill_(math.log(unit.slope))
    sae.b_mag.data.fill_(-unit.slope * unit.shift)
    return sae


def _one_latent(architecture):
    sae = architecture(1, 1, (Member(0, 1.0),), dtype=torch.float64)
    sae.W_dec.data.fill_(1.0)
    return sae
