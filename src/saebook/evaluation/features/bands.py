"""Windows of text around places where latents fire: the strongest ones, ones of middle strength, and ones drawn at random.

The strongest places alone make most latents look clearer than they are, since a latent mostly fires weakly.
Letters: N rows, T positions, m latents, C positive activations, K places that are shown.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from saebook.evaluation.features.firings import Firings

BANDS = ("top", "middle", "random")
_THIRDS = (1 / 3, 2 / 3)  # of the largest activation: what counts as of middle strength
_BEFORE = 2 / 3  # of a window, the share that stands before the token at which the latent fires


@dataclass(frozen=True)
class Windows:
    """K windows of text, in the order in which they are shown: `latent` [K], `row` [K], `start` [K] and `peak` [K], the position of
    the token that the window was chosen for. Window i holds the activations `first[i]` to `last[i]` of the firings.
    """

    latent: Tensor
    row: Tensor
    start: Tensor
    peak: Tensor
    first: Tensor
    last: Tensor


def band(of: Firings, name: str, count: int, seed: int) -> Tensor:
    """Up to `count` places of each latent, as indices [K] of the firings, by latent and in the order in which they are shown.

    `top`: the strongest, at most one in a row of text. `middle`: drawn at random from those between a third and two thirds of
    the latent's largest activation. `random`: drawn from all, each as likely as any other. Raises `KeyError` for another name.
    """
    generator = torch.Generator(of.value.device).manual_seed(seed)
    drawn = torch.rand(len(of.value), generator=generator, device=of.value.device)
    strength = of.value / of.largest()[of.latent]
    every = torch.arange(len(of.value), device=of.value.device)
    if name == "top":
        of_rows = _first(of.place // of.length, of.value, every, 1)
        return _first(of.latent, of.value, of_rows, count)
    kept = {"middle": every[(strength >= _THIRDS[0]) & (strength <= _THIRDS[1])], "random": every}[name]
    chosen = _first(of.latent, drawn, kept, count)
    return _first(of.latent, of.value, chosen, count)  # shown from the strongest on


def _first(group: Tensor, score: Tensor, kept: Tensor, count: int) -> Tensor:
    """Of the indices `kept` those of the `count` highest scores of each group, by group and from the highest on; ties in order."""
    order = kept[score[kept].argsort(descending=True, stable=True)]
    order = order[group[order].argsort(stable=True)]
    groups = group[order]
    new = torch.ones_like(groups, dtype=torch.bool)
    new[1:] = groups[1:] != groups[:-1]
    index = torch.arange(len(order), device=order.device)
    begin = torch.where(new, index, 0).cummax(0).values if len(order) else index
    return order[index - begin < count]


def windows(of: Firings, chosen: Tensor, length: int) -> Windows:
    """The window of `length` tokens around each of the `chosen` places [K]: two thirds of it before the token, where the row has them.

    A row that is shorter is shown whole.
    """
    length = min(length, of.length)
    place, peak = of.place[chosen], of.position[chosen]
    start = (peak - int(length * _BEFORE)).clamp(0, of.length - length)
    begin = place - peak + start  # the place of the window's first token
    ends = torch.stack([begin, begin + length])
    first, last = torch.searchsorted(of.place, ends)
    return Windows(of.latent[chosen], of.row[chosen], start, peak, first, last)
