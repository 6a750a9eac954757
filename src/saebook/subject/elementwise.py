"""Elementwise passes of a subject, with their gradients: compiled for a CPU in float32, plain PyTorch everywhere else.

Weights are frozen, so gradients are with respect to activations alone. Letters: n heads of all rows, T positions.
"""

import functools
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@functools.cache
def _compiled() -> ModuleType:
    from saebook.subject import compiled  # it takes a second to import, which opening a page need not

    return compiled


def _fast(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)


def gelu_tanh(x: Tensor) -> Tensor:
    """The tanh form of GELU (GPT-2's "gelu_new"); bfloat16 is answered in float32."""
    if not _fast(x):
        return F.gelu(x, approximate="tanh")
    x = x.float().contiguous()
    if torch.is_grad_enabled() and x.requires_grad:
        return _GELU.apply(x)
    y = torch.empty_like(x)
    _compiled().gelu(_flat(x), _flat(y))
    return y


class _GELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y, slope = torch.empty_like(x), torch.empty_like(x)
        _compiled().gelu_and_slope(_flat(x), _flat(y), _flat(slope))
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor):
        return ctx.saved_tensors[0].mul_(grad)  # a graph is gone through once; a second time is an error


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention [n, T, E] of queries, keys and values [n, T, E], with every score [n, T, T] in memory.

    Products run in the dtype of `q`, the softmax in float32 at least.
    """
    return _Attention.apply(q, k, v)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        shares = causal_softmax(torch.bmm(q, k.transpose(1, 2)), q.shape[-1] ** -0.5).to(q.dtype)
        ctx.save_for_backward(q, k, v, shares)
        return torch.bmm(shares, v)

    @staticmethod
    def backward(ctx, grad: Tensor):
        q, k, v, shares = ctx.saved_tensors
        g = causal_softmax_gradient(shares, torch.bmm(grad, v.transpose(1, 2)), q.shape[-1] ** -0.5)
        return torch.bmm(g, k), torch.bmm(g.transpose(1, 2), q), torch.bmm(shares.transpose(1, 2), grad)


def causal_softmax(scores: Tensor, scale: float) -> Tensor:
    """Softmax of `scale` * `scores` [n, T, T] over each position and those before it. May overwrite `scores`."""
    if not _fast(scores):
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        return (scores * scale).masked_fill(future, float("-inf")).softmax(-1)
    scores = scores.float()
    _compiled().causal_softmax(scores.numpy(), np.float32(scale))
    return scores


def causal_softmax_gradient(shares: Tensor, grad: Tensor, scale: float) -> Tensor:
    """The gradient in the scores [n, T, T], from `grad`, that in their `causal_softmax`. May overwrite `grad`."""
    if not (_fast(shares) and shares.dtype is torch.float32):
        return scale * shares * (grad - (shares * grad).sum(-1, keepdim=True))
    _compiled().causal_softmax_gradient(shares.numpy(), grad.numpy(), np.float32(scale))
    return grad


def exponentials(logits: Tensor, top: Tensor, mass: Tensor) -> Tensor:
    """e^(`logits` [N, V] - `top` [N, 1]), whose sums over V are added to `mass` [N, 1]. Overwrites `logits`."""
    if not (_fast(logits) and logits.dtype is torch.float32):
        weights = logits.sub_(top).exp_()
        mass.add_(weights.sum(1, keepdim=True))
        return weights
    _compiled().exponentials(logits.numpy(), top[:, 0].numpy(), mass[:, 0].numpy())
    return logits


def _flat(x: Tensor) -> np.ndarray:
    return x.view(-1).numpy()
