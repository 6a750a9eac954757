"""All positive activations of an SAE on a text, from one pass over its tokens: density, histogram and windows are read from them.

Only what fires is kept, twelve bytes each, so that memory is a matter of L0 and not of d_sae. Letters: N rows, T positions,
M d_sae, m latents that are looked at, C positive activations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from saebook.common.progress import bar
from saebook.evaluation.explanations.contexts import rows_at_once
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

_ROWS = 32  # rows of text whose activations exist at one time


@dataclass(frozen=True)
class Firings:
    """C positive activations of m latents on rows [N, T], in the order of latent, row and position.

    `place` [C] is (latent * N + row) * T + position, and `value` [C] how strong each is. `latents` is m, `rows` N, `length` T,
    and `tokens` the number of tokens that count.
    """

    place: Tensor
    value: Tensor
    latents: int
    rows: int
    length: int
    tokens: int

    @property
    def latent(self) -> Tensor:
        """Which latent fires [C]."""
        return self.place // (self.rows * self.length)

    @property
    def row(self) -> Tensor:
        """In which row [C]."""
        return self.place // self.length % self.rows

    @property
    def position(self) -> Tensor:
        """At which position of the row [C]."""
        return self.place % self.length

    def counts(self) -> Tensor:
        """How often each latent fires [m]."""
        return torch.bincount(self.latent, minlength=self.latents)

    def density(self) -> Tensor:
        """The share of tokens on which each latent fires [m]."""
        return self.counts() / self.tokens

    def largest(self) -> Tensor:
        """The largest activation of each latent [m]; 0 where it never fires."""
        return self.value.new_zeros(self.latents).scatter_reduce(0, self.latent, self.value, "amax")

    def of(self, chosen: Tensor) -> "Firings":
        """The same of some latents alone, `chosen` [k] without repetition, which are then numbered in that order."""
        number = self.place.new_full((self.latents,), -1)
        number[chosen] = torch.arange(len(chosen), device=number.device)
        latent = number[self.latent]
        kept = latent >= 0
        rest = self.place[kept] % (self.rows * self.length)
        place = latent[kept] * (self.rows * self.length) + rest
        return _ordered(place, self.value[kept], len(chosen), self.rows, self.length, self.tokens)


@torch.inference_mode()
def firings(subject: Subject, site: Site, saes: Sequence[SAEStack], rows: Tensor, skip: int) -> list[Firings]:
    """The positive activations of each of `saes`, stacks of one, on `rows` [N, T]; the first `skip` positions do not count.

    The text goes through the subject once for all of them.
    """
    n, t = rows.shape
    places: list[list[Tensor]] = [[] for _ in saes]
    values: list[list[Tensor]] = [[] for _ in saes]
    with bar(n, "reading", "row") as progress:
        for first in range(0, n, _ROWS):
            x = subject.activations(rows[first : first + _ROWS], site)[:, skip:]
            for i, sae in enumerate(saes):
                at = first
                for part in x.split(rows_at_once(x, sae.d_sae)):
                    place, value = _positive(sae, part, at, n, t, skip)
                    places[i].append(place)
                    values[i].append(value)
                    at += len(part)
            progress.update(len(x))
    tokens = n * (t - skip)
    every = zip(places, values, saes, strict=True)
    return [_ordered(torch.cat(place), torch.cat(value), sae.d_sae, n, t, tokens) for place, value, sae in every]


def _positive(sae: SAEStack, x: Tensor, first: int, n: int, t: int, skip: int) -> tuple[Tensor, Tensor]:
    """Place and value of what fires on activations `x` [r, T - skip, D] of the rows from `first` on."""
    f = sae.encode(sae.prepare(x.flatten(0, 1))[0])[0]
    token, latent = (f > 0).nonzero(as_tuple=True)
    row, position = first + token // x.shape[1], skip + token % x.shape[1]
    return (latent * n + row) * t + position, f[token, latent]


def _ordered(place: Tensor, value: Tensor, latents: int, n: int, t: int, tokens: int) -> Firings:
    order = place.argsort()
    return Firings(place[order], value[order], latents, n, t, tokens)


def histogram(of: Firings, bins: int) -> Tensor:
    """How often each latent fires with which strength [m, bins], in equal steps from 0 to its own largest activation."""
    share = of.value / of.largest()[of.latent]
    step = (share * bins).long().clamp_(max=bins - 1)
    return torch.bincount(of.latent * bins + step, minlength=of.latents * bins).view(of.latents, bins)
