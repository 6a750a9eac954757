"""TopK SAEs with the auxiliary loss for dead latents (Top-k paper, section 2.3 and appendices A and B).

A step of a wide SAE touches only what is active: one dense product (the encoder), then the decoder's and both weight
gradients over the K active rows of each token. The sums by latent are embedding bags over entries sorted by latent: no
atomics, so the same input gives the same bits. A narrow SAE, whose matrix products are cheaper, uses those.
The auxiliary loss reads the columns of the dead latents and nothing else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from saebook.common.errors import UserError
from saebook.sae.base import Losses, Member, SAEStack, Weight
from saebook.sae.registry import register

_TINY = 1e-12  # the spread of one token's error around its own mean is zero
_SPARSE = 32  # latents per active one above which entries cost less than matrix products (2 threads of an EPYC, D 128)
_GATHERED = 8192  # decoder rows gathered at one time: some megabytes, which stay in a processor's cache


@register("topk", label="TopK", colour="#009E73")
class TopK(SAEStack):
    """f(x) = ReLU(TopK(W_enc (x - b_dec) + b_enc)), k of each member being its `sparsity`.

    The released code has b_enc and the ReLU, the paper's Eq. 2 has neither; we keep both. Losses are divided by
    `variance`, E||x - E x||^2 of a first sample: the paper's normalisation constant, computed once.
    """

    b_enc: Weight
    variance: Tensor

    saelens_name = "topk"
    per_latent = ("b_enc",)
    inner_biases = ("b_enc",)

    def __init__(
        self, d_in: int, d_sae: int, members: tuple[Member, ...], device="cpu", dtype=torch.float32,
        per_token: bool = False, transposed: bool = True, k_aux: int | None = None, aux_weight: float = 1 / 32,
    ):  # fmt: skip
        super().__init__(d_in, d_sae, members, device, dtype, per_token, transposed)
        for m in members:
            if m.sparsity != int(m.sparsity) or not 1 <= m.sparsity <= d_sae:
                raise UserError(f"k of a TopK SAE must be a whole number from 1 to d_sae = {d_sae}, not {m.sparsity:g}")
        # "A power of two close to d_model / 2" (appendix B.1).
        self.k_aux = min(d_sae, k_aux or 2 ** max(0, round(math.log2(d_in / 2))))
        self.aux_weight = aux_weight
        self.register_buffer("variance", torch.tensor(float(d_in), device=device, dtype=dtype))

    def options(self) -> dict:
        return super().options() | {"k_aux": self.k_aux, "aux_weight": self.aux_weight}

    @torch.no_grad()
    def init_bias(self, x: Tensor, median: Tensor | None = None) -> None:
        super().init_bias(x, median)
        self.variance.copy_((x - x.mean(0)).square().sum(1).mean())

    def fold_scale(self, s: float) -> None:
        super().fold_scale(s)
        self.variance.div_(s * s)

    def error_unit(self) -> Tensor:
        return self.variance

    def encode(self, x: Tensor) -> Tensor:
        pre = torch.baddbmm(self.b_enc[:, None], x - self.b_dec[:, None], self.W_enc)
        return torch.stack([_keep(p, int(m.sparsity)) for p, m in zip(pre, self.members, strict=True)])

    def reconstruct(self, x: Tensor) -> Tensor:
        """Reconstructions [S, B, D], each token reading its K decoder rows only."""
        parts = []
        for i, m in enumerate(self.members):
            values, latents = torch.addmm(self.b_enc[i], x - self.b_dec[i], self.W_enc[i]).topk(int(m.sparsity))
            parts.append(_bag(latents, self.W_dec[i], values.relu()) + self.b_dec[i])
        return torch.stack(parts)

    def loss(self, x: Tensor, dead: Sequence[Tensor] | None = None) -> Losses:
        """||x - xhat||^2 / variance + aux_weight * L_aux (appendix A.2), dense, for autograd.

        L_aux = ||e - ehat||^2 / ||e - mean e||^2 with e = x - xhat held fixed and ehat the k_aux strongest *dead*
        latents decoded without b_dec; 0 where nothing is dead.
        """
        pre = torch.baddbmm(self.b_enc[:, None], x - self.b_dec[:, None], self.W_enc)
        f = torch.stack([_keep(p, int(m.sparsity)) for p, m in zip(pre, self.members, strict=True)])
        error = self.decode(f) - x
        terms = {"reconstruction": error.square().sum(-1).mean(-1) / self.variance}
        mask = torch.zeros_like(self.b_enc, dtype=torch.bool)
        for i, latents in enumerate(dead or ()):
            mask[i, latents] = True
        masked = pre.masked_fill(~mask[:, None], float("-inf"))
        weak = torch.stack([_keep(p, self.k_aux) for p in masked])
        target = -error.detach()
        spread = (target - target.mean(1, keepdim=True)).square().sum((1, 2)).clamp_min(_TINY)
        missed = (torch.bmm(weak, self.W_dec) - target).square().sum((1, 2)) / spread
        terms["auxiliary"] = self.aux_weight * torch.where(mask.any(1), missed, torch.zeros_like(missed))
        active = f > 0
        return Losses.of(terms, active)

    def _member_gradients(self, i: int, x: Tensor, dead: Tensor | None):
        batch, W_enc = len(x), self.W_enc[i]
        xc = torch.sub(x, self.b_dec[i], out=self._space("xc", x.shape, x))
        pre = torch.addmm(self.b_enc[i], xc, W_enc, out=self._space("pre", (batch, self.d_sae), x))
        revived = pre[:, dead] if self.aux_weight and dead is not None and len(dead) else None
        active = _strongest(pre, int(self.members[i].sparsity))
        error = active.decode(self.W_dec[i]).sub_(xc)
        terms = {"reconstruction": error.square().sum() / (batch * self.variance)}
        g = error * (2.0 / (batch * self.variance))
        gradients, counts = active.gradients(self.W_dec[i], xc, g)
        for name, gradient in gradients.items():
            getattr(self, name).grad[i] = gradient
        terms["auxiliary"] = torch.zeros_like(terms["reconstruction"])
        if dead is not None and revived is not None:
            terms["auxiliary"] = self._auxiliary(i, xc, error, revived, dead)
        self.b_dec.grad[i] = g.sum(0) - W_enc @ self.b_enc.grad[i]
        return terms, counts.sum().to(x.dtype) / batch, counts > 0

    def _auxiliary(self, i: int, xc: Tensor, error: Tensor, pre: Tensor, dead: Tensor) -> Tensor:
        """Add AuxK's gradients of the `dead` latents [n], whose pre-activations are `pre` [B, n]; return its value."""
        W_dec, active = self.W_dec[i, dead], _strongest(pre, min(self.k_aux, len(dead)))
        missed = active.decode(W_dec).add_(error)  # its target is x - xhat, the negative of `error`
        weight = self.aux_weight / (error - error.mean(0)).square().sum().clamp_min(_TINY)
        for name, gradient in active.gradients(W_dec, xc, missed * (2.0 * weight))[0].items():
            getattr(self, name).grad[i].index_add_(1 if name == "W_enc" else 0, dead, gradient)
        return weight * missed.square().sum()

    def saelens_cfg(self, i: int) -> dict[str, object]:
        return {"k": int(self.members[i].sparsity), "rescale_acts_by_decoder_norm": False}


