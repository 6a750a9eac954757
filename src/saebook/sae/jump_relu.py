"""JumpReLU SAEs, trained by straight-through gradients of an L0 penalty (Rajamanoharan et al. 2024b, sections 3 and 4).

Numbers of equations are that paper's as far as they are recalled: its text could not be had. Two functions have a jump at the threshold and no useful derivative there;
the paper gives both a pseudo-derivative with respect to the threshold, which is an estimate, by a kernel of width epsilon,
of how the *expected* loss changes.
"""

import math

import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.sae.base import Member, SAEStack, Weight
from saebook.sae.losses import Losses
from saebook.sae.registry import register


class _JumpReLU(torch.autograd.Function):
    """JumpReLU_theta(z) = z H(z - theta), with Eq. 11 for the threshold: -theta/epsilon K((z - theta)/epsilon)."""

    @staticmethod
    def forward(ctx, z: Tensor, theta: Tensor, epsilon: float) -> Tensor:
        ctx.save_for_backward(z, theta)
        ctx.epsilon = epsilon
        return z * (z > theta)

    @staticmethod
    def backward(ctx, df: Tensor):
        z, theta = ctx.saved_tensors
        d_theta = -(theta / ctx.epsilon) * _rectangle(z, theta, ctx.epsilon) * df
        return df * (z > theta), d_theta.sum(1, keepdim=True), None


class _Step(torch.autograd.Function):
    """H(z - theta), with Eq. 12 for the threshold: -1/epsilon K((z - theta)/epsilon). None for z, as in the paper."""

    @staticmethod
    def forward(ctx, z: Tensor, theta: Tensor, epsilon: float) -> Tensor:
        ctx.save_for_backward(z, theta)
        ctx.epsilon = epsilon
        return (z > theta).to(z.dtype)

    @staticmethod
    def backward(ctx, df: Tensor):
        z, theta = ctx.saved_tensors
        d_theta = -_rectangle(z, theta, ctx.epsilon) / ctx.epsilon * df
        return None, d_theta.sum(1, keepdim=True), None


def _rectangle(z: Tensor, theta: Tensor, epsilon: float) -> Tensor:
    """The paper's kernel K((z - theta) / epsilon): one where |z - theta| < epsilon / 2, else zero."""
    return ((z - theta).abs() < epsilon / 2).to(z.dtype)


@register("jump_relu", label="JumpReLU", colour="#E69F00")
class JumpReLU(SAEStack):
    """f(x) = JumpReLU_theta(ReLU(W_enc x + b_enc));  xhat = W_dec f + b_dec, with theta = exp(`log_threshold`) for each latent.

    The encoder does not subtract b_dec, as in the paper and in Gemma Scope. So that it starts as the other architectures do,
    b_enc starts at -W_enc b_dec, and a resampled latent's at the same. `bandwidth` is epsilon and `initial_threshold` where
    theta starts, both in units of activations. The paper has 0.001 for both, of activations whose mean squared norm is one.
    Here that is D, and the default is 0.05 for both: with few tokens, a narrow kernel hardly ever sees one.
    Raises `UserError` unless both are above zero.
    """

    b_enc: Weight
    log_threshold: Weight

    saelens_name = "jumprelu"
    per_latent = ("b_enc", "log_threshold")
    inner_biases = ("b_enc",)
    subtracts_b_dec = False

    def __init__(
        self, d_in: int, d_sae: int, members: tuple[Member, ...], device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32, per_token: bool = False, transposed: bool = True, bandwidth: float = 0.05, initial_threshold: float = 0.05,
    ):  # fmt: skip
        super().__init__(d_in, d_sae, members, device, dtype, per_token, transposed)
        for name, value in (("bandwidth", bandwidth), ("initial_threshold", initial_threshold)):
            if not 0 < value < math.inf:
                raise UserError(f"{name} of a JumpReLU SAE must be a finite number above 0, not {value}")
        self.bandwidth, self.initial_threshold = bandwidth, initial_threshold
        self.log_threshold.data.fill_(math.log(initial_threshold))

    def options(self) -> dict:
        return super().options() | {"bandwidth": self.bandwidth, "initial_threshold": self.initial_threshold}

    def threshold(self) -> Tensor:
        """theta [S, M]. By way of double precision, so that a file, which holds theta, comes back as it was."""
        return self.log_threshold.double().exp().to(self.log_threshold.dtype)

    def encode(self, x: Tensor) -> Tensor:
        return self._encode(x, self.threshold()[:, None])[0]

    def _encode(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Latents and pre-activations [S, B, M] with thresholds `theta` [S, 1, M]."""
        z = torch.baddbmm(self.b_enc[:, None], x.expand(len(self.members), *x.shape), self.W_enc).relu()
        f: Tensor = _JumpReLU.apply(z, theta, self.bandwidth)  # pyright: ignore[reportAssignmentType]
        return f, z

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        """Eq. 9: ||x - xhat(f)||^2 + lambda ||f||_0, means over the batch, and ||f||_0 as the sum of H(z - theta)."""
        theta = self.threshold()[:, None]
        f, z = self._encode(x, theta)
        step: Tensor = _Step.apply(z, theta, self.bandwidth)  # pyright: ignore[reportAssignmentType]
        terms = {
            "reconstruction": (self.decode(f) - x).square().sum(-1).mean(-1),
            "sparsity": f.new_tensor(self.sparsity) * step.sum(-1).mean(-1),
        }
        return Losses.of(terms, f > 0)

    @torch.no_grad()
    def init_bias(self, x: Tensor, median: Tensor | None = None) -> None:
        super().init_bias(x, median)
        self.b_enc.copy_(-torch.bmm(self.b_dec[:, None], self.W_enc)[:, 0])

    @torch.no_grad()
    def resample(self, member: int, latents: Tensor, inputs: Tensor) -> None:
        """As `SAEStack.resample`, with b_enc and the threshold of these latents at their starting values."""
        super().resample(member, latents, inputs)
        self.b_enc[member, latents] = -(self.b_dec[member] @ self.W_enc[member][:, latents])
        self.log_threshold[member, latents] = math.log(self.initial_threshold)

    @torch.no_grad()
    def fold_scale(self, s: float) -> None:
        super().fold_scale(s)
        self.log_threshold.sub_(math.log(s))
        self.bandwidth, self.initial_threshold = self.bandwidth / s, self.initial_threshold / s

    def saelens_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        theta = tensors["log_threshold"].double().exp().to(tensors["log_threshold"].dtype)
        return {n: t for n, t in tensors.items() if n != "log_threshold"} | {"threshold": theta}

    @classmethod
    def own_tensors(cls, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """A threshold below zero keeps nothing out that the ReLU lets through, and is read as zero."""
        theta = tensors["threshold"].double().clamp_min(0)
        log_threshold = theta.log().to(tensors["threshold"].dtype)
        return {n: t for n, t in tensors.items() if n != "threshold"} | {"log_threshold": log_threshold}
