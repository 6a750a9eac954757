"""The nearest latents in another dictionary, by the cosine of their decoder rows. Letters: n and m latents, D width, k neighbours."""

import torch
from torch import Tensor

_ROWS = 4096  # latents compared at one time


def nearest(
    one: Tensor, other: Tensor, among: Tensor, count: int, without: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """For each row of `one` [n, D] the `count` rows of `other` [m, D] with the largest cosines: cosines and indices [n, k].

    Only rows in `among`, indices [a], count, for row i without `without[i]`: itself, where a dictionary is compared with itself.
    Where there are fewer, k is smaller.
    """
    a = torch.nn.functional.normalize(one, dim=1)
    b = torch.nn.functional.normalize(other[among], dim=1)
    k, best = min(count, len(b) - (without is not None)), []
    for first in range(0, len(a), _ROWS):
        cosines = a[first : first + _ROWS] @ b.T
        if without is not None:
            cosines[among == without[first : first + _ROWS, None]] = -torch.inf
        best.append(cosines.topk(k))
    return torch.cat([top.values for top in best]), among[torch.cat([top.indices for top in best])]


def random_directions(count: int, width: int, seed: int) -> Tensor:
    """`count` directions [count, width] drawn evenly from the sphere: how near a neighbour is by chance."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, width, generator=generator), dim=1)
