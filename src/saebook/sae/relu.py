"""The baseline: ReLU with an L1 penalty and unit-norm decoder rows (Gated paper, Eq. 2 to 4; Bricken et al. 2023)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from saebook.sae.base import Losses, SAEStack, Weight
from saebook.sae.registry import register


@register("relu", label="baseline (ReLU + L1)", colour="#0072B2")
class ReLU(SAEStack):
    """f(x) = ReLU(W_enc (x - b_dec) + b_enc);  xhat = W_dec f + b_dec."""

    b_enc: Weight

    saelens_name = "standard"
    per_latent = ("b_enc",)
    inner_biases = ("b_enc",)

    def encode(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.b_enc[:, None], x - self.b_dec[:, None], self.W_enc).relu()

    def loss(self, x: Tensor, dead: Sequence[Tensor] | None = None) -> Losses:
        """Eq. 4: ||x - xhat||_2^2 + lambda ||f||_1, sums over D and M, mean over the batch."""
        f = self.encode(x)
        terms = {
            "reconstruction": (self.decode(f) - x).square().sum(-1).mean(-1),
            "sparsity": f.new_tensor(self.sparsity) * f.sum(-1).mean(-1),
        }
        active = f > 0
        return Losses.of(terms, active)

    def _member_gradients(self, i: int, x: Tensor, dead: Tensor | None):
        batch, weight = len(x), self.members[i].sparsity / len(x)
        W_enc, W_dec = self.W_enc[i], self.W_dec[i]
        xc = torch.sub(x, self.b_dec[i], out=self._space("xc", x.shape, x))
        shape = (batch, self.d_sae)
        f = self._latents(i, xc, self._space("f", shape, x))
        error = torch.addmm(xc, f, W_dec, beta=-1.0, out=self._space("error", x.shape, x))
        terms = {"reconstruction": error.square().sum() / batch, "sparsity": f.sum() * weight}
        g = error.mul_(2.0 / batch)
        active = torch.gt(f, 0, out=self._space("active", shape, f.new_empty(0, dtype=torch.bool)))
        counts = active.sum(0)
        torch.mm(f.T, g, out=self.W_dec.grad[i])
        df = torch.mm(g, W_dec.T, out=self._space("df", shape, x)).add_(weight).mul_(active)
        d_pre, d_bias = self._split(df, f)
        torch.mm(xc.T, d_pre, out=self.W_enc.grad[i])
        torch.sum(d_bias, 0, out=self.b_enc.grad[i])
        # b_dec acts twice: on the output, and on the centred input. The latter is summed before it is multiplied.
        summed = self.b_enc.grad[i] if d_pre is d_bias else d_pre.sum(0)
        torch.sum(g, 0, out=self.b_dec.grad[i]).sub_(W_enc @ summed)
        return terms, counts.sum().to(x.dtype) / batch, counts > 0

    # What an architecture with another gate overrides (ProLU) --------------------------------------------------------

    def _latents(self, i: int, xc: Tensor, out: Tensor) -> Tensor:
        """Latents [B, M] of member i for centred inputs `xc` [B, D], in `out`."""
        return torch.addmm(self.b_enc[i], xc, self.W_enc[i], out=out).relu_()

    def _split(self, df: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients [B, M] of the product and of the bias, from `df` on active latents of value `f`."""
        return df, df
