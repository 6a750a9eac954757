"""BatchTopK: the B*k strongest latents of a batch of B tokens, instead of k of each token (Bussmann et al. 2024).

A token is then free to have more latents than another, and an SAE applied to one text must not depend on which other
texts stand beside it: after training, a latent is active above one threshold, learned during training.
"""

import copy

import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.sae.base import Member, Pull, SAEStack
from saebook.sae.jump_relu import JumpReLU
from saebook.sae.kernels.active import Active, above
from saebook.sae.losses import Losses
from saebook.sae.registry import register
from saebook.sae.topk import TopK

_TINY = 1e-12  # the spread of one token's error around its own mean is zero
_NEAR = 0.8  # of the threshold: what lies below is rarely among the strongest of a batch, and then all are sorted
_UNSET = -1.0  # a threshold that no batch has set


@register("batch_topk", label="BatchTopK", colour="#CC79A7")
class BatchTopK(TopK):
    """In training f(X) = BatchTopK(ReLU(W_enc (X - b_dec) + b_enc)), k of each member being its `sparsity`; then a JumpReLU.

    `threshold` [S, 1] estimates E_X[min f(X)] over batches X, the minimum being over active latents: the paper's theta, by
    which `encode` decides. Each call of `loss`, `step_gradients` or `pulled` is a training step and moves it towards that
    batch's minimum, by `threshold_rate`; the first sets it. Until then `encode` chooses from the batch that it is given.
    """

    threshold: Tensor

    saelens_name = ""  # SAELens keeps it as a JumpReLU: `as_jump_relu`

    def __init__(
        self, d_in: int, d_sae: int, members: tuple[Member, ...], device="cpu", dtype=torch.float32,
        per_token: bool = False, transposed: bool = True, k_aux: int | None = None, aux_weight: float = 1 / 32,
        threshold_rate: float = 0.01,
    ):  # fmt: skip
        super().__init__(d_in, d_sae, members, device, dtype, per_token, transposed, k_aux, aux_weight)
        self.threshold_rate = threshold_rate
        unset = torch.full((len(members), 1), _UNSET, device=device, dtype=dtype)
        self.register_buffer("threshold", unset)

    def options(self) -> dict:
        return super().options() | {"threshold_rate": self.threshold_rate}

    def fold_scale(self, s: float) -> None:
        super().fold_scale(s)
        self.threshold.div_(s)

    def encode(self, x: Tensor) -> Tensor:
        pre = self._pre(x)
        theta = self.threshold
        if bool((theta < 0).any()):  # only before training
            theta = torch.where(theta < 0, self._boundaries(pre), theta)
        return _above(pre, theta)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Reconstructions [S, B, D]: as many decoder rows a token as it needs."""
        return self.decode(self.encode(x))

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        """TopK's loss, ||x - xhat||^2 / variance + aux_weight * L_aux, with latents chosen in the batch. For autograd."""
        pre = self._pre(x)
        f = _above(pre, self._boundaries(pre))
        self._follow(_smallest(f))
        error = self.decode(f) - x
        terms = {"reconstruction": error.square().sum(-1).mean(-1) / self.variance}
        terms["auxiliary"] = self.aux_weight * self._auxiliary(pre, -error.detach(), dead)
        return Losses.of(terms, f > 0)

    def _auxiliary(self, pre: Tensor, target: Tensor, dead: Tensor | None) -> Tensor:
        """L_aux [S] of `TopK.loss`: what the k_aux strongest dead latents of each token leave of `target` [S, B, D]."""
        mask = torch.zeros_like(self.b_enc, dtype=torch.bool) if dead is None else dead
        values, latents = pre.masked_fill(~mask[:, None], float("-inf")).topk(self.k_aux)
        weak = torch.zeros_like(pre).scatter(2, latents, values.relu())
        spread = (target - target.mean(1, keepdim=True)).square().sum((1, 2)).clamp_min(_TINY)
        missed = (torch.bmm(weak, self.W_dec) - target).square().sum((1, 2)) / spread
        return torch.where(mask.any(1), missed, torch.zeros_like(missed))

    def _chosen(self, i: int, h: Tensor) -> tuple[Active, Tensor]:
        pre = h + self.b_enc[i]
        # From step to step the threshold hardly moves, and few latents come near it: those are all that need sorting.
        near, count = pre[pre > _NEAR * self.threshold[i]], len(pre) * int(self.members[i].sparsity)
        boundary = _boundary(near if len(near) > count else pre.flatten(), count)
        active = above(h, boundary - self.b_enc[i], self.precision)
        f = active.values(active.h + active.of(self.b_enc[i]))
        self._follow(_smallest(f[None]), slice(i, i + 1))
        return active, f

    @torch.no_grad()
    def pulled(self, x: Tensor, pull: Pull, at_once: int, dead: Tensor | None = None) -> Losses:
        """As `SAEStack.pulled`, on reconstructions whose latents are chosen in the batch."""
        in_batch = copy.copy(self)
        in_batch._buffers = self._buffers | {"threshold": torch.full_like(self.threshold, _UNSET)}
        losses = SAEStack.pulled(in_batch, x, pull, at_once, dead)
        self._follow(in_batch.threshold)
        return losses

    @torch.no_grad()
    def as_jump_relu(self) -> JumpReLU:
        """The same function as a stack of JumpReLU, for SAELens: b_enc takes the centring by b_dec over.

        Its `sparsity`, of which only training makes use, remains k. Raises `UserError` before any training step.
        """
        if bool((self.threshold < 0).any()):
            raise UserError("a BatchTopK SAE has no threshold before its first training step: train it first")
        made = JumpReLU(
            self.d_in, self.d_sae, self.members, self.W_dec.device, self.W_dec.dtype, self.per_token, self.transposed
        )
        for name in ("W_enc", "W_dec", "b_dec"):
            getattr(made, name).copy_(getattr(self, name))
        made.b_enc.copy_(self.b_enc - torch.bmm(self.b_dec[:, None], self.W_enc)[:, 0])
        made.log_threshold.copy_(self.threshold.log().expand_as(made.log_threshold))
        return made

    def _pre(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.b_enc[:, None], x - self.b_dec[:, None], self.W_enc)

    def _boundaries(self, pre: Tensor) -> Tensor:
        """The values [S, 1] that the B*k strongest positive latents of `pre` [S, B, M] exceed, and no others."""
        pairs = zip(pre.detach(), self.members, strict=True)
        return torch.stack([_boundary(p.flatten(), len(p) * int(m.sparsity)) for p, m in pairs])[:, None]

    @torch.no_grad()
    def _follow(self, smallest: Tensor, members: slice = slice(None)) -> None:
        """Move thresholds of `members` towards a batch's `smallest` active latents [s, 1]; where there was none, leave them."""
        theta = self.threshold[members]
        moved = torch.where(theta < 0, smallest, theta.lerp(smallest, self.threshold_rate))
        theta.copy_(torch.where(smallest.isfinite() & (smallest >= 0), moved, theta))


def _boundary(flat: Tensor, count: int) -> Tensor:
    """A number [] that the `count` largest of `flat` [n] exceed, as far as they are positive, and no others.

    Halfway to the next one, so that rounding decides nothing. Of equal numbers at the boundary, all or none.
    """
    if count >= len(flat):
        return flat.new_zeros(())
    largest = flat.topk(count + 1, sorted=False).values
    after = largest.min()
    last = torch.where(largest > after, largest, torch.inf).min()
    return torch.where(last.isfinite(), (last + after) / 2, after).clamp_min(0)


def _above(pre: Tensor, theta: Tensor) -> Tensor:
    """Latents [S, B, M]: what of `pre` exceeds `theta` [S, 1]."""
    return torch.where(pre > theta[:, None], pre, 0.0)


def _smallest(f: Tensor) -> Tensor:
    """The smallest positive number [S, 1] of each member's latents `f` [S, ...]; infinite where there is none."""
    f = f.detach().flatten(1)
    return torch.where(f > 0, f, torch.inf).amin(1, keepdim=True)
