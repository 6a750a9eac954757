"""Gated SAEs decide separately whether a latent fires and how strongly (Gated paper, Eq. 6 to 8)."""

from typing import ClassVar

import torch
from torch import Tensor

from saebook.sae.base import SAEStack, Weight
from saebook.sae.kernels.active import Active, Source, above
from saebook.sae.kernels.precision import encoder_product
from saebook.sae.losses import Losses, MemberGradients, sum_of_squares
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

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
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

    def member_gradients(self, i: int, x: Tensor, dead: Tensor | None = None) -> MemberGradients:
        batch, W_dec = len(x), self.W_dec[i]
        weight, scale = self.members[i].sparsity / batch, 2.0 / batch
        xc = x - self.b_dec[i]
        h = encoder_product(xc, self.W_enc[i], self.precision)
        # Where the gate is open: no other latent gets a gradient.
        active = above(h, -self.b_gate[i], self.precision)
        via_gate = active.values(active.h + active.of(self.b_gate[i]))
        f = active.values(self._magnitude(i, xc, active).relu_())
        g, d_mag = active.compare(f, W_dec, xc, scale)
        g_via_gate, d_gate = active.compare(via_gate, W_dec, xc, scale)
        d_mag.mul_(f.sign())  # no latent is negative
        d_gate = active.values(d_gate.add_(weight))
        matrices, vectors, through = self._encoder_gradients(i, xc, active, d_gate, d_mag)
        matrices["W_dec"] = [Source(active, f, g)]
        vectors["b_dec"] = g.sum(0)
        if not self.freezes_decoder:
            matrices["W_dec"].append(Source(active, via_gate, g_via_gate))
            vectors["b_dec"] += g_via_gate.sum(0)
        # b_dec acts on the output and, through the centring, on both pre-activations.
        vectors["b_dec"] -= through
        terms = {
            "reconstruction": sum_of_squares(g) / (2 * scale),
            "sparsity": via_gate.sum() * weight,
            "auxiliary": sum_of_squares(g_via_gate) / (2 * scale),
        }
        return MemberGradients(terms, active.counts(f), {**matrices}, vectors)

    # What a variant with other encoders overrides (`gated_variants`) --------------------------------------------------

    def _magnitude(self, i: int, xc: Tensor, active: Active) -> Tensor:
        """The magnitude's pre-activations of member i, for the latents whose gate is open."""
        return active.h * active.of(self.r_mag[i].exp()) + active.of(self.b_mag[i])

    def _encoder_gradients(
        self, i: int, xc: Tensor, active: Active, d_gate: Tensor, d_mag: Tensor
    ) -> tuple[dict[str, list[Source]], dict[str, Tensor], Tensor]:
        """Gradients of the encoder's matrices and vectors from those of both pre-activations, and the centred input's, summed [D]."""
        scale, sums_gate, sums_mag = self.r_mag[i].exp(), active.sums(d_gate), active.sums(d_mag)
        vectors = {"b_gate": sums_gate, "b_mag": sums_mag, "r_mag": active.sums(active.h * d_mag) * scale}
        matrices = {"W_enc": [Source(active, d_gate + d_mag * active.of(scale), xc)]}
        return matrices, vectors, self.W_enc[i] @ (sums_gate + scale * sums_mag)
