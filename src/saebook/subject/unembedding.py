"""What the unembedding makes of hidden states, without a row of logits ever existing whole.

The vocabulary passes by in chunks, with a running maximum; every number is exact up to rounding. Letters: N tokens,
D d_model, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from saebook.subject import elementwise

# Tokens and vocabulary entries whose logits exist at one time: on a CPU they stay in its second cache.
CHUNK = {"cpu": (128, 1024), "cuda": (16_384, 4096)}


@dataclass(frozen=True)
class Unembedding:
    """Logits are h W_U + b_U, with W_U [D, V] and b_U [V], or None for no bias."""

    W_U: Tensor
    b_U: Tensor | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [N, V] of `hidden` [N, D]."""
        return hidden @ self.W_U if self.b_U is None else torch.addmm(self.b_U, hidden, self.W_U)

    def log_partition(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """log sum exp of the logits [N] of `hidden` [N, D], and the mean [N, D] of W_U under the predictions.

        The second is the gradient of the first.
        """
        lse, mean = hidden.new_empty(len(hidden)), torch.empty_like(hidden)
        for rows, part in self._pieces(hidden):
            sum_ = torch.zeros_like(part)
            top, mass = self._accumulated(part, sum_)
            lse[rows] = (mass.log() + top)[:, 0]
            torch.div(sum_, mass, out=mean[rows])
        return lse, mean

    def losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropies [N] in nats of `targets` [N] under the predictions of `hidden` [N, D]."""
        lse = hidden.new_empty(len(hidden))
        for rows, part in self._pieces(hidden):
            top, mass = self._accumulated(part, None)
            lse[rows] = (mass.log() + top)[:, 0]
        chosen = (hidden * self.W_U.T[targets]).sum(-1)
        return lse - (chosen if self.b_U is None else chosen + self.b_U[targets])

    def _pieces(self, hidden: Tensor) -> Iterator[tuple[slice, Tensor]]:
        tokens = CHUNK[hidden.device.type][0]
        for first in range(0, len(hidden), tokens):
            rows = slice(first, first + tokens)
            yield rows, hidden[rows]

    def _accumulated(self, part: Tensor, sum_: Tensor | None) -> tuple[Tensor, Tensor]:
        """The largest logit and sum of exponentials above it [n, 1] of each token; the same sum of W_U's columns into `sum_`."""
        entries = CHUNK[part.device.type][1]
        top, mass = part.new_full((len(part), 1), float("-inf")), part.new_zeros(len(part), 1)
        for begin in range(0, self.W_U.shape[1], entries):
            chunk = slice(begin, begin + entries)
            piece = Unembedding(self.W_U[:, chunk], None if self.b_U is None else self.b_U[chunk])
            logits = piece.logits(part)
            higher = torch.maximum(top, logits.amax(1, keepdim=True))
            shrink = (top - higher).exp_()
            weights = elementwise.exponentials(logits, higher, mass.mul_(shrink))
            if sum_ is not None:
                sum_.mul_(shrink).addmm_(weights, piece.W_U.T)
            top = higher
        return top, mass
