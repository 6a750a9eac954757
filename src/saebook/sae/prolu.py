"""ProLU: an L1 SAE whose bias gates instead of shifting (Taggart 2024; a baseline of the Top-k paper's Figures 2 and 5).

A latent passes its pre-activation m unshifted where m > 0 and m + b > 0. The bias then has no gradient of its own, and two
synthetic ones were proposed: that of ReLU(m + b), and a straight-through one in which the gate is taken for its argument.
"""

import torch
from torch import Tensor

from saebook.sae.relu import ReLU


class _Gate(torch.autograd.Function):
    """ProLU(m, b) with a synthetic gradient: `straight` multiplies the bias' gradient by m and lends it to m as well."""

    @staticmethod
    def forward(ctx, m: Tensor, b: Tensor, straight: bool) -> Tensor:
        f = m * ((m > 0) & (m + b > 0))
        ctx.save_for_backward(f)
        ctx.straight = straight
        return f

    @staticmethod
    def backward(ctx, df: Tensor):
        (f,) = ctx.saved_tensors
        d_m, d_b = _split(df * (f > 0), f, ctx.straight)
        return d_m, d_b.sum(1, keepdim=True), None


def _split(df: Tensor, f: Tensor, straight: bool) -> tuple[Tensor, Tensor]:
    """Gradients of m and of b from `df` on open latents, where `f` is m itself."""
    if not straight:
        return df, df
    d_b = df * f
    return df + d_b, d_b


class ProLUReLU(ReLU):
    """f(x) = ProLU(W_enc (x - b_dec), b_enc), the bias trained as if it were a ReLU's."""

    saelens_name = "jumprelu"  # what it is once trained: threshold ReLU(-b_enc), no shift
    _straight = False

    def encode(self, x: Tensor) -> Tensor:
        return _Gate.apply(torch.bmm(x - self.b_dec[:, None], self.W_enc), self.b_enc[:, None], self._straight)

    def _latents(self, i: int, xc: Tensor, out: Tensor) -> Tensor:
        m = torch.mm(xc, self.W_enc[i], out=out)
        return m.mul_((m > 0) & (m + self.b_enc[i] > 0))

    def _split(self, df: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        return _split(df, f, self._straight)

    def to_saelens(self, i: int) -> tuple[dict, dict[str, Tensor]]:
        cfg, tensors = super().to_saelens(i)
        bias = tensors["b_enc"]
        return cfg, tensors | {"b_enc": torch.zeros_like(bias), "threshold": (-bias).relu()}

    @classmethod
    def from_saelens(cls, cfg: dict, tensors: dict[str, Tensor]):
        """A stack of one. A bias above zero gates nothing and was stored as zero."""
        return super().from_saelens(cfg, tensors | {"b_enc": -tensors["threshold"]})


class ProLUSTE(ProLUReLU):
    """The same, the bias trained straight through its gate."""

    _straight = True
