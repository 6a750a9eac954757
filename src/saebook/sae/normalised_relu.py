"""The e2e paper's SAE: ReLU, a decoder normalised in every forward pass, an encoder that does not subtract b_dec (section 2.1).

Gradients flow through the normalisation, so that nothing has to be projected. What its reconstructions are compared with
is up to an objective (`training.objectives`): `pulled` takes any, and `loss` is the paper's local one.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saebook.common.errors import UserError
from saebook.sae.base import Losses, Pull, SAEStack, Weight
from saebook.sae.registry import register


@register("normalised_relu", label="ReLU, decoder normalised", colour="#000000")
class NormalisedReLU(SAEStack):
    """f(x) = ReLU(W_enc x + b_enc);  xhat = f . W_dec / ||W_dec|| + b_dec, with the norm of each row. Any norm of W_dec is one SAE."""

    b_enc: Weight

    saelens_name = "standard"
    per_latent = ("b_enc",)
    inner_biases = ("b_enc",)
    subtracts_b_dec = False

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        for i, member in enumerate(self.members):
            generator = torch.Generator().manual_seed(member.seed)
            encoder = torch.empty(self.d_sae, self.d_in, dtype=torch.float64)
            nn.init.kaiming_uniform_(encoder, nonlinearity="relu", generator=generator)
            decoder = torch.empty(self.d_sae, self.d_in, dtype=torch.float64)
            nn.init.orthogonal_(decoder, generator=generator)
            self.W_enc.data[i] = encoder.T
            self.W_dec.data[i] = decoder

    def encode(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.b_enc[:, None], x.expand(len(self.members), *x.shape), self.W_enc).relu()

    def decode(self, f: Tensor) -> Tensor:
        return torch.baddbmm(self.b_dec[:, None], f, F.normalize(self.W_dec, dim=-1))

    def loss(self, x: Tensor, dead: Sequence[Tensor] | None = None) -> Losses:
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

    @classmethod
    def has_own_gradients(cls) -> bool:
        return True

    @torch.no_grad()
    def step_gradients(self, x: Tensor, dead: Sequence[Tensor] | None = None) -> Losses:
        def local(xhat: Tensor) -> tuple[dict[str, Tensor], Tensor]:
            error = xhat - x
            return {"reconstruction": error.square().mean((1, 2))}, error.mul_(2.0 / x.numel())

        return self.pulled(x, local, 1)

    @torch.no_grad()
    def pulled(self, x: Tensor, pull: Pull, at_once: int, dead: Sequence[Tensor] | None = None) -> Losses:
        """Gradients of `pull`'s terms and of lambda/D ||f||_1 into `.grad`, by hand, `at_once` members together. `x` [B, D].

        With `per_token` by autograd.
        """
        if self.per_token:
            return super().pulled(x, pull, at_once, dead)
        self._make_gradients()
        count = len(self.members)
        parts = [self._pulled(slice(i, min(i + at_once, count)), x, pull) for i in range(0, count, at_once)]
        terms = {name: torch.cat([part[0][name] for part in parts]) for name in parts[0][0]}
        total = torch.stack(list(terms.values())).sum(0)
        return Losses(total, terms, torch.cat([part[1] for part in parts]), torch.cat([part[2] for part in parts]))

    def _pulled(self, part: slice, x: Tensor, pull: Pull) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        batch, norm = len(x), torch.linalg.vector_norm(self.W_dec[part], dim=-1, keepdim=True)
        W_dec, W_enc = self.W_dec[part] / norm, self.W_enc[part]
        members = len(W_enc)
        weight = x.new_tensor(self.sparsity[part]) / self.d_in
        xs = x.expand(members, *x.shape)
        f = self._space("f", (members, batch, self.d_sae), x)
        torch.baddbmm(self.b_enc[part, None], xs, W_enc, out=f).relu_()
        terms, g = pull(torch.baddbmm(self.b_dec[part, None], f, W_dec))
        terms["sparsity"] = weight * f.sum((1, 2)) / batch
        active = f > 0
        counts = active.sum(1)

        torch.sum(g, 1, out=self.b_dec.grad[part])
        across = torch.bmm(f.transpose(1, 2), g)
        # Its part along a row would only change the row's norm, on which nothing depends.
        along = (across * W_dec).sum(-1, keepdim=True)
        self.W_dec.grad[part] = across.addcmul_(along, W_dec, value=-1.0).div_(norm)
        df = torch.bmm(g, W_dec.transpose(1, 2), out=f).add_(weight[:, None, None] / batch).mul_(active)
        torch.bmm(xs.transpose(1, 2), df, out=self.W_enc.grad[part])
        torch.sum(df, 1, out=self.b_enc.grad[part])
        return terms, counts.sum(1).to(x.dtype) / batch, counts > 0

    def constrain_gradient(self) -> None:
        """Do nothing: the gradient has no part along a row."""

    def constrain_weights(self) -> None:
        """Do nothing: every norm gives the same SAE."""

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
