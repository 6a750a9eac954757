"""Validated configurations of a sweep: methods, members, training and text."""

import math
from dataclasses import dataclass, replace

import torch

from saebook.common.errors import UserError
from saebook.sae import registry
from saebook.sae.base import Member, SAEStack
from saebook.text.held_out import JUDGING, PARTS


@dataclass(frozen=True)
class Objective:
    """Weights of the terms: error at the site, KL of the predictions, and (in all) errors at the later residual positions.

    With `massive`, a later position whose activation is more than so many times as long as the median there counts in no
    error at that place (`training.objectives.typical`); None for all of them, as in the e2e paper.
    """

    reconstruction: float = 0.0
    kl: float = 0.0
    downstream: float = 0.0
    massive: float | None = None

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in ("reconstruction", "kl", "downstream")}
        for name, weight in weights.items():
            _require(math.isfinite(weight) and weight >= 0, name, weight, "a finite weight of at least 0")
        _require(any(weights.values()), "objective", weights, "at least one weight above 0")
        at_least = self.massive is None or 1 < self.massive < math.inf
        _require(at_least, "massive", self.massive, "a finite number of median lengths above 1, or nothing")

    @property
    def local(self) -> bool:
        """Whether nothing after the site matters."""
        return not (self.kl or self.downstream)


@dataclass(frozen=True)
class TrainConfig:
    """Training settings of one architecture. Learning rates are Adam's; shares are of all steps. Raises `UserError` for nonsense.

    `resample_at`: when dead latents are resampled (Gated paper, appendix D, after Bricken et al. 2023); dead means silent
    for `dead_share` of all steps. `rewarm_share`: after it the learning rate climbs again from a tenth. `cosine_to`: instead
    of a constant and a linear decay to zero, a cosine down to this share (e2e paper, appendix D). `clip_norm`: the largest
    norm that the gradient of one SAE may have. `weight_average`: the SAE is the moving average of the weights over the
    steps with this decay, instead of the last ones (Top-k paper, appendix A.5).
    """

    lr: float
    tokens: int
    batch: int = 1024
    beta1: float = 0.0
    beta2: float = 0.999
    eps: float = 1e-8
    warmup_share: float = 0.05
    decay_share: float = 0.25
    resample_at: tuple[float, ...] = (0.25, 0.5)
    dead_share: float = 0.125
    rewarm_share: float = 0.05
    cosine_to: float | None = None
    clip_norm: float | None = None
    weight_average: float | None = None

    def __post_init__(self) -> None:
        _require(_positive(self.lr), "lr", self.lr, "a finite number above 0")
        _require(self.batch >= 1, "batch", self.batch, "at least 1 token")
        _require(math.isfinite(self.tokens), "tokens", self.tokens, "finite")
        _require(self.tokens >= self.batch, "tokens", self.tokens, f"at least one batch ({self.batch})")
        for name in ("beta1", "beta2"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "at least 0 and below 1")
        _require(_positive(self.eps), "eps", self.eps, "a finite number above 0")
        for name in ("warmup_share", "decay_share", "dead_share", "rewarm_share"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a share from 0 to 1")
        for share in self.resample_at:
            _require(0 <= share <= 1, "resample_at", share, "a share from 0 to 1")
        _require(self.cosine_to is None or 0 <= self.cosine_to <= 1, "cosine_to", self.cosine_to, "a share from 0 to 1")
        _require(
            self.clip_norm is None or _positive(self.clip_norm), "clip_norm", self.clip_norm, "a finite number above 0"
        )
        decay = self.weight_average
        _require(decay is None or 0 < decay < 1, "weight_average", decay, "above 0 and below 1, or nothing")

    @property
    def steps(self) -> int:
        """The number of whole batches in `tokens`."""
        return self.tokens // self.batch

    def rate(self, step: int, resampled: int | None = None) -> float:
        """Learning rate at `step`; `resampled` is the last step at which latents were resampled."""
        warm = max(1, round(self.warmup_share * self.steps))
        decay = max(1, round(self.decay_share * self.steps))
        share = min(1.0, (step + 1) / warm)
        if self.cosine_to is None:
            share = min(share, (self.steps - step) / decay)
        else:
            done = max(0.0, (step - warm) / max(1, self.steps - warm))
            share *= self.cosine_to + (1 - self.cosine_to) * (1 + math.cos(math.pi * done)) / 2
        if resampled is not None:
            done = min(1.0, (step - resampled) / max(1, round(self.rewarm_share * self.steps)))
            share *= 0.1 + 0.9 * (1 - math.cos(math.pi * done)) / 2
        return self.lr * share

    def resample_steps(self) -> tuple[int, ...]:
        """The steps before which dead latents are resampled."""
        return tuple(round(share * self.steps) for share in self.resample_at)


@dataclass(frozen=True)
class Method:
    """One architecture at one width over several sparsities (lambda in the units of Eq. 4 and 8, or k).

    `options` are arguments of its stack, as pairs; `name` is what tables call it (default: the architecture).
    With an `objective` it is trained on whole rows of text, every position of them; all methods of a sweep have one, or none.
    Raises `UserError` for no sparsity, a negative one, or no latent.
    """

    architecture: str
    d_sae: int
    sparsities: tuple[float, ...]
    training: TrainConfig
    options: tuple[tuple[str, object], ...] = ()
    name: str = ""
    objective: Objective | None = None

    def __post_init__(self) -> None:
        _require(self.d_sae >= 1, "d_sae", self.d_sae, "at least 1 latent")
        for sparsity in self.sparsities:
            _require(math.isfinite(sparsity) and sparsity >= 0, "sparsity", sparsity, "a finite number of at least 0")

    def build(self, d_in: int, members: tuple[Member, ...], device: str | torch.device) -> SAEStack:
        """An untrained stack of these SAEs."""
        return registry.build(self.architecture, d_in, self.d_sae, members, device=device, **dict(self.options))


@dataclass(frozen=True)
class Data:
    """The text for training and evaluation, and its order. The first `skip` positions of a row are left out.

    `eval_rows` rows of the `eval_part` of the validation text are measured on (`text.held_out`). `order_seed` fixes the order
    of the training text, None for an order of its own for every seed. About `block` rows of training text are mixed at a time.
    A row has `context` tokens, None for as many as the subject takes.
    """

    source: str = "environment"
    eval_rows: int = 128
    skip: int = 1
    order_seed: int | None = None
    block: int = 4096
    context: int | None = None
    eval_part: str = JUDGING

    def of_seed(self, seed: int) -> "Data":
        """The data of the runs with this seed: in the seed's own order, where there is not one order for all."""
        return self if self.order_seed is not None else replace(self, order_seed=seed)

    def row_length(self, most: int) -> int:
        """Tokens in a row, for a subject that takes at `most` so many. Raises `UserError` for a longer context."""
        _require((self.context or 1) <= most, "context", self.context, f"at most the subject's {most} tokens")
        return self.context or most

    def __post_init__(self) -> None:
        _require(self.eval_rows >= 1, "eval_rows", self.eval_rows, "at least 1 row")
        _require(self.skip >= 0, "skip", self.skip, "at least 0 positions")
        _require((self.order_seed or 0) >= 0, "order_seed", self.order_seed, "at least 0")
        _require(self.block >= 1, "block", self.block, "at least 1 row")
        _require(self.eval_part in PARTS, "eval_part", self.eval_part, " or ".join(PARTS))


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise UserError(f"{name} must be {wanted}, not {value}")
