"""Gated SAEs with one thing changed (Gated paper, section 5.1 and Figure 8): each differs from `Gated` in that alone."""

import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.sae.base import Weight
from saebook.sae.gated import Gated
from saebook.sae.kernels.active import Active, Source
from saebook.sae.kernels.precision import encoder_product
from saebook.sae.registry import register


@register("gated_unfrozen", label="Gated, decoder unfrozen", colour="#E69F00")
class UnfrozenGated(Gated):
    """ "Unfreeze decoder": the auxiliary loss trains W_dec and b_dec too, so that gate and magnitude share one dictionary."""

    freezes_decoder = False


@register("gated_no_r_mag", label="Gated, no r_mag", colour="#CC79A7")
class RigidGated(Gated):
    """ "No r_mag": the rescale stays one, and the two pre-activations differ by a shift alone."""

    per_latent = ("b_gate", "b_mag")

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.register_buffer("r_mag", torch.zeros_like(self.b_mag))

    def _encoder_gradients(self, i: int, xc: Tensor, active: Active, d_gate: Tensor, d_mag: Tensor):
        matrices, vectors, through = super()._encoder_gradients(i, xc, active, d_gate, d_mag)
        del vectors["r_mag"]
        return matrices, vectors, through


@register("gated_untied", label="Gated, untied encoders", colour="#009E73")
class UntiedGated(Gated):
    """ "Untied encoders": f(x) = 1[W_enc xc + b_gate > 0] * ReLU(W_mag xc + b_mag), with xc = x - b_dec and W_mag [S, D, M] free.

    Both matrices start as the decoder transposed, as the tied one does. A resampled latent points the same way in both.
    """

    W_mag: Weight

    saelens_name = ""
    per_latent = ("b_gate", "b_mag")

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.W_mag = Weight(self.W_enc.detach().clone())

    def threshold(self) -> Tensor:
        raise UserError("an untied Gated SAE is not a JumpReLU: its gate and its magnitude read different directions")

    def _pre(self, x: Tensor) -> tuple[Tensor, Tensor]:
        xc = x - self.b_dec[:, None]
        return torch.baddbmm(self.b_gate[:, None], xc, self.W_enc), torch.baddbmm(self.b_mag[:, None], xc, self.W_mag)

    def _magnitude(self, i: int, xc: Tensor, active: Active) -> Tensor:
        return active.take(encoder_product(xc, self.W_mag[i], self.precision)) + active.of(self.b_mag[i])

    def _encoder_gradients(self, i: int, xc: Tensor, active: Active, d_gate: Tensor, d_mag: Tensor):
        sums_gate, sums_mag = active.sums(d_gate), active.sums(d_mag)
        matrices = {"W_enc": [Source(active, d_gate, xc)], "W_mag": [Source(active, d_mag, xc)]}
        return matrices, {"b_gate": sums_gate, "b_mag": sums_mag}, self.W_enc[i] @ sums_gate + self.W_mag[i] @ sums_mag

    @torch.no_grad()
    def resample(self, member: int, latents: Tensor, inputs: Tensor) -> None:
        super().resample(member, latents, inputs)
        self.W_mag[member][:, latents] = self.W_enc[member][:, latents]

    def latent_slices(self) -> dict[str, int]:
        return super().latent_slices() | {"W_mag": 2}
