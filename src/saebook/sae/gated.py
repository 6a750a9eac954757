"""Gated SAEs: whether a feature fires and how strongly are decided apart (Gated paper, Eq. 6 to 8)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from saebook.sae.base import Losses, Stack


class Gated(Stack):
    """f(x) = 1[pi_gate > 0] * ReLU(e^r_mag * h + b_mag), with h = W_enc (x - b_dec) and pi_gate = h + b_gate.

    `W_enc` is W_gate of the paper; the magnitude's weights are tied to it by r_mag (Eq. 7).
    """

    saelens_name = "gated"
    per_latent = ("b_gate", "b_mag", "r_mag")
    inner_biases = ("b_gate", "b_mag")

    def encode(self, x: Tensor) -> Tensor:
        h = torch.bmm(x - self.b_dec[:, None], self.W_enc)
        return self._open(h) * (h * self.r_mag[:, None].exp() + self.b_mag[:, None]).relu()

    def _open(self, h: Tensor) -> Tensor:
        return (h + self.b_gate[:, None] > 0).to(h.dtype)

    def threshold(self) -> Tensor:
        """theta [S, M] of the JumpReLU that this encoder is, in units of e^r_mag h + b_mag (section 3.2.1)."""
        return self.b_mag - self.r_mag.exp() * self.b_gate

    def loss(self, x: Tensor, dead: Sequence[Tensor] | None = None) -> Losses:
        """Eq. 8: ||x - xhat(f)||^2 + lambda ||ReLU(pi_gate)||_1 + ||x - xhat_frozen(ReLU(pi_gate))||^2.

        The frozen decoder is W_dec and b_dec of the decode without gradient; b_dec of the centring keeps its own.
        """
        h = torch.bmm(x - self.b_dec[:, None], self.W_enc)
        f = self._open(h) * (h * self.r_mag[:, None].exp() + self.b_mag[:, None]).relu()
        via_gate = (h + self.b_gate[:, None]).relu()
        frozen = torch.baddbmm(self.b_dec[:, None].detach(), via_gate, self.W_dec.detach())
        terms = {
            "reconstruction": (self.decode(f) - x).square().sum(-1).mean(-1),
            "sparsity": h.new_tensor(self.sparsity) * via_gate.sum(-1).mean(-1),
            "auxiliary": (frozen - x).square().sum(-1).mean(-1),
        }
        active = f > 0
        return Losses(sum(terms.values()), terms, active.sum(-1).to(x.dtype).mean(-1), active.any(1))

    def _member_gradients(self, i: int, x: Tensor, dead: Tensor | None):
        batch, weight = len(x), self.members[i].sparsity / len(x)
        W_enc, W_dec, scale = self.W_enc[i], self.W_dec[i], self.r_mag[i].exp()
        shape, like_bool = (batch, self.d_sae), x.new_empty(0, dtype=torch.bool)
        xc = torch.sub(x, self.b_dec[i], out=self._space("xc", x.shape, x))
        h = torch.mm(xc, W_enc, out=self._space("h", shape, x))

        # Both decodes are one product: latents of the main path above, of the gate's path below.
        both = self._space("both", (2 * batch, self.d_sae), x)
        f, via_gate = both[:batch], both[batch:]
        torch.add(h, self.b_gate[i], out=via_gate).relu_()
        torch.addcmul(self.b_mag[i], h, scale, out=f).relu_().mul_(via_gate > 0)
        error = torch.mm(both, W_dec, out=self._space("error", (2 * batch, self.d_in), x))
        error[:batch] -= xc
        error[batch:] -= xc
        terms = {
            "reconstruction": error[:batch].square().sum() / batch,
            "sparsity": via_gate.sum() * weight,
            "auxiliary": error[batch:].square().sum() / batch,
        }
        g = error.mul_(2.0 / batch)
        torch.mm(f.T, g[:batch], out=self.W_dec.grad[i])
        back = torch.mm(g, W_dec.T, out=self._space("back", (2 * batch, self.d_sae), x))
        d_mag, d_gate = back[:batch], back[batch:]
        active = torch.gt(f, 0, out=self._space("active", shape, like_bool))
        counts = active.sum(0)
        d_mag.mul_(active)
        d_gate.add_(weight).mul_(torch.gt(via_gate, 0, out=self._space("open", shape, like_bool)))
        torch.sum(d_mag, 0, out=self.b_mag.grad[i])
        torch.sum(d_gate, 0, out=self.b_gate.grad[i])
        torch.mul(h, d_mag, out=f)
        torch.sum(f, 0, out=self.r_mag.grad[i]).mul_(scale)
        dh = d_gate.addcmul_(d_mag, scale)
        torch.mm(xc.T, dh, out=self.W_enc.grad[i])
        summed = self.b_gate.grad[i] + scale * self.b_mag.grad[i]
        torch.sum(g[:batch], 0, out=self.b_dec.grad[i]).sub_(W_enc @ summed)
        return terms, counts.sum().to(x.dtype) / batch, counts > 0