def _keep(pre: Tensor, k: int) -> Tensor:
    """Dense latents [B, M]: the k largest of each row of `pre`, negative ones at zero."""
    values, latents = pre.topk(k)
    return torch.zeros_like(pre).scatter(1, latents, values.relu())


def _strongest(pre: Tensor, k: int) -> "_Entries | _Grid":
    """The k largest of each row of `pre` [B, M], which is used up, in the form that costs the least to go on with."""
    values, latents = pre.topk(k, sorted=False)
    if pre.shape[1] <= _SPARSE * k:
        return _Grid(pre.zero_().scatter_(1, latents, values.relu_()))
    return _Entries(latents, values.relu_())


@dataclass
class _Grid:
    """Active latents as `f` [B, M], most of it zero: few latents pass through matrix products sooner than one by one."""

    f: Tensor

    def decode(self, W_dec: Tensor) -> Tensor:
        return self.f @ W_dec

    def gradients(self, W_dec: Tensor, xc: Tensor, g: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """As `_Entries.gradients`."""
        active = self.f > 0
        d_pre = (g @ W_dec.T).mul_(active)
        return {"W_dec": self.f.T @ g, "W_enc": xc.T @ d_pre, "b_enc": d_pre.sum(0)}, active.sum(0)


@dataclass
class _Entries:
    """Active latents one by one: their numbers and values, both [B, K]."""

    latents: Tensor
    values: Tensor

    def decode(self, W_dec: Tensor) -> Tensor:
        return _bag(self.latents, W_dec, self.values)

    def gradients(self, W_dec: Tensor, xc: Tensor, g: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Gradients of W_dec [M, D], W_enc [D, M] and b_enc [M], and how often each latent fired [M].

        `g` [B, D] is the gradient of the reconstruction, `xc` [B, D] what the encoder saw.
        """
        (_, k), (d_sae, d_in) = self.latents.shape, W_dec.shape
        d_values, step = torch.empty_like(self.values), max(1, _GATHERED // k)
        for first in range(0, len(g), step):
            part = slice(first, first + step)
            rows = W_dec.index_select(0, self.latents[part].flatten()).view(-1, k, d_in)
            torch.bmm(rows, g[part, :, None], out=d_values[part, :, None])
        active = self.values > 0
        d_values.mul_(active)

        latents, order = self.latents.flatten().sort(stable=True)
        tokens = order.div(k, rounding_mode="floor")
        ends = torch.bincount(latents, minlength=d_sae).cumsum(0)
        starts = F.pad(ends, (1, 0))[:-1]
        # A column of ones makes the bias' gradient the same sum.
        summed = _bag(tokens, F.pad(xc, (0, 1), value=1.0), d_values.flatten()[order], starts)
        gradients = {
            "W_dec": _bag(tokens, g, self.values.flatten()[order], starts),
            "W_enc": summed[:, :-1].T,
            "b_enc": summed[:, -1],
        }
        # How often a latent fired is a difference of running counts: no scatter, no waiting for a device.
        running = F.pad(active.flatten()[order].cumsum(0), (1, 0))
        return gradients, running[ends] - running[starts]


def _bag(rows: Tensor, table: Tensor, weights: Tensor, starts: Tensor | None = None) -> Tensor:
    """Weighted sums of rows of `table` [n, D]: over K for `rows` and `weights` [B, K], or over runs that begin at `starts`."""
    return F.embedding_bag(rows, table, starts, mode="sum", per_sample_weights=weights)
