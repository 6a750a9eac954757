"""What a training task is in every library: which batches it takes, what it reports.

A task says: kind (relu, gated, topk), d_in, d_sae, k, batch, seed, lr, penalty; with `file` the activations of a .npy file
in their order, the last `HELD_OUT` of them kept for reports, otherwise one planted batch again and again.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import planted
import torch
from torch import Tensor

HELD_OUT = 4096


class Batches:
    """The `start` of a task and its batches."""

    def __init__(self, task: dict[str, Any]):
        self.size, self.taken, file = task["batch"], 0, task.get("file")
        if file:
            self.start = planted.from_file(file, task["d_sae"], None, task["seed"])
            self._x, self.held_out = self.start.x[:-HELD_OUT], self.start.x[-HELD_OUT:]
        else:
            self.start = planted.start(*(task[name] for name in ("kind", "d_in", "d_sae", "k", "batch", "seed")))
            self._x = self.held_out = self.start.x

    def next(self) -> Tensor:
        """The next batch [B, D]."""
        first = self.taken * self.size % (len(self._x) // self.size * self.size)
        self.taken += 1
        return self._x[first : first + self.size]

    def report(self, read: Callable[[Tensor], tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Normalised error and L0 on the held-out activations; `read` gives latents [B, M] and reconstructions [B, D]."""
        x = self.held_out
        with torch.no_grad():
            parts = [read(part) for part in x.split(1024)]
        xhat = torch.cat([part[1].float() for part in parts])
        active = sum(float((part[0] > 0).sum()) for part in parts)
        nmse = float((xhat - x).square().sum() / (x - x.mean(0)).square().sum())
        return {"normalised_mse": nmse, "l0": active / len(x), "checksum": float(x.double().sum())}


def quality(saes: list[tuple[Callable, Callable]], task: dict[str, Any]) -> dict[str, float]:
    """Mean normalised error and L0 of several SAEs of raw activations, given as (encode, decode), on the last activations."""
    x = torch.from_numpy(np.load(task["activations"], mmap_mode="r")[-HELD_OUT:].copy())
    spread, errors, active = (x - x.mean(0)).square().sum(), [], []
    with torch.no_grad():
        for encode, decode in saes:
            f = encode(x)
            errors.append(float((decode(f).view_as(x) - x).square().sum() / spread))
            active.append(float((f > 0).sum()) / len(x))
    return {"normalised_mse": sum(errors) / len(errors), "l0": sum(active) / len(active), "l0_high": max(active)}


def batch_of(rows: Tensor, number: int, count: int) -> Tensor:
    """Batch `number` of `count` rows of text [count, T], again from the beginning after the last."""
    first = number % (len(rows) // count) * count
    return rows[first : first + count]


def raw_start(task: dict[str, Any], seed: int) -> tuple[planted.Start, float]:
    """A start at the sparsity k on scaled activations, and the scale that divides its biases for raw ones."""
    x = np.load(task["activations"], mmap_mode="r")
    scale = float(np.sqrt(x.shape[1] / np.square(x, dtype=np.float64).sum(1).mean()))
    return planted.from_file(task["activations"], task["d_sae"], task["k"], seed), scale
