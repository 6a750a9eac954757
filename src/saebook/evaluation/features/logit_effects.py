"""What latents do to the logits by themselves: decoder rows carried straight to the unembedding.

The product is W_dec W_U with the weight of the final norm folded into W_U, and for a LayerNorm its subtraction of the mean.
Left out are the norm's division by the size of the stream, which is one positive factor for all tokens, and whatever later
blocks make of the direction. So only the order and the ratios within a latent mean something. Letters: m latents, D width of
the site, V vocabulary, k tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from saebook.subject.model import Site, Subject

_LOGITS = {"cpu": 2**23, "cuda": 2**28}  # logits that exist at one time


@dataclass(frozen=True)
class Effects:
    """The k tokens that each latent raises most and lowers most, `raised` and `lowered` [m, k], with the changes of their logits.

    A change is that of one unit of activation, relative to the mean over the vocabulary.
    """

    raised: Tensor
    raised_by: Tensor
    lowered: Tensor
    lowered_by: Tensor


def to_stream(subject: Subject, site: Site, directions: Tensor) -> Tensor:
    """What `directions` [m, D] at a site write into the residual stream [m, d_model]: neurons and heads by their output weights."""
    block = subject.bridge.blocks[site.layer]
    if site.kind == "mlp_post":
        return directions @ block.mlp.W_out.to(directions)
    if site.kind == "attn_z":
        return directions @ block.attn.W_O.flatten(0, 1).to(directions)
    return directions


def folded(subject: Subject) -> Tensor:
    """W_U [d_model, V] behind the final norm's weight; for a LayerNorm without the mean over d_model, which it takes away."""
    W_U, norm = subject.unembedding.W_U, subject.bridge.ln_final
    weight = getattr(norm, "weight", None)
    W = W_U if weight is None else weight.to(W_U)[:, None] * W_U
    return W - W.mean(0) if centres(norm, len(W), W) else W


@torch.inference_mode()
def centres(norm: Callable[[Tensor], Tensor], width: int, like: Tensor) -> bool:
    """Whether a norm of `width` channels takes their mean away: then one number more in each of them changes nothing."""
    x = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype).square()[None, None]
    return torch.allclose(norm(x), norm(x + 1), atol=1e-3)


@torch.inference_mode()
def effects(subject: Subject, site: Site, directions: Tensor, count: int) -> Effects:
    """The `count` tokens whose logits each of `directions` [m, D], decoder rows at `site`, raises most and lowers most."""
    W = folded(subject)
    count = min(count, W.shape[1])
    stream = to_stream(subject, site, directions).to(W)
    parts = []
    for some in stream.split(max(1, _LOGITS[W.device.type] // W.shape[1])):
        logits = some @ W
        logits -= logits.mean(1, keepdim=True)
        up, down = logits.topk(count), logits.topk(count, largest=False)
        parts.append((up.indices, up.values, down.indices, down.values))
    return Effects(*(torch.cat(each) for each in zip(*parts, strict=True)))
