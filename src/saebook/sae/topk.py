"""TopK SAEs with the auxiliary loss for dead latents (Top-k paper, section 2.3 and appendices A and B).

A step touches only what is active: one dense product (the encoder), then the decoder's and both weight gradients over
the K active rows of each token. The auxiliary loss reads the columns of the dead latents and nothing else.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from saebook.common.errors import UserError
from saebook.sae.base import Member, SAEStack, Weight
from saebook.sae.kernels.active import Active, Source, strongest
from saebook.sae.kernels.precision import encoder_product
from saebook.sae.losses import Losses, MemberGradients, sum_of_squares
from saebook.sae.registry import register

_TINY = 1e-12  # the spread of one token's error around its own mean is zero


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

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        """||x - xhat||^2 / variance + aux_weight * L_aux (appendix A.2), dense, for autograd.

        L_aux = ||e - ehat||^2 / ||e - mean e||^2 with e = x - xhat held fixed and ehat the k_aux strongest *dead*
        latents decoded without b_dec; 0 where nothing is dead.
        """
        pre = torch.baddbmm(self.b_enc[:, None], x - self.b_dec[:, None], self.W_enc)
        f = torch.stack([_keep(p, int(m.sparsity)) for p, m in zip(pre, self.members, strict=True)])
        error = self.decode(f) - x
        terms = {"reconstruction": error.square().sum(-1).mean(-1) / self.variance}
        mask = torch.zeros_like(self.b_enc, dtype=torch.bool) if dead is None else dead
        masked = pre.masked_fill(~mask[:, None], float("-inf"))
        weak = torch.stack([_keep(p, self.k_aux) for p in masked])
        target = -error.detach()
        spread = (target - target.mean(1, keepdim=True)).square().sum((1, 2)).clamp_min(_TINY)
        missed = (torch.bmm(weak, self.W_dec) - target).square().sum((1, 2)) / spread
        terms["auxiliary"] = self.aux_weight * torch.where(mask.any(1), missed, torch.zeros_like(missed))
        active = f > 0
        return Losses.of(terms, active)

    def member_gradients(self, i: int, x: Tensor, dead: Tensor | None = None) -> MemberGradients:
        batch, W_enc, W_dec = len(x), self.W_enc[i], self.W_dec[i]
        xc = x - self.b_dec[i]
        h = encoder_product(xc, W_enc, self.precision)
        active, f = self._chosen(i, h)
        scale = 2.0 / (batch * float(self.variance))
        g, df = active.compare(f, W_dec, xc, scale)
        d_b_enc = active.sums(df)
        terms = {"reconstruction": sum_of_squares(g) / (2 * scale)}
        terms["auxiliary"] = torch.zeros_like(terms["reconstruction"])
        matrices = {"W_dec": [Source(active, f, g)], "W_enc": [Source(active, df, xc)]}
        revived = dead.nonzero().flatten() if self.aux_weight and dead is not None else None
        if revived is not None and len(revived):
            # L_aux: its target is x - xhat, held fixed.
            weak, target = strongest(h, self.b_enc[i], self.k_aux, revived), g * (-1 / scale)
            spread = sum_of_squares(target - target.mean(0)).clamp_min(_TINY)
            aux_scale = 2.0 * self.aux_weight / float(spread)
            g_weak, df = weak.compare(weak.h, W_dec, target, aux_scale)
            terms["auxiliary"] = sum_of_squares(g_weak) / (2 * aux_scale)
            d_b_enc += weak.sums(df)
            matrices["W_dec"].append(Source(weak, weak.h, g_weak))
            matrices["W_enc"].append(Source(weak, df, xc))
        vectors = {"b_enc": d_b_enc, "b_dec": g.sum(0) - W_enc @ d_b_enc}
        return MemberGradients(terms, active.counts(f), {**matrices}, vectors)

    def _chosen(self, i: int, h: Tensor) -> tuple[Active, Tensor]:
        """Which latents member `i` keeps of x W_enc, `h` [B, M], and their values."""
        active = strongest(h, self.b_enc[i], int(self.members[i].sparsity))
        return active, active.h

    def saelens_cfg(self, i: int) -> dict[str, object]:
        return {"k": int(self.members[i].sparsity), "rescale_acts_by_decoder_norm": False}


def _keep(pre: Tensor, k: int) -> Tensor:
    """Dense latents [B, M]: the k largest of each row of `pre`, negative ones at zero."""
    values, latents = pre.topk(k)
    return torch.zeros_like(pre).scatter(1, latents, values.relu())


def _bag(rows: Tensor, table: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums [B, D] of rows of `table` [n, D], over K for `rows` and `weights` [B, K]."""
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)
