"""What the tensors of a new stack hold: random unit directions, or nothing yet. Letters: S members, D d_in, M d_sae."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Stack = TypeVar("Stack", bound=nn.Module)


def directions(
    seeds: Sequence[int], d_sae: int, d_in: int, device: str | torch.device, dtype: torch.dtype
) -> Tensor:  # fmt: skip
    """Random unit rows [S, M, D], those of each seed its own. On the device "meta", which keeps no numbers, none are drawn."""
    if torch.device(device).type == "meta":
        return torch.empty(len(seeds), d_sae, d_in, device=device, dtype=dtype)
    return torch.stack([_unit_rows(seed, d_sae, d_in) for seed in seeds]).to(device, dtype)


def _unit_rows(seed: int, *shape: int) -> Tensor:
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def unfilled(stack: Callable[..., Stack], *shared, device: str | torch.device = "cpu", **options) -> Stack:
    """A `stack` made of the other arguments, for tensors from elsewhere: laid out as a new one's, and nothing is drawn.

    Its tensors hold no numbers yet, so fill them all, buffers and constants too.
    """
    with torch.device("meta"):  # also for what a constructor makes on no stated device
        made = stack(*shared, device="meta", **options)
    # What `to_empty` does, whose `empty_like` makes PyTorch import its compiler: 0.3 s in a process that has not yet.
    return made._apply(lambda t: torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=device))
