"""The base of all architectures: a stack of S SAEs of one shape, trained as one module.

Letters: S members, B tokens in a batch, D d_in, M d_sae. A single SAE is a stack of one. Every parameter has a leading
axis S, and a member depends on its own seed and sparsity alone, so that member i of any stack is the SAE it would have
been by itself.

An architecture states `encode` and `loss`, the paper's equation; autograd takes the gradients from there. It may also
write its gradients by hand (`member_gradients`): one dense product, and from there on active latents alone
(`sae.kernels.active`). The tests find such gradients by themselves and hold them to the loss in float64.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor, nn

from saebook.common.errors import UserError
from saebook.sae import initial
from saebook.sae.kernels.active import rows_of
from saebook.sae.kernels.precision import Precision
from saebook.sae.losses import Losses, MemberGradients

# Reconstructions [s, B, D] of s members -> their loss terms [s], and the gradient [s, B, D] of the terms' sum.
Pull = Callable[[Tensor], tuple[dict[str, Tensor], Tensor]]


if TYPE_CHECKING:

    class Weight(nn.Parameter):
        """A parameter with a gradient: it is there before anything reads it (`SAEStack._make_gradients`)."""

        grad: Tensor
else:
    Weight = nn.Parameter


@dataclass(frozen=True)
class Member:
    """One SAE of a stack. `sparsity` is lambda of an L1 penalty (Gated paper, Eq. 4 and 8: sums over D) or k of TopK."""

    seed: int
    sparsity: float

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed must be a whole number from 0 to 2^63 - 1, not {self.seed}")
        if not (math.isfinite(self.sparsity) and self.sparsity >= 0):
            raise UserError(f"sparsity must be a finite number of at least 0, not {self.sparsity}")


class SAEStack(nn.Module):
    """S SAEs: `W_enc` [S, D, M], `W_dec` [S, M, D] with unit rows, `b_dec` [S, D], and one [S, M] tensor per name in `per_latent`.

    `per_token` removes each token's mean and spread (`prepare`); `transposed` starts the encoder as the decoder transposed.
    Raises `UserError` for an empty stack or no latents.
    """

    W_enc: Weight
    W_dec: Weight
    b_dec: Weight

    architecture: ClassVar[str] = ""  # its name in the registry, set there
    # What SAELens calls the function that this computes; empty: it has no such architecture.
    saelens_name: ClassVar[str] = ""
    per_latent: ClassVar[tuple[str, ...]] = ()
    inner_biases: ClassVar[tuple[str, ...]] = ()  # those of `per_latent` that are measured in units of activations
    subtracts_b_dec: ClassVar[bool] = True  # whether the encoder sees x - b_dec
    unit_rows: ClassVar[bool] = (
        True  # whether W_dec's rows are held at norm one; if not, the loss does not depend on it
    )

    precision: Precision = "fp32"  # of the products in `member_gradients`

    def __init__(
        self,
        d_in: int,
        d_sae: int,
        members: tuple[Member, ...],
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        per_token: bool = False,
        transposed: bool = True,
    ):
        super().__init__()
        if not members or d_sae < 1:
            raise UserError("a stack needs at least one member and one latent")
        self.d_in, self.d_sae, self.members = d_in, d_sae, tuple(members)
        self.per_token, self.transposed = per_token, transposed
        directions = initial.directions([m.seed for m in members], d_sae, d_in, device, dtype)
        # The encoder starts as the decoder transposed in every architecture, so that none gains by its initialisation.
        # The Top-k paper's Figure 15 asks what else it could be: directions of its own, of the same norm.
        own = [-1 - m.seed for m in members]
        towards = directions if transposed else initial.directions(own, d_sae, d_in, device, dtype)
        # In memory it lies latent by latent too: a step reads and writes the columns of active latents.
        self.W_enc = Weight(towards.clone().transpose(1, 2))
        self.W_dec = Weight(directions.clone())
        self.b_dec = Weight(directions.new_zeros(len(members), d_in))
        for name in self.per_latent:
            self.register_parameter(name, nn.Parameter(directions.new_zeros(len(members), d_sae)))

    @property
    def sparsity(self) -> list[float]:
        return [m.sparsity for m in self.members]

    # What an architecture states ----------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """Latents [S, B, M] of `x` [B, D]."""
        raise NotImplementedError

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        """The paper's loss of `x` [B, D], differentiable. `dead` [S, M] marks the latents that have long been silent."""
        raise NotImplementedError

    def member_gradients(self, i: int, x: Tensor, dead: Tensor | None = None) -> MemberGradients:
        """Optional: member i's gradients of `loss`, by hand, on a CPU and without autograd. `dead` [M]."""
        raise NotImplementedError

    def error_unit(self) -> float | Tensor:
        """The divisor of E||x - xhat||^2 by to make its term "reconstruction": 1 for a sum over D, D for a mean."""
        return 1.0

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`(z, mean, spread)` of activations `x` [B, D]: z is what the SAE takes, and z * spread + mean leads back.

        With `per_token` the mean over D is removed and each token brought to the same norm (Top-k paper, section 2.1).
        The paper says unit norm, its released code unit spread: the latter here, so that learning rates fit alike.
        """
        if not self.per_token:
            return x, x.new_zeros(()), x.new_ones(())
        mean, spread = x.mean(-1, keepdim=True), x.std(-1, keepdim=True) + 1e-5
        return (x - mean) / spread, mean, spread

    # What all architectures share ---------------------------------------------------------------------------------

    def decode(self, f: Tensor) -> Tensor:
        """Reconstructions [S, B, D] of latents `f` [S, B, M]."""
        return torch.baddbmm(self.b_dec[:, None], f, self.W_dec)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Reconstructions [S, B, D] of `x` [B, D]."""
        return self.decode(self.encode(x))

    @classmethod
    def has_own_gradients(cls) -> bool:
        """Whether gradients were written by hand for the very `loss` that this class has.

        A subclass that states another loss goes back to autograd until it writes its gradients too.
        """
        definers = {name: next(c for c in cls.__mro__ if name in vars(c)) for name in ("member_gradients", "loss")}
        return definers["member_gradients"] is not SAEStack and issubclass(*definers.values())

    @torch.no_grad()
    def step_gradients(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        """Gradients of the sum of all members' losses of `x` [B, D] into `.grad`: `loss(x, dead).total.sum().backward()`.

        By hand where the architecture writes its own and the device is a CPU, and by autograd elsewhere.
        """
        if not self.has_own_gradients() or x.device.type != "cpu":
            return self.plain_gradients(x, dead)
        self._make_gradients()
        parts = []
        for i in range(len(self.members)):
            part = self.member_gradients(i, x, None if dead is None else dead[i])
            self.write(i, part)
            parts.append(part)
        return Losses.of_members(parts, len(x))

    def plain_gradients(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        """`step_gradients` of `x` [B, D] with the latents `dead` [S, M], by autograd."""
        with torch.enable_grad():
            losses = self.loss(x, dead)
            self._write_gradients(losses.total.sum())
        return losses.detached()

    @torch.no_grad()
    def write(self, i: int, gradients: MemberGradients) -> None:
        """Write member i's `gradients` into `.grad`."""
        for name, rows in gradients.matrices.items():
            self.latent_rows(getattr(self, name).grad[i], name).copy_(rows_of(rows))
        for name, vector in gradients.vectors.items():
            getattr(self, name).grad[i] = vector
        if not self.unit_rows:
            self._project(self.W_dec.grad[i], self.W_dec[i])

    @torch.no_grad()
    def pulled(self, x: Tensor, pull: Pull, at_once: int, dead: Tensor | None = None) -> Losses:
        """Gradients under an objective that judges reconstructions from outside, such as the e2e paper's, into `.grad`.

        With O(xhat) for the terms of `pull`, called on `at_once` members together, and P for all terms of the own loss but
        "reconstruction", the total is O(xhat) + c P, with c = `error_unit` / D. An objective's mean squared error is c
        times the own reconstruction term, so that under it alone the total is c times the own loss: lambda keeps its
        meaning, and AuxK its share. P is computed on `prepare(x)`, O on activations `x` [B, D]; with `per_token` c also
        has the batch's mean squared spread, which turns the errors of normalised tokens into those of activations.
        """
        with torch.enable_grad():
            z, mean, spread = self.prepare(x)
            xhat = self.reconstruct(z) * spread + mean
            own = self.loss(z, dead)
            unit = self.error_unit() / self.d_in * spread.square().mean()
            penalties = {name: unit * term for name, term in own.terms.items() if name != "reconstruction"}
            parts = [pull(part) for part in xhat.detach().split(at_once)]
            towards = torch.cat([gradient for _, gradient in parts])
            self._write_gradients((xhat * towards).sum() + sum(term.sum() for term in penalties.values()))
        terms = {name: torch.cat([one[name] for one, _ in parts]) for name in parts[0][0]} | penalties
        return Losses(torch.stack(list(terms.values())).sum(0), terms, own.l0, own.fired).detached()

    def _write_gradients(self, total: Tensor) -> None:
        """Autograd's gradients of `total` into `.grad`; zeros where it reaches nothing."""
        self._make_gradients()
        parameters = list(self.parameters())
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(total, parameters, allow_unused=True), strict=True
        ):
            assert parameter.grad is not None
            parameter.grad.zero_() if gradient is None else parameter.grad.copy_(gradient)

    def _make_gradients(self) -> None:
        for parameter in self.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    @torch.no_grad()
    def constrain_gradient(self) -> None:
        """Remove from the decoder's gradient what would only change the rows' norms (Bricken et al. 2023)."""
        if self.unit_rows:
            self._project(self.W_dec.grad, self.W_dec)

    @staticmethod
    def _project(gradient: Tensor, W: Tensor) -> None:
        along = (gradient * W).sum(-1, keepdim=True) / W.square().sum(-1, keepdim=True)
        gradient.addcmul_(along, W, value=-1.0)

    @torch.no_grad()
    def constrain_weights(self) -> None:
        """Decoder rows back to unit norm, after the step: Adam leaves the sphere even along it."""
        if self.unit_rows:
            self.W_dec.div_(torch.linalg.vector_norm(self.W_dec, dim=-1, keepdim=True))

    @torch.no_grad()
    def init_bias(self, x: Tensor, median: Tensor | None = None) -> None:
        """`b_dec` = the geometric median of `x` [n, D], given where it is known (Top-k paper, appendix A.1)."""
        self.b_dec.copy_((geometric_median(x) if median is None else median).expand_as(self.b_dec))

    @torch.no_grad()
    def resample(self, member: int, latents: Tensor, inputs: Tensor) -> None:
        """Point dead `latents` [n] of one member at `inputs` [n, D] (Gated paper, appendix D, after Bricken et al.).

        Decoder row: the input minus `b_dec`, which is what latents add up to, at unit norm. Encoder column: the same
        direction at 0.2 times the mean norm of the other columns. Everything per latent: zero.
        """
        towards = inputs - self.b_dec[member]
        towards = towards / towards.norm(dim=1, keepdim=True).clamp_min(1e-8)
        others = torch.ones(self.d_sae, dtype=torch.bool, device=latents.device).index_fill_(0, latents, False)
        norm = self.W_enc[member][:, others].norm(dim=0).mean() if bool(others.any()) else 1.0
        self.W_dec[member, latents] = towards
        self.W_enc[member][:, latents] = 0.2 * norm * towards.T
        for name in self.per_latent:
            getattr(self, name)[member, latents] = 0.0

    def latent_slices(self) -> dict[str, int]:
        """The axis of each parameter that runs over latents; resampling resets the optimiser's state along it."""
        return {"W_enc": 2, "W_dec": 1} | dict.fromkeys(self.per_latent, 1)

    def latent_rows(self, tensor: Tensor, name: str) -> Tensor:
        """A view [M, D] of one member's `tensor`, [M, D] or [D, M] as parameter `name` is: latents along its first axis."""
        return tensor.T if self.latent_slices()[name] == 2 else tensor

    @torch.no_grad()
    def fold_scale(self, s: float) -> None:
        """Turn SAEs trained on s*x into SAEs of x. Encoders are homogeneous: only the biases have units."""
        for name in ("b_dec", *self.inner_biases):
            getattr(self, name).div_(s)

    def member(self, i: int) -> Self:
        """Member i as a stack of its own, on copied tensors laid out as here. Draws no initialisation."""
        return self._taken(slice(i, i + 1), torch.clone)

    def part(self, members: slice) -> Self:
        """Those members as a stack on these very tensors: nothing is copied, and a change to one shows in the other."""
        return self._taken(members, lambda tensor: tensor)

    def _taken(self, members: slice, own: Callable[[Tensor], Tensor]) -> Self:
        part = copy.copy(self)
        part.members = self.members[members]

        def taken(tensor: Tensor) -> Tensor:
            return own(tensor.detach()[members] if tensor.ndim else tensor.detach())

        part._parameters = {n: nn.Parameter(taken(p), p.requires_grad) for n, p in self.named_parameters()}
        part._buffers = {n: taken(b) for n, b in self.named_buffers()}
        return part

    def options(self) -> dict:
        """Arguments of the constructor beyond the shared ones, as far as they are not the default."""
        given = {"per_token": (self.per_token, False), "transposed": (self.transposed, True)}
        return {name: value for name, (value, default) in given.items() if value != default}

    # How SAELens writes it, where that differs from the parameters themselves (`formats.saelens`) ---------------------

    def saelens_cfg(self, i: int) -> dict[str, object]:
        """Further entries of member i's cfg.json."""
        return {}

    def saelens_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """A member's tensors as SAELens' architecture names and normalises them."""
        return tensors

    @classmethod
    def own_tensors(cls, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `saelens_tensors`. Raises `UserError` for tensors that this architecture cannot compute."""
        return tensors


@torch.no_grad()
def geometric_median(x: Tensor, steps: int = 100, tolerance: float = 1e-6) -> Tensor:
    """The point [D] with the least summed distance to the rows of `x` [n, D] (Weiszfeld's iteration)."""
    # A distance by |x|^2 - 2 x.m + |m|^2 reads x and copies nothing, but rounds badly far from zero: begin in the middle.
    middle = x[:4096].median(0).values
    x = x - middle
    squares, median = x.square().sum(1), torch.zeros_like(middle)
    for _ in range(steps):
        weights = (squares - 2 * (x @ median) + median @ median).clamp_min(1e-12).rsqrt()
        moved = (weights @ x) / weights.sum()
        step, median = torch.linalg.vector_norm(moved - median), moved
        if step <= tolerance * torch.linalg.vector_norm(middle + median).clamp_min(1e-12):
            break
    return middle + median
