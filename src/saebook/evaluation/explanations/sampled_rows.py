"""Rows of text to explain latents by: drawn from the training text, and with their tokens in a random order as a control."""

import numpy as np
import torch
from torch import Tensor

from saebook.subject.model import Subject


def training_rows(subject: Subject, source: str, length: int, count: int, seed: int) -> Tensor:
    """Up to `count` rows [N, length] of the training text of `source`, drawn at random; the same ones for the same `seed`."""
    rows = subject.rows(source, "train", length)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])
    return torch.from_numpy(np.asarray(rows[chosen]).astype(np.int64)).to(subject.device)


def shuffled(rows: Tensor, seed: int) -> Tensor:
    """The tokens of each of `rows` [N, T] in a random order: no token has its context any more."""
    order = torch.rand(rows.shape, generator=torch.Generator().manual_seed(seed)).argsort(1)
    return rows.gather(1, order.to(rows.device))
