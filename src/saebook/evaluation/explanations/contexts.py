"""Places in a text where latents fire: the strongest ones, and others drawn at random.

Letters: N rows, T positions, D d_in, B tokens, m latents that are looked at, C places.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from saebook.sae.base import SAEStack

Code = Callable[[Tensor], Tensor]  # activations [B, D] -> values [B, m] of the latents that are looked at
_CELLS = {"cpu": 2**21, "cuda": 2**27}  # numbers in the codes [B, d_sae] of one batch


@dataclass(frozen=True)
class Contexts:
    """C places: which of the m latents fires, `latent` [C], where, `row` and `position` [C], and how strongly, `value` [C]."""

    latent: Tensor
    row: Tensor
    position: Tensor
    value: Tensor

    def __len__(self) -> int:
        return len(self.latent)

    @classmethod
    def joined(cls, parts: list["Contexts"]) -> "Contexts":
        """All of them in one, in the order of their latents."""
        each = (torch.cat(tensors) for tensors in zip(*(vars(part).values() for part in parts), strict=True))
        whole = cls(*each)
        order = whole.latent.argsort(stable=True)
        return cls(*(tensor[order] for tensor in vars(whole).values()))


def code_of(sae: SAEStack, latents: Tensor) -> Code:
    """Activations to the values of `latents` [m] of a stack of one. The SAE computes all of them: TopK has to rank them."""
    return lambda x: sae.encode(sae.prepare(x)[0])[0][:, latents]


def rows_at_once(x: Tensor, width: int) -> int:
    """How many rows of activations `x` [N, T, D] to encode together with `width` latents."""
    return max(1, _CELLS.get(x.device.type, _CELLS["cpu"]) // (x.shape[1] * width))


@torch.inference_mode()
def firing(x: Tensor, code: Code, width: int, strongest: int, drawn: int, skip: int, seed: int) -> Contexts:
    """For each latent the `strongest` places, at most one in a row of text, and up to `drawn` others of its positive activations.

    `x` [N, T, D] are the activations of a text, `width` is d_sae. Every positive activation is as likely to be drawn as any
    other. A latent that fires at fewer places has fewer; the first `skip` positions do not count.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    peaks, draws = [], []
    for part in x[:, skip:].split(rows_at_once(x, width)):
        f = code(part.flatten(0, 1)).unflatten(0, part.shape[:2])
        peaks.append(f.max(1))
        flat = f.flatten(0, 1)
        keys = torch.rand(flat.shape, generator=generator, device=f.device).mul_(flat > 0)
        keys, at = keys.topk(min(drawn, len(flat)), 0)
        draws.append((keys, at, flat.gather(0, at)))
    length, begins = x.shape[1] - skip, _begins([len(part[0]) for part in peaks])
    values, positions = (torch.cat([peak[i] for peak in peaks]) for i in range(2))
    top, rows = values.topk(min(strongest, len(values)), 0)
    keys, at, drawn_values = (torch.cat([draw[i] for draw in draws]) for i in range(3))
    offset = torch.cat([torch.full_like(draw[1], begin * length) for draw, begin in zip(draws, begins, strict=True)])
    keys, chosen = keys.topk(min(drawn, len(keys)), 0)
    place = (at + offset).gather(0, chosen)
    return Contexts.joined(
        [
            _contexts(top, rows, positions.gather(0, rows) + skip),
            _contexts(drawn_values.gather(0, chosen), place // length, place % length + skip),
        ]
    )


def _begins(counts: list[int]) -> list[int]:
    return [sum(counts[:i]) for i in range(len(counts))]


def _contexts(values: Tensor, rows: Tensor, positions: Tensor) -> Contexts:
    """From [n, m] each, those that fire."""
    fires = values > 0
    latent = torch.arange(values.shape[1], device=values.device).expand_as(values)
    return Contexts(latent[fires], rows[fires], positions[fires], values[fires])
