"""The e2e paper's SAE: ReLU, a decoder normalised in every forward pass, an encoder that does not subtract b_dec (section 2.1).

Gradients flow through the normalisation, so that nothing has to be projected. What its reconstructions are compared with
is up to an objective (`training.objectives`): `pulled` takes any, and `loss` is the paper's local one.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saebook.common.errors import UserError
from saebook.sae.base import Pull, SAEStack, Weight
from saebook.sae.kernels.active import Active, Source, above
from saebook.sae.kernels.precision import encoder_product
from saebook.sae.losses import Losses, MemberGradients
from saebook.sae.registry import register


@register("normalised_relu", label="ReLU, decoder normalised", colour="#000000")
class NormalisedReLU(SAEStack):
    """f(x) = ReLU(W_enc x + b_enc);  xhat = f . W_dec / ||W_dec|| + b_dec, with the norm of each row. Any norm of W_dec is one SAE."""

    b_enc: Weight

    saelens_name = "standard"
    per_latent = ("b_enc",)
    inner_biases = ("b_enc",)
    subtracts_b_dec = False
    unit_rows = False

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        for i, member in enumerate(self.members):
            generator = torch.Generator().manual_seed(member.seed)
            encoder = torch.empty(self.d_sae, self.d_in, dtype=torch.float64)
            nn.init.kaiming_uniform_(encoder, a=math.sqrt(5), generator=generator)  # as `nn.Linear` does
            decoder = torch.empty(self.d_sae, self.d_in, dtype=torch.float64)
            nn.init.orthogonal_(decoder, generator=generator)
            self.W_enc.data[i] = encoder.T
            self.W_dec.data[i] = decoder

    def encode(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.b_enc[:, None], x.expand(len(self.members), *x.shape), self.W_enc).relu()

    def decode(self, f: Tensor) -> Tensor:
        return torch.baddbmm(self.b_dec[:, None], f, F.normalize(self.W_dec, dim=-1))

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        """The local loss (section 2.2, with the code's means): mean over D of (x - xhat)^2, plus lambda/D ||f||_1."""
        f = self.encode(x)
        terms = {
            "reconstruction": (self.decode(f) - x).square().mean((1, 2)),
            "sparsity": f.new_tensor(self.sparsity) / self.d_in * f.sum(-1).mean(-1),
        }
        active = f > 0
        return Losses.of(terms, active)

    def error_unit(self) -> float:
        return float(self.d_in)

    def member_gradients(self, i: int, x: Tensor, dead: Tensor | None = None) -> MemberGradients:
        active, f, xhat = self._forward(i, x)
        error = xhat.sub_(x)
        terms = {"reconstruction": error.square().mean()}
        return self._backward(i, x, active, f, terms, error.mul_(2.0 / x.numel()))

    @torch.no_grad()
    def pulled(self, x: Tensor, pull: Pull, at_once: int, dead: Tensor | None = None) -> Losses:
        """Gradients of `pull`'s terms and of lambda/D ||f||_1 into `.grad`, by hand, `at_once` members together. `x` [B, D].

        With `per_token`, or on a device that is no CPU, by autograd.
        """
        if self.per_token or x.device.type != "cpu":
            return super().pulled(x, pull, at_once, dead)
        self._make_gradients()
        parts = []
        for begin in range(0, len(self.members), at_once):
            members = range(begin, min(begin + at_once, len(self.members)))
            forward = [self._forward(i, x) for i in members]
            terms, g = pull(torch.stack([xhat for *_, xhat in forward]))
            for place, (i, (active, f, _)) in enumerate(zip(members, forward, strict=True)):
                own = {name: term[place] for name, term in terms.items()}
                parts.append(self._backward(i, x, active, f, own, g[place].contiguous()))
                self.write(i, parts[-1])
        return Losses.of_members(parts, len(x))

    def _forward(self, i: int, x: Tensor) -> tuple[Active, Tensor, Tensor]:
        """Member i's active latents, their values over the norms of their decoder rows, and reconstructions [B, D]."""
        h = encoder_product(x, self.W_enc[i], self.precision)
        active = above(h, -self.b_enc[i], self.precision)
        f = active.values(active.h + active.of(self.b_enc[i]))
        return active, f, active.decode(f / active.of(self._norms(i)), self.W_dec[i]).add_(self.b_dec[i])

    def _backward(
        self, i: int, x: Tensor, active: Active, f: Tensor, terms: dict[str, Tensor], g: Tensor
    ) -> MemberGradients:
        """Gradients from `g` [B, D], that of member i's reconstructions, with lambda/D ||f||_1 added to `terms`."""
        batch, norms, weight = len(x), self._norms(i), self.members[i].sparsity / self.d_in
        df = active.values((active.dots(g, self.W_dec[i]) / active.of(norms)).add_(weight / batch))
        # The decoder's gradient without its part along each row, which would only change the norm (`SAEStack.write`).
        matrices = {"W_dec": [Source(active, f / active.of(norms), g)], "W_enc": [Source(active, df, x)]}
        vectors = {"b_enc": active.sums(df), "b_dec": g.sum(0)}
        terms = terms | {"sparsity": weight * f.sum() / batch}
        return MemberGradients(terms, active.counts(f), {**matrices}, vectors)

    def _norms(self, i: int) -> Tensor:
        return torch.linalg.vector_norm(self.W_dec[i], dim=-1)

    def saelens_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors | {"W_dec": F.normalize(tensors["W_dec"], dim=-1)}

    @classmethod
    def own_tensors(cls, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        norms = torch.linalg.vector_norm(tensors["W_dec"], dim=-1)
        if bool(((norms - 1).abs() > 1e-3).any()):
            raise UserError(
                f"the rows of W_dec have norms from {norms.min():.3g} to {norms.max():.3g} and this architecture takes "
                "unit rows: fold the norms into W_enc and b_enc first (SAELens: sae.fold_W_dec_norm())"
            )
        return tensors
