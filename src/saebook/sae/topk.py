"""TopK SAEs with the auxiliary loss for dead latents (Top-k paper, section 2.3 and appendices A and B).

A step touches only what is active: one dense product (the encoder), then the decoder's and both weight gradients over
the K active rows of each token. The sums by latent are embedding bags over entries sorted by latent: no atomics, so the
same input gives the same bits.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from saebook.errors import UserError
from saebook.sae.base import Losses, Member, Stack

_TINY = 1e-12  # the spread of one token's error around its own mean is zero


class TopK(Stack):
    """f(x) = ReLU(TopK(W_enc (x - b_dec) + b_enc)), k of each member being its `sparsity`.

    The released code has b_enc and the ReLU, the paper's Eq. 2 has neither; we keep both. Losses are divided by
    `variance`, E||x - E x||^2 of a first sample: the paper's normalisation constant, computed once.
    """

    saelens_name = "topk"
    per_latent = ("b_enc",)
    inner_biases = ("b_enc",)

    def __init__(
        self, d_in: int, d_sae: int, members: tuple[Member, ...], device="cpu", dtype=torch.float32,
        k_aux: int | None = None, aux_weight: float = 1 / 32,
    ):  # fmt: skip
        super().__init__(d_in, d_sae, members, device, dtype)
        for m in members:
            if m.sparsity != int(m.sparsity) or not 1 <= m.sparsity <= d_sae:
                raise UserError(f"k of a TopK SAE is a whole number from 1 to d_sae = {d_sae}, not {m.sparsity:g}")
        # "A power of two close to d_model / 2" (appendix B.1).
        self.k_aux = min(d_sae, k_aux or 2 ** max(0, round(math.log2(d_in / 2))))
        self.aux_weight = aux_weight
        self.register_buffer("variance", torch.tensor(float(d_in), device=device, dtype=dtype))

    def options(self) -> dict:
        return {"k_aux": self.k_aux, "aux_weight": self.aux_weight}

    @torch.no_grad()
    def init_bias(self, x: Tensor) -> None:
        super().init_bias(x)
        self.variance.copy_((x - x.mean(0)).square().sum(1).mean())

    def fold_scale(self, s: float) -> None:
        super().fold_scale(s)
        self.variance.div_(s * s)

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
        dead = torch.zeros_like(self.b_enc, dtype=torch.bool) if dead is None else dead
        masked = pre.masked_fill(~dead[:, None], float("-inf"))
        weak = torch.stack([_keep(p, self.k_aux) for p in masked])
        target = -error.detach()
        spread = (target - target.mean(1, keepdim=True)).square().sum((1, 2)).clamp_min(_TINY)
        missed = (torch.bmm(weak, self.W_dec) - target).square().sum((1, 2)) / spread
        terms["auxiliary"] = self.aux_weight * torch.where(dead.any(1), missed, torch.zeros_like(missed))
        active = f > 0
        return Losses(sum(terms.values()), terms, active.sum(-1).to(x.dtype).mean(-1), active.any(1))

    def _member_gradients(self, i: int, x: Tensor, dead: Tensor | None):
        batch, k = len(x), int(self.members[i].sparsity)
        W_enc, W_dec = self.W_enc[i], self.W_dec[i]
        xc = torch.sub(x, self.b_dec[i], out=self._space("xc", x.shape, x))
        pre = torch.addmm(self.b_enc[i], xc, W_enc, out=self._space("pre", (batch, self.d_sae), x))
        values, latents = pre.topk(k, sorted=False)
        values = values.relu_()
        error = _bag(latents, W_dec, values).sub_(xc)
        terms = {"reconstruction": error.square().sum() / (batch * self.variance)}
        g = error * (2.0 / (batch * self.variance))
        d_b_dec = g.sum(0)
        active = values > 0
        fired = torch.zeros(self.d_sae, dtype=torch.bool, device=x.device)
        fired[latents[active]] = True
        terms["auxiliary"] = torch.zeros_like(terms["reconstruction"])
        tokens = torch.arange(batch, device=x.device).repeat_interleave(k)
        latents, values = latents.flatten(), values.flatten()
        # On a CPU the question costs nothing; on a GPU it would wait for the device, so there the work is always done.
        if dead is not None and (dead.is_cuda or bool(dead.any())):
            weak, rows = pre.masked_fill_(~dead, float("-inf")).topk(self.k_aux, sorted=False)
            weak = weak.relu_()
            spread = (error - error.mean(0)).square().sum().clamp_min(_TINY)
            missed = _bag(rows, W_dec, weak).add_(error)  # its target is x - xhat, the negative of `error`
            weight = self.aux_weight * dead.any().to(x.dtype) / spread
            terms["auxiliary"] = weight * missed.square().sum()
            g = torch.cat([g, missed.mul_(2.0 * weight)])
            tokens = torch.cat([tokens, torch.arange(batch, 2 * batch, device=x.device).repeat_interleave(self.k_aux)])
            latents, values = torch.cat([latents, rows.flatten()]), torch.cat([values, weak.flatten()])
        self._weight_gradients(i, xc, g, tokens, latents, values)
        self.b_dec.grad[i] = d_b_dec - W_enc @ self.b_enc.grad[i]
        return terms, active.sum().to(x.dtype) / batch, fired

    def _weight_gradients(self, i: int, xc: Tensor, g: Tensor, tokens: Tensor, latents: Tensor, values: Tensor) -> None:
        """Gradients of W_enc, b_enc and W_dec from the active entries alone.

        Entry e adds `values[e]` times row `latents[e]` of W_dec to the output whose gradient is `g[tokens[e]]`; rows of
        `g` [B or 2B, D] beyond B belong to the auxiliary loss of the same tokens of `xc` [B, D].
        """
        order = latents.argsort(stable=True)
        tokens, values, latents = tokens[order], values[order], latents[order]
        starts = F.pad(torch.bincount(latents, minlength=self.d_sae).cumsum(0), (1, 0))[:-1]
        d_values = (self.W_dec[i][latents] * g[tokens]).sum(1).mul_(values > 0)
        self.W_dec.grad[i] = F.embedding_bag(tokens, g, starts, mode="sum", per_sample_weights=values)
        # A column of ones makes the bias' gradient the same sum.
        wide = F.pad(xc, (0, 1), value=1.0)
        summed = F.embedding_bag(tokens % len(xc), wide, starts, mode="sum", per_sample_weights=d_values)
        self.W_enc.grad[i] = summed[:, :-1].T
        self.b_enc.grad[i] = summed[:, -1]

    def to_saelens(self, i: int) -> tuple[dict, dict[str, Tensor]]:
        cfg, tensors = super().to_saelens(i)
        return cfg | {"k": int(self.members[i].sparsity), "rescale_acts_by_decoder_norm": False}, tensors


def _keep(pre: Tensor, k: int) -> Tensor:
    """Dense latents [B, M]: the k largest of each row of `pre`, negative ones at zero."""
    values, latents = pre.topk(k)
    return torch.zeros_like(pre).scatter(1, latents, values.relu())


def _bag(latents: Tensor, W_dec: Tensor, values: Tensor) -> Tensor:
    """The decoder on active entries: sum over K of `values` [B, K] times rows `latents` [B, K] of `W_dec` [M, D]."""
    return F.embedding_bag(latents, W_dec, mode="sum", per_sample_weights=values)
