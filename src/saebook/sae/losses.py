"""What a training step of SAEs gives: losses, and one member's gradients. Letters: S members, B tokens, D width, M latents."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from saebook.sae.kernels.active import Source


@dataclass
class MemberGradients:
    """The gradients of one member's loss, with its `terms`, and how many of the batch's tokens each latent is active in (`counts` [M]).

    `matrices`: by parameter, rows [M, D] latent by latent, as such or as the sources that they add up to; `vectors`: the
    rest. A gradient of `W_dec` may have a part along its row, on which nothing depends.
    """

    terms: dict[str, Tensor]
    counts: Tensor
    matrices: dict[str, Tensor | list[Source]]
    vectors: dict[str, Tensor]

    @property
    def fired(self) -> Tensor:
        """Which latents were active at all [M]."""
        return self.counts > 0

    def l0(self, batch: int) -> Tensor:
        """Active latents a token, of a `batch` of so many."""
        return self.counts.sum().to(self.vectors["b_dec"].dtype) / batch


@dataclass
class Losses:
    """Batch means per member: `total` [S], its `terms` [S] each, `l0` [S], and which latents `fired` [S, M]."""

    total: Tensor
    terms: dict[str, Tensor]
    l0: Tensor
    fired: Tensor

    @classmethod
    def of(cls, terms: dict[str, Tensor], active: Tensor) -> "Losses":
        """The losses whose `terms` [S] add up to the total, with the latents that are `active` [S, B, M]."""
        total = functools.reduce(torch.add, terms.values())
        return cls(total, terms, active.sum(-1).to(total.dtype).mean(-1), active.any(1))

    @classmethod
    def of_members(cls, parts: list[MemberGradients], batch: int) -> "Losses":
        """The losses of members whose gradients were taken one by one, on `batch` tokens."""
        terms = {name: torch.stack([part.terms[name] for part in parts]) for name in parts[0].terms}
        total = functools.reduce(torch.add, terms.values())
        l0 = torch.stack([part.l0(batch) for part in parts])
        return cls(total, terms, l0, torch.stack([part.fired for part in parts]))

    def detached(self) -> "Losses":
        """The same numbers, without their graph."""
        terms = {name: term.detach() for name, term in self.terms.items()}
        return Losses(self.total.detach(), terms, self.l0.detach(), self.fired)


def sum_of_squares(x: Tensor) -> Tensor:
    """The sum of x^2 over all of `x`, which is contiguous, without a copy."""
    return torch.dot(x.view(-1), x.view(-1))
