"""Muon (Jordan 2024) for matrices, with its orthogonalisation in the parameters' own precision.

`torch.optim.Muon` orthogonalises in bfloat16. A processor without bfloat16 products takes tens of times as long for that as for
single precision: more time than for the gradients themselves.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

# Jordan's coefficients: steep at zero, and singular values end between 0.7 and 1.2.
_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """About U V^T of the singular value decomposition U S V^T of `matrix` [m, n], by Newton-Schulz iterations."""
    a, b, c = _QUINTIC
    x = matrix.T if len(matrix) > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if len(matrix) > matrix.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised: a step is about `lr` sqrt(max(1, m / n)) long in every singular direction of [m, n]."""

    def __init__(self, matrices: Iterable[Tensor], lr: float, weight_decay: float, momentum: float = 0.95):
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                average = state.setdefault("momentum_buffer", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["momentum"])
                step = orthogonalised(p.grad.lerp(average, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(step, alpha=-group["lr"] * math.sqrt(max(1, p.shape[0] / p.shape[1])))
