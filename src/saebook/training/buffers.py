"""Batches for training: of a subject's activations, or of whole rows of text held at a site.

Activations come in blocks: some thousand rows of text are run through the subject, mixed, and cut into batches. Rows stay
whole where a loss looks at what the subject makes of a reconstruction. Either way a batch is a function of the seed and its
number alone. Letters: B tokens in a batch, D d_in, T positions.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.subject.model import Site, Subject
from saebook.training.objectives import Reference

_SUBJECT_ROWS = 64  # rows a pass of the subject


class ActivationBuffer:
    """Batches [B, D] of a subject's activations at a site, scaled so that E||x||^2 = D, in an order fixed by `seed`.

    `rows` [N, T] are tokens, whose first `skip` positions are left out; `block` rows are mixed at a time. Raises `UserError`
    when a block does not fill one batch.
    """

    def __init__(
        self,
        subject: Subject,
        site: Site,
        rows: np.ndarray,
        batch: int,
        seed: int = 0,
        skip: int = 0,
        block: int = 1024,
    ):
        self.subject, self.site, self.rows, self.batch = subject, site, rows, batch
        self.seed, self.skip, self.block = seed, skip, min(block, len(rows))
        self.per_block = self.block * (rows.shape[1] - skip) // batch
        if self.per_block < 1:
            raise UserError(
                f"{self.block} rows of text do not fill one batch of {batch}: give more text or a smaller batch"
            )
        self._first = self._activations(0)
        self.scale = float((self.site.d_in / self._first.square().sum(1).mean()).sqrt())

    def sample(self, count: int) -> Tensor:
        """Up to `count` scaled activations [n, D] of the first block, for initialisation."""
        return self._first[:count] * self.scale

    def batches(self, start: int, steps: int) -> Iterator[Tensor]:
        """Batches [B, D] with the numbers from `start` up to `steps`, that one left out."""
        for block in range(start // self.per_block, math.ceil(steps / self.per_block)):
            x = (self._first if block == 0 else self._activations(block)) * self.scale
            first = block * self.per_block
            for step in range(max(start, first), min(steps, first + self.per_block)):
                yield x[(step - first) * self.batch : (step - first + 1) * self.batch]

    def _activations(self, block: int) -> Tensor:
        """The mixed activations [n, D] of one block; blocks run through the text in a new order every pass."""
        per_pass = len(self.rows) // self.block
        order = np.random.default_rng([self.seed, block // per_pass]).permutation(len(self.rows))
        chosen = np.sort(order[block % per_pass * self.block :][: self.block])
        tokens = torch.from_numpy(self.rows[chosen].astype(np.int64))
        parts = [
            self.subject.activations(t, self.site)[:, self.skip :].flatten(0, 1) for t in tokens.split(_SUBJECT_ROWS)
        ]
        mix = np.random.default_rng([self.seed, block, 1]).permutation(sum(map(len, parts)))
        return torch.cat(parts)[torch.from_numpy(mix).to(parts[0].device)].clone()


class RowBuffer:
    """Batches of whole rows, `batch` tokens in all; every pass over the text has its own order. A batch is a `Reference`.

    Raises `UserError` when `batch` is not a whole number of rows, or more than there are.
    """

    scale = 1.0  # activations as they are: the weights of an objective are in their units

    def __init__(self, subject: Subject, site: Site, rows: np.ndarray, batch: int, seed: int = 0):
        self.subject, self.site, self.rows, self.batch, self.seed = subject, site, rows, batch, seed
        self.count = batch // rows.shape[1]
        if batch % rows.shape[1] or not 0 < self.count <= len(rows):
            raise UserError(
                f"a batch of {batch} tokens must be a whole number of rows of {rows.shape[1]} tokens, at most {len(rows)} rows"
            )

    def sample(self, count: int) -> Tensor:
        """At least `count` activations [n, D] of the first batches, as far as there are, for initialisation."""
        batches = min(math.ceil(count / self.batch), len(self.rows) // self.count)
        parts = [self.subject.activations(self._tokens(step), self.site).flatten(0, 1) for step in range(batches)]
        return torch.cat(parts).clone()

    def batches(self, start: int, steps: int) -> Iterator[Reference]:
        """Batches with the numbers from `start` up to `steps`, that one left out."""
        for step in range(start, steps):
            yield Reference(self.subject, self._tokens(step), self.site)

    def _tokens(self, step: int) -> Tensor:
        per_pass = len(self.rows) // self.count
        order = np.random.default_rng([self.seed, step // per_pass]).permutation(len(self.rows))
        chosen = order[step % per_pass * self.count :][: self.count]
        return torch.from_numpy(self.rows[np.sort(chosen)].astype(np.int64)).to(self.subject.device)
