"""Token patterns as tries, one for each latent, and what they predict for a text.

A trie goes back from the last token of a pattern. To predict, each token of the text starts at the root of every latent and
walks back: an exact token is preferred to a wildcard, the first node that ends a pattern gives its value, and a walk that
gets nowhere gives zero. No walk turns back to try a wildcard after an exact token has led nowhere, as in the released code
of the Top-k paper. Letters: N rows, T positions, m latents, V vocabulary.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from saebook.evaluation.explanations.pruning import WILDCARD, Pattern

_NOWHERE = -1


@dataclass(frozen=True)
class Explanations:
    """Patterns of `latents` [m] (their numbers in the SAE), and what they predict.

    `largest` is the strongest activation of each latent in the text that the patterns come from. Of `places` in that text
    `unexplained` gave no pattern, since no suffix was short enough.
    """

    latents: tuple[int, ...]
    patterns: tuple[tuple[Pattern, ...], ...]
    largest: tuple[float, ...]
    vocabulary: int
    places: int = 0
    unexplained: int = 0

    @classmethod
    def of(
        cls, latents: Iterable[int], made: Iterable[tuple[int, Pattern]], largest: Iterable[float], vocabulary: int, places: int = 0
    ) -> "Explanations":  # fmt: skip
        """From patterns in any order, each with its latent's place among `latents`. Equal ones become one, of their mean value."""
        latents = tuple(latents)
        values: list[dict[tuple[int, ...], list[float]]] = [{} for _ in latents]
        count = 0
        for latent, pattern in made:
            values[latent].setdefault(pattern.tokens, []).append(pattern.value)
            count += 1
        merged = tuple(
            tuple(Pattern(tokens, math.fsum(each) / len(each)) for tokens, each in of_latent.items())
            for of_latent in values
        )
        return cls(latents, merged, tuple(largest), vocabulary, places, max(0, places - count))

    @property
    def share_unexplained(self) -> float:
        """The share of places that gave no pattern; NaN where no latent fires."""
        return self.unexplained / self.places if self.places else math.nan

    @torch.inference_mode()
    def predict(self, tokens: Tensor) -> Tensor:
        """Activations [N, T, m] that the patterns predict for `tokens` [N, T]; zero where none matches."""
        trie, flat, width = self._trie.to(tokens.device), tokens.flatten(), tokens.shape[1]
        predicted = torch.zeros(len(flat), len(self.latents), device=tokens.device)
        first = trie.first[:, flat]
        latent, at = (first >= 0).nonzero().unbind(1)
        node, back = first[latent, at].long(), 0
        while len(node):
            value = trie.values[node]
            ends = value.isfinite()
            predicted[at[ends], latent[ends]] = value[ends]
            back += 1
            goes_on = ~ends & (at % width >= back)
            node, latent, at = node[goes_on], latent[goes_on], at[goes_on]
            node = trie.step(node, flat[at - back])
            on = node >= 0
            node, latent, at = node[on], latent[on], at[on]
        return predicted.view(*tokens.shape, -1)

    @cached_property
    def _trie(self) -> "_Trie":
        edges: dict[tuple[int, int], int] = {}
        values: list[float] = [math.nan] * len(self.latents)  # the roots come first
        for root, of_latent in enumerate(self.patterns):
            for pattern in of_latent:
                node = root
                for token in reversed(pattern.tokens):
                    child = edges.setdefault((node, token), len(values))
                    if child == len(values):
                        values.append(math.nan)
                    node = child
                values[node] = pattern.value
        return _Trie.of(edges, values, len(self.latents), self.vocabulary)


@dataclass(frozen=True)
class _Trie:
    """All tries as tensors: the node that a token leads to from each root, `first` [m, V]; further edges by sorted `keys`;
    the wildcard's edge of each node, `any`; and the values of nodes that end a pattern, else NaN."""

    first: Tensor
    keys: Tensor
    children: Tensor
    any: Tensor
    values: Tensor
    vocabulary: int

    @classmethod
    def of(cls, edges: dict[tuple[int, int], int], values: list[float], roots: int, vocabulary: int) -> "_Trie":
        wild = torch.full((len(values),), _NOWHERE, dtype=torch.long)
        for (node, token), child in edges.items():
            if token == WILDCARD:
                wild[node] = child
        exact = sorted(
            (node * vocabulary + token, child) for (node, token), child in edges.items() if token != WILDCARD
        )
        keys, children = torch.tensor(exact, dtype=torch.long).view(-1, 2).unbind(1)
        first = wild[:roots, None].int().repeat(1, vocabulary)
        of_roots = keys < roots * vocabulary
        first.view(-1)[keys[of_roots]] = children[of_roots].int()
        return cls(first, keys.contiguous(), children.contiguous(), wild, torch.tensor(values), vocabulary)

    def to(self, device: torch.device) -> "_Trie":
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **tensors)

    def step(self, node: Tensor, token: Tensor) -> Tensor:
        """The nodes [n] that `token` [n] leads to from `node` [n]: by an exact edge, else by the wildcard's, else nowhere."""
        if not len(self.keys):
            return self.any[node]
        key = node * self.vocabulary + token
        place = torch.searchsorted(self.keys, key).clamp_max_(len(self.keys) - 1)
        return torch.where(self.keys[place] == key, self.children[place], self.any[node])
