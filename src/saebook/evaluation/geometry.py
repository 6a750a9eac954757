"""Similarity of the directions of two dictionaries (e2e paper, section 3.3)."""

import torch
from torch import Tensor

_ROWS = 4096  # elements compared at one time


def max_cosine(one: Tensor, other: Tensor | None = None) -> Tensor:
    """For each row of `one` [n, D] the largest cosine [n] with a row of `other` [m, D]; within `one`, itself left out."""
    a = torch.nn.functional.normalize(one, dim=1)
    b = a if other is None else torch.nn.functional.normalize(other, dim=1)
    largest = []
    for first in range(0, len(a), _ROWS):
        cosines = a[first : first + _ROWS] @ b.T
        if other is None:
            inside = torch.arange(len(cosines), device=a.device)
            cosines[inside, first + inside] = -1.0
        largest.append(cosines.amax(1))
    return torch.cat(largest)
