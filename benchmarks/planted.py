"""Activations made of known directions, and SAEs that begin at them, so that every library works at the same sparsity.

A token is a random combination of `k` of M unit directions, plus noise. Encoder and decoder are those directions; one bias
for all latents is set so that `k` of them are active per token on average. Letters: B tokens, D d_in, M d_sae.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_NOISE = 0.05
_DEAD = 0.1  # share of the latents that are dead
_WEAK = 0.1  # norm of a dead latent's encoder column: often positive, never among the k largest


@dataclass(frozen=True)
class Start:
    """Activations `x` [B, D]; `W_enc` [D, M], `W_dec` [M, D], `bias` [M] of the latents, and which are `dead` [M]."""

    x: Tensor
    W_enc: Tensor
    W_dec: Tensor
    bias: Tensor
    b_dec: Tensor
    dead: Tensor


def start(kind: str, d_in: int, d_sae: int, k: int, batch: int, seed: int = 0) -> Start:
    """The start of one SAE of architecture `kind`. For "topk" a tenth of the latents is dead; for others none."""
    generator = torch.Generator().manual_seed(seed)
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=generator), dim=1)
    chosen = torch.randint(d_sae, (batch, k), generator=generator)
    size = 0.5 + torch.rand(batch, k, generator=generator)
    x = torch.nn.functional.embedding_bag(chosen, W_dec, mode="sum", per_sample_weights=size)
    x += _NOISE * torch.randn(batch, d_in, generator=generator)
    W_enc, dead, bias = W_dec.T.contiguous(), torch.zeros(d_sae, dtype=torch.bool), torch.zeros(d_sae)
    if kind == "topk":
        dead[: round(_DEAD * d_sae)] = True
        W_enc[:, dead] *= _WEAK
    else:
        bias -= _level(x, W_enc, k)
    return Start(x, W_enc, W_dec, bias, torch.zeros(d_in), dead)


def _level(x: Tensor, W_enc: Tensor, k: int) -> float:
    """The level that `k` pre-activations of a token exceed on average."""
    some = x[:256]
    return float((some @ W_enc).flatten().topk(k * len(some)).values[-1])


def from_file(file: str, d_sae: int, k: int | None = None, seed: int = 0) -> Start:
    """A start on the activations of a .npy file, scaled so that E||x||^2 = D.

    Random unit directions, `b_dec` the mean, nothing dead. Without `k` no bias; with it one at which `k` latents are active.
    """
    import numpy as np

    x = torch.from_numpy(np.load(file))
    x *= (x.shape[1] / x.square().sum(1).mean()).sqrt()
    generator = torch.Generator().manual_seed(seed)
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, x.shape[1], generator=generator), dim=1)
    b_dec, bias, dead = x[:32_768].mean(0), torch.zeros(d_sae), torch.zeros(d_sae, dtype=torch.bool)
    if k is not None:
        bias -= _level(x - b_dec, W_dec.T, k)
    return Start(x, W_dec.T.contiguous(), W_dec, bias, b_dec, dead)
