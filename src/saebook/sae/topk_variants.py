"""TopK SAEs with one thing changed (Top-k paper, appendices C.2 to C.4): each differs from `TopK` in that alone."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from saebook.sae.losses import Losses
from saebook.sae.registry import register
from saebook.sae.topk import TopK

_VECTORS = 256  # unit vectors that the released code scales the encoder by


@register("topk_no_bias", label="TopK, no encoder bias", colour="#E69F00")
class UnbiasedTopK(TopK):
    """f(x) = ReLU(TopK(W_enc (x - b_dec))), the paper's Eq. 2 (appendix C.3): `b_enc` stays zero."""

    per_latent = ()

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.register_buffer("b_enc", self.b_dec.new_zeros(len(self.members), self.d_sae))

    def member_gradients(self, i: int, x: Tensor, dead: Tensor | None = None):
        gradients = super().member_gradients(i, x, dead)
        del gradients.vectors["b_enc"]
        return gradients


@register("topk_free_norm", label="TopK, free decoder norms", colour="#CC79A7")
class FreeNormTopK(TopK):
    """TopK whose decoder rows begin at norm one and then move freely (appendix C.4): no projection and no renormalising.

    The compiled step of Adam takes away what changes a row's norm. So this one states its loss anew and is trained by
    autograd, which is slower.
    """

    unit_rows = False

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        return super().loss(x, dead)


@register("topk_scaled", label="TopK, scaled encoder", colour="#56B4E9")
class ScaledTopK(TopK):
    """TopK whose encoder begins at the magnitude at which reconstructions have the norm of the input (appendix C.2).

    As in the released code: the mean norm of the reconstructions of 256 random unit vectors, before `b_dec` is added, is
    what W_enc is divided by. Biases of the encoder are zero then, so the norm of the input does not matter.
    """

    @torch.no_grad()
    def init_bias(self, x: Tensor, median: Tensor | None = None) -> None:
        super().init_bias(x, median)
        for i, member in enumerate(self.members):
            u = _unit_vectors(member.seed, self.d_in).to(x.device, x.dtype)
            values, latents = (u @ self.W_enc[i]).topk(int(member.sparsity))
            outputs = F.embedding_bag(latents, self.W_dec[i], mode="sum", per_sample_weights=values.relu())
            self.W_enc[i] /= outputs.norm(dim=1).mean()


def _unit_vectors(seed: int, d_in: int) -> Tensor:
    """Random unit vectors [256, d_in], the same on every device."""
    drawn = np.random.default_rng([seed, d_in]).standard_normal((_VECTORS, d_in))
    return torch.from_numpy(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))
