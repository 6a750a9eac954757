"""TopK's step on a GPU: all members together over padded entries, whose shapes depend on nothing but k and k_aux.

A token's k strongest latents are entries, and the k_aux strongest dead ones are further entries of the same token, with an
error of their own. What ReLU sets to zero is padding. Letters: S members, B tokens, D width, M latents, K entries a token.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from saebook.sae.kernels.plain import Entries
from saebook.sae.kernels.products import Products
from saebook.sae.losses import Losses

if TYPE_CHECKING:  # the loop imports this module, and a run of another architecture does not depend on TopK's
    from saebook.sae.topk import TopK

_TINY = 1e-12  # as in `TopK.loss`


@dataclass(frozen=True)
class PaddedGradients:
    """The losses of a batch; both matrices' gradients as the `entries` that they are sums of; the other gradients."""

    losses: Losses
    entries: Entries
    vectors: dict[str, Tensor]


@torch.no_grad()
def topk_gradients(stack: "TopK", z: Tensor, dead: Tensor, kernels: ModuleType, products: Products) -> PaddedGradients:
    """Gradients of `TopK.loss` of `z` [B, D], with the latents `dead` [S, M], by hand. `kernels`: `plain` or `triton_entries`."""
    batch, members = len(z), len(stack.members)
    xc = z - stack.b_dec[:, None]
    pre = products.bmm(xc, stack.W_enc) + stack.b_enc[:, None]
    table = stack.W_dec.bfloat16() if products.precision == "bf16" and z.dtype == torch.float32 else stack.W_dec

    ks = [int(m.sparsity) for m in stack.members]
    values, latents = pre.topk(max(ks))
    if min(ks) < max(ks):
        places = torch.arange(max(ks), device=z.device)
        values = values * (places < products.constant(ks, pre)[:, None, None])
    values, latents = values.relu(), latents.int()
    scale = (2.0 / (batch * stack.variance)).expand(members)
    error, squares, d_pre = kernels.compare(latents, values, table, z[None], scale, stack.b_dec)
    terms = {"reconstruction": squares.sum(1) / (batch * stack.variance)}
    by_error, errors = values * scale[:, None, None], [error]

    active = values > 0
    latent_or_none = latents.long().masked_fill(~active, stack.d_sae).flatten(1)
    fired = dead.new_zeros(members, stack.d_sae + 1).scatter_(1, latent_or_none, True)[:, :-1]

    if stack.aux_weight:
        weak, weak_latents = pre.masked_fill(~dead[:, None], float("-inf")).topk(stack.k_aux, sorted=False)
        weak, weak_latents = weak.relu(), weak_latents.int()
        spread = (error - error.mean(1, keepdim=True)).square().sum((1, 2)).clamp_min(_TINY)
        weight = (stack.aux_weight / spread) * dead.any(1)
        missed, squares, d_weak = kernels.compare(weak_latents, weak, table, -error, 2.0 * weight)
        terms["auxiliary"] = weight * squares.sum(1)
        latents, values = torch.cat([latents, weak_latents], 2), torch.cat([values, weak], 2)
        by_error = torch.cat([by_error, weak * (2.0 * weight)[:, None, None]], 2)
        d_pre = torch.cat([d_pre, d_weak], 2)
        errors.append(missed)
    else:
        terms["auxiliary"] = torch.zeros_like(terms["reconstruction"])

    order, starts = kernels.sort(latents, values, stack.d_sae)
    d_b_enc = kernels.sums(order, starts, d_pre, stack.d_sae)
    through = torch.bmm(stack.W_enc, d_b_enc[:, :, None])[:, :, 0]
    vectors = {"b_enc": d_b_enc, "b_dec": error.sum(1) * scale[:, None] - through}
    entries = Entries(by_error, d_pre, torch.stack(errors, 1), xc, max(ks), order, starts)
    total = terms["reconstruction"] + terms["auxiliary"]
    return PaddedGradients(Losses(total, terms, active.sum((1, 2)) / batch, fired), entries, vectors)
