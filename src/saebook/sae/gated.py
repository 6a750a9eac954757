"""Gated SAEs decide separately whether a latent fires and how strongly (Gated paper, Eq. 6 to 8)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from saebook.sae.base import Losses, SAEStack, Weight
from saebook.sae.registry import register


@register("gated", label="Gated", colour="#D55E00")
class Gated(SAEStack):
    """f(x) = 1[pi_gate > 0] * ReLU(e^r_mag * h + b_mag), with h = W_enc (x - b_dec) and pi_gate = h + b_gate.

    `W_enc` is W_gate of the paper; the magnitude's weights are tied to it by r_mag (Eq. 7).
    """

    b_gate: Weight
    b_mag: Weight
    r_mag: Weight

    saelens_name = "gated"
    per_latent = ("b_gate", "b_mag", "r_mag")
    inner_biases = ("b_gate", "b_mag")
    freezes_decoder: ClassVar[bool] = True  # whether the auxiliary loss leaves the decoder alone

    def encode(self, x: Tensor) -> Tensor:
        return self._latents(*self._pre(x))

    def _latents(self, gate: Tensor, magnitude: Tensor) -> Tensor:
        return (gate > 0).to(gate.dtype) * magnitude.relu()

    def _pre(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pre-activations [S, B, M] of the gate and of the magnitude."""
        h = torch.bmm(x - self.b_dec[:, None], self.W_enc)
        return h + self.b_gate[:, None], h * self.r_mag[:, None].exp() + self.b_mag[:, None]

    def threshold(self) -> Tensor:
        """theta [S, M] of the JumpReLU that this encoder is, in units of e^r_mag h + b_mag (section 3.2.1)."""
        return self.b_mag - self.r_mag.exp() * self.b_gate

    def loss(self, x: Tensor, dead: Sequence[Tensor] | None = None) -> Losses:
        """Eq. 8: ||x - xhat(f)||^2 + lambda ||ReLU(pi_gate)||_1 + ||x - xhat_frozen(ReLU(pi_gate))||^2.

        The frozen decoder is W_dec and b_dec of the decode without gradient; b_dec of the centring keeps its own.
        """
        gate, magnitude = self._pre(x)
        f, via_gate = self._latents(gate, magnitude), gate.relu()
        W_dec, b_dec = (p.detach() if self.freezes_decoder else p for p in (self.W_dec, self.b_dec))
        terms = {
            "reconstruction": (self.decode(f) - x).square().sum(-1).mean(-1),
            "sparsity": f.new_tensor(self.sparsity) * via_gate.sum(-1).mean(-1),
            "auxiliary": (torch.baddbmm(b_dec[:, None], via_gate, W_dec) - x).square().sum(-1).mean(-1),
        }
        active = f > 0
        return Losses.of(terms, active)

    def _member_gradients(self, i: int, x: Tensor, dead: Tensor | None):
        batch, weight, W_dec = len(x), self.members[i].sparsity / len(x), self.W_dec[i]
        shape, like_bool = (batch, self.d_sae), x.new_empty(0, dtype=torch.bool)
        xc = torch.sub(x, self.b_dec[i], out=self._space("xc", x.shape, x))

        # Both decodes are one product: latents of the main path above, of the gate's path below.
        both = self._space("both", (2 * batch, self.d_sae), x)
        f, via_gate = both[:batch], both[batch:]
        h = self._pre_member(i, xc, via_gate, f)
        via_gate.relu_()
        f.relu_().mul_(via_gate > 0)
        error = torch.mm(both, W_dec, out=self._space("error", (2 * batch, self.d_in), x))
        error[:batch] -= xc
        error[batch:] -= xc
        terms = {
            "reconstruction": error[:batch].square().sum() / batch,
            "sparsity": via_gate.sum() * weight,
            "auxiliary": error[batch:].square().sum() / batch,
        }
        g = error.mul_(2.0 / batch)
        taught = batch if self.freezes_decoder else 2 * batch
        torch.mm(both[:taught].T, g[:taught], out=self.W_dec.grad[i])
        back = torch.mm(g, W_dec.T, out=self._space("back", (2 * batch, self.d_sae), x))
        d_mag, d_gate = back[:batch], back[batch:]
        active = torch.gt(f, 0, out=self._space("active", shape, like_bool))
        counts = active.sum(0)
        d_mag.mul_(active)
        d_gate.add_(weight).mul_(torch.gt(via_gate, 0, out=self._space("open", shape, like_bool)))
        torch.sum(d_mag, 0, out=self.b_mag.grad[i])
        torch.sum(d_gate, 0, out=self.b_gate.grad[i])
        # b_dec acts on the output and, through the centring, on both pre-activations.
        through = self._encoder_gradients(i, xc, h, d_gate, d_mag, spare=f)
        torch.sum(g[:taught], 0, out=self.b_dec.grad[i]).sub_(through)
        return terms, counts.sum().to(x.dtype) / batch, counts > 0

    # What a variant with other encoders overrides (`gated_variants`) --------------------------------------------------

    def _pre_member(self, i: int, xc: Tensor, gate: Tensor, magnitude: Tensor) -> Tensor | None:
        """Write member i's pre-activations for centred inputs `xc` [B, D]; return what `_encoder_gradients` needs of them."""
        h = torch.mm(xc, self.W_enc[i], out=self._space("h", gate.shape, xc))
        torch.add(h, self.b_gate[i], out=gate)
        torch.addcmul(self.b_mag[i], h, self.r_mag[i].exp(), out=magnitude)
        return h

    def _encoder_gradients(
        self, i: int, xc: Tensor, h: Tensor | None, d_gate: Tensor, d_mag: Tensor, spare: Tensor
    ) -> Tensor:
        """Write the encoder's gradients from those of both pre-activations [B, M], which may be used up with `spare` [B, M].

        The biases' gradients are there already. Returns the gradient [D] of the centred inputs, summed over tokens.
        """
        assert h is not None
        scale = self.r_mag[i].exp()
        torch.mul(h, d_mag, out=spare)
        torch.sum(spare, 0, out=self.r_mag.grad[i]).mul_(scale)
        torch.mm(xc.T, d_gate.addcmul_(d_mag, scale), out=self.W_enc.grad[i])
        return self.W_enc[i] @ (self.b_gate.grad[i] + scale * self.b_mag.grad[i])
