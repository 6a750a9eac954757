"""Adam (Kingma & Ba 2015) for a stack of SAEs, with the constraint on decoder rows in the same pass.

Order of a step, after Bricken et al. 2023: the decoder's gradient loses its part along each row, all gradients of a member
are clipped together, Adam moves the weights, decoder rows go back to norm one. `member` does this on a CPU for one member
by compiled loops, without a gradient in memory where it is a sum over active latents. `stack` does it for all members in
plain PyTorch, on any device, from `.grad`; the tests hold the two together.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saebook.sae.base import SAEStack
from saebook.sae.kernels import numba_entries, threads
from saebook.sae.kernels.active import Entries, Source, rows_of
from saebook.sae.losses import MemberGradients

_NO_ENTRIES = np.empty(0, np.int32)
_NS_UPDATE, _NS_PROJECT = 1.5, 0.3  # nanoseconds a number, roughly: `threads.ranges` asks


@dataclass(frozen=True)
class Rate:
    """Adam's settings at one step: `lr`, the number of the `step`, from 1, and the decay rates of the moments."""

    lr: float
    step: int
    beta1: float
    beta2: float
    eps: float

    def packed(self, dtype: torch.dtype) -> np.ndarray:
        """The numbers that `numba_entries.update` takes."""
        root = 1 / math.sqrt(1 - self.beta2**self.step)
        numbers = [self.lr / (1 - self.beta1**self.step), self.beta1, self.beta2, root, self.eps]
        return np.array(numbers, np.float64 if dtype == torch.float64 else np.float32)


class Adam:
    """The moments of every parameter of `stack`, and the steps that use them."""

    def __init__(self, stack: SAEStack):
        self.sae = stack
        self._views: dict[tuple[int, str], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self.moments = {
            name: (torch.zeros_like(p, requires_grad=False), torch.zeros_like(p, requires_grad=False))
            for name, p in stack.named_parameters()
        }

    @torch.no_grad()
    def member(self, i: int, gradients: MemberGradients, rate: Rate, clip_norm: float | None = None) -> None:
        """One step of member i, on a CPU. `clip_norm` is the largest norm that its gradient may have."""
        factor, updates, adam = 1.0, {}, rate.packed(self.sae.W_dec.dtype)
        if clip_norm:
            updates = {name: self._dense(name, rows, i) for name, rows in gradients.matrices.items()}
            squares = sum(float(one.square().sum()) for one in (*updates.values(), *gradients.vectors.values()))
            factor = min(1.0, clip_norm / max(math.sqrt(squares), 1e-12))
        loops = []
        for name, rows in gradients.matrices.items():
            W, m, v = self._rows(name, i)
            unit, sources = name == "W_dec" and self.sae.unit_rows, _sources(rows)
            if clip_norm or not sources:
                g = updates[name] if clip_norm else self._dense(name, rows, i)
                loop = functools.partial(numba_entries.update, g.numpy(), W, m, v, factor, unit, adam)
            else:
                loop = functools.partial(
                    numba_entries.update_by_entries, *sources, W, m, v, name == "W_dec", unit, adam
                )
            loops.append(loop)

        def all_loops(first: int, last: int) -> None:
            for loop in loops:
                loop(first, last)

        threads.ranges(all_loops, self.sae.d_sae, len(loops) * self.sae.W_dec[i].numel() * _NS_UPDATE)
        for name, vector in gradients.vectors.items():
            numba_entries.update(vector.numpy()[None], *self._rows(name, i), factor, False, adam, 0, 1)

    def _dense(self, name: str, rows: Tensor | list[Source], i: int) -> Tensor:
        """The gradient [M, D] of a matrix, projected if it is the decoder's."""
        gradient, W = rows_of(rows), self.sae.W_dec[i]
        if name == "W_dec":
            g, w = gradient.numpy(), W.numpy()
            threads.ranges(functools.partial(numba_entries.project, g, w), len(w), w.size * _NS_PROJECT)
        return gradient

    def _rows(self, name: str, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Views of member i's parameter and its moments, as rows [M, D] by latent, a vector as one row."""
        if (i, name) not in self._views:
            tensors = (tensor[i].detach() for tensor in (getattr(self.sae, name), *self.moments[name]))
            rows = (t[None] if t.ndim == 1 else self.sae.latent_rows(t, name) for t in tensors)
            W, m, v = (t.numpy() for t in rows)
            self._views[i, name] = W, m, v
        return self._views[i, name]

    @torch.no_grad()
    def stack(self, rate: Rate, clip_norm: float | None = None) -> None:
        """One step of every member from `.grad`, in plain PyTorch."""
        self.sae.constrain_gradient()
        if clip_norm:
            self._clip(clip_norm)
        first, second = 1 - rate.beta1**rate.step, 1 - rate.beta2**rate.step
        for name, p in self.sae.named_parameters():
            assert p.grad is not None
            m, v = self.moments[name]
            m.lerp_(p.grad, 1 - rate.beta1)
            v.mul_(rate.beta2).addcmul_(p.grad, p.grad, value=1 - rate.beta2)
            p.addcdiv_(m, (v / second).sqrt_().add_(rate.eps), value=-rate.lr / first)
        self.sae.constrain_weights()

    def _clip(self, most: float) -> None:
        """Each member's gradient by itself: a stack must not couple its members."""
        gradients = [p.grad for p in self.sae.parameters() if p.grad is not None]
        norms = functools.reduce(torch.add, (g.flatten(1).square().sum(1) for g in gradients)).sqrt()
        factors = (most / norms.clamp_min(1e-12)).clamp_max(1.0)
        for g in gradients:
            g.mul_(factors.view(-1, *[1] * (g.ndim - 1)))

    def forget(self, i: int, latents: Tensor) -> None:
        """Reset the moments of `latents` [n] of member i."""
        for name, axis in self.sae.latent_slices().items():
            for moment in self.moments.get(name, ()):
                moment[i].index_fill_(axis - 1, latents, 0.0)

    def state(self) -> dict:
        """What a checkpoint must keep."""
        return dict(self.moments)

    def restore(self, state: dict) -> None:
        """Go back to a `state`."""
        for name, kept in state.items():
            for moment, before in zip(self.moments[name], kept, strict=True):
                moment.copy_(before)


def _sources(rows: Tensor | list[Source]) -> tuple[tuple, tuple] | None:
    """One or two sources as `numba_entries.update_by_entries` takes them; None where there are more, or the gradient is dense."""
    if isinstance(rows, Tensor) or len(rows) > 2:
        return None
    entries = [
        (*s.active.by_latent(), s.values.numpy(), s.table.numpy()) for s in rows if isinstance(s.active, Entries)
    ]
    if len(entries) < len(rows):
        return None
    (starts, _, *rest), *others = entries
    return entries[0], others[0] if others else (starts, _NO_ENTRIES, *rest)
