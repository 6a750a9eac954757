"""The cross-entropy of a language model whose unembedding is its embedding, without all logits in memory.

Letters: N positions, D d_model, V vocabulary.
"""

import torch
from torch import Tensor

_CHUNK = 512  # positions whose logits exist at one time: 8 MB at V 4096, so that they stay in the processor's cache


class _TiedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of `hidden @ weight.T` that never holds all logits; the forward pass computes both gradients."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        count = len(hidden)
        d_hidden, d_weight, total = torch.empty_like(hidden), torch.zeros_like(weight), hidden.new_zeros(())
        for first in range(0, count, _CHUNK):
            part = slice(first, first + _CHUNK)
            logits = hidden[part] @ weight.T
            norm = logits.logsumexp(1, keepdim=True)
            total += (norm - logits.gather(1, targets[part, None])).sum()
            probabilities = logits.sub_(norm).exp_().div_(count)
            probabilities.scatter_add_(1, targets[part, None], probabilities.new_full((len(norm), 1), -1 / count))
            torch.mm(probabilities, weight, out=d_hidden[part])
            d_weight.addmm_(probabilities.T, hidden[part])
        ctx.save_for_backward(d_hidden, d_weight)
        return total / count

    @staticmethod
    def backward(ctx, grad: Tensor):
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * grad, d_weight * grad, None


def tied_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean CE of a tied head. `hidden` [N, D], `weight` [V, D], `targets` [N]; equals `F.cross_entropy(hidden @ weight.T, targets)`."""
    return _TiedCrossEntropy.apply(hidden, weight, targets)
