"""ProLU: an L1 SAE whose bias gates instead of shifting (Taggart 2024; a baseline of the Top-k paper's Figures 2 and 5).

A latent passes its pre-activation m unshifted where m > 0 and m + b > 0. The bias then has no gradient of its own, and two
synthetic ones were proposed: that of ReLU(m + b), and a straight-through one in which the gate is taken for its argument.
"""

import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.sae.kernels.active import Active
from saebook.sae.registry import register
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


@register("prolu_relu", label="ProLU, ReLU gradient", colour="#CC79A7")
class ProLUReLU(ReLU):
    """f(x) = ProLU(W_enc (x - b_dec), b_enc), the bias trained as if it were a ReLU's."""

    saelens_name = "jumprelu"  # once trained it is one, with threshold ReLU(-b_enc) and no shift
    _straight = False

    def encode(self, x: Tensor) -> Tensor:
        return _Gate.apply(torch.bmm(x - self.b_dec[:, None], self.W_enc), self.b_enc[:, None], self._straight)

    def _theta(self, i: int) -> Tensor:
        return (-self.b_enc[i]).relu()

    def _values(self, active: Active, i: int) -> Tensor:
        return active.values(active.h)

    def _split(self, df: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        return _split(df, f, self._straight)

    def saelens_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """A bias above zero gates nothing and is written as a threshold of zero."""
        bias = tensors["b_enc"]
        return tensors | {"b_enc": torch.zeros_like(bias), "threshold": (-bias).relu()}

    @classmethod
    def own_tensors(cls, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        if bool(tensors["b_enc"].any()):
            raise UserError(
                "a JumpReLU SAE whose b_enc is not zero shifts its latents and is not a ProLU SAE: saebook cannot load it"
            )
        return {n: t for n, t in tensors.items() if n != "threshold"} | {"b_enc": -tensors["threshold"]}


@register("prolu_ste", label="ProLU, straight-through", colour="#56B4E9")
class ProLUSTE(ProLUReLU):
    """The same, the bias trained straight through its gate."""

    _straight = True
