"""The baseline: ReLU with an L1 penalty and unit-norm decoder rows (Gated paper, Eq. 2 to 4; Bricken et al. 2023)."""

import torch
from torch import Tensor

from saebook.sae.base import SAEStack, Weight
from saebook.sae.kernels.active import Active, Source, above
from saebook.sae.kernels.precision import encoder_product
from saebook.sae.losses import Losses, MemberGradients, sum_of_squares
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

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        """Eq. 4: ||x - xhat||_2^2 + lambda ||f||_1, sums over D and M, mean over the batch."""
        f = self.encode(x)
        terms = {
            "reconstruction": (self.decode(f) - x).square().sum(-1).mean(-1),
            "sparsity": f.new_tensor(self.sparsity) * f.sum(-1).mean(-1),
        }
        active = f > 0
        return Losses.of(terms, active)

    def member_gradients(self, i: int, x: Tensor, dead: Tensor | None = None) -> MemberGradients:
        batch, W_enc, W_dec = len(x), self.W_enc[i], self.W_dec[i]
        weight, scale = self.members[i].sparsity / batch, 2.0 / batch
        xc = x - self.b_dec[i]
        active = above(encoder_product(xc, W_enc, self.precision), self._theta(i), self.precision)
        f = self._values(active, i)
        g, df = active.compare(f, W_dec, xc, scale)
        d_pre, d_bias = self._split(active.values(df.add_(weight)), f)
        d_b_enc = active.sums(d_bias)
        through = d_b_enc if d_pre is d_bias else active.sums(d_pre)
        return MemberGradients(
            {"reconstruction": sum_of_squares(g) / (2 * scale), "sparsity": f.sum() * weight},
            active.counts(f),
            {"W_dec": [Source(active, f, g)], "W_enc": [Source(active, d_pre, xc)]},
            # b_dec acts twice: on the output, and on the centred input. The latter is summed before it is multiplied.
            {"b_enc": d_b_enc, "b_dec": g.sum(0) - W_enc @ through},
        )

    # What an architecture with another gate overrides (ProLU) --------------------------------------------------------

    def _theta(self, i: int) -> Tensor:
        """The value [M] that W_enc (x - b_dec) must exceed for a latent of member i to be active."""
        return -self.b_enc[i]

    def _values(self, active: Active, i: int) -> Tensor:
        """Member i's latents from the products of `active`."""
        return active.values(active.h + active.of(self.b_enc[i]))

    def _split(self, df: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the product and of the bias, from `df` on active latents of value `f`."""
        return df, df
