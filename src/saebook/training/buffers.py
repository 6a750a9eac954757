"""Batches of a subject's activations for training. `training.objectives` has those of whole rows of text.

Activations come in chunks of rows of text (`training.activation_store`). Some chunks at a time are a window, whose tokens are
put in a random order and cut into batches. A batch is a function of the seed and its number alone. Letters: B tokens in a
batch, D d_in, T positions.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.sae.kernels import precision
from saebook.subject.model import Site, Subject
from saebook.training import activation_store, prefetch
from saebook.training.activation_store import SiteActivations
from saebook.training.config import Data, TrainConfig


@dataclass(frozen=True)
class _Window:
    """Activations of some rows of text: `source` [n, D], where row r of the text begins at `first[r]`.

    `source` is a memory map where all of them are on disk, else it is held in the memory of the subject's device.
    """

    source: np.ndarray | Tensor
    first: np.ndarray

    def index(self, rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Where in `source` the `positions` [B] of `rows` [B] are."""
        return self.first[rows] + positions

    def gather(self, rows: np.ndarray, positions: np.ndarray) -> Tensor:
        """Their activations [B, D]."""
        index = self.index(rows, positions)
        if isinstance(self.source, Tensor):
            return self.source.index_select(0, torch.from_numpy(index).to(self.source.device))
        return torch.from_numpy(np.take(self.source, index, axis=0, mode="clip"))


class ActivationBuffer:
    """Batches [B, D] of a subject's activations at a site, scaled so that E||x||^2 = D, in an order fixed by `seed`.

    `rows` [N, T] are tokens, whose first `skip` positions are left out. About `block` rows are mixed at a time, in whole
    chunks. `steps` is how many batches will be asked for: no more of the text is used than they need, and further batches
    go through it again, in a new order every time; None uses all of the text. Raises `UserError` when the text does not
    fill one batch.
    """

    def __init__(
        self,
        subject: Subject,
        site: Site,
        rows: np.ndarray,
        batch: int,
        seed: int = 0,
        skip: int = 0,
        block: int = 4096,
        steps: int | None = None,
    ):
        self.subject, self.site, self.rows, self.batch = subject, site, rows, batch
        self.seed, self.skip, self.block = seed, skip, block
        self.per_row = rows.shape[1] - skip
        self.activations = SiteActivations(subject, site, rows, precision.current(subject.device.type))
        self.chunks = self._chunks_for(steps)

    @classmethod
    def for_run(
        cls, subject: Subject, site: Site, rows: np.ndarray, training: TrainConfig, data: Data
    ) -> "ActivationBuffer":
        """The batches of a run on the training text `rows` of `data`."""
        batch, steps = training.batch, training.steps
        return cls(subject, site, rows, batch, data.order_seed or 0, data.skip, data.block, steps)

    @functools.cached_property
    def scale(self) -> float:
        """What makes E||x||^2 = D in the first chunk, summed in double precision on the CPU."""
        window, rows = self._window([0]), self.activations.rows_in(0)
        positions = np.arange(self.skip, self.rows.shape[1])
        squares = 0.0
        for row in range(rows):
            x = window.gather(np.full(len(positions), row), positions).cpu().numpy()
            squares += float(np.square(x, dtype=np.float64).sum())
        return math.sqrt(self.site.d_in * rows * self.per_row / squares)

    def sample(self, count: int) -> Tensor:
        """Up to `count` scaled activations [n, D] of the first chunks, for initialisation."""
        chunks = min(self.chunks, math.ceil(count / self._tokens([0])))
        window, order = self._window(range(chunks)), self._order(range(chunks), 0, 0, 2)
        return window.gather(*self._places(order[:count])).to(self.subject.device).mul_(self.scale)

    def batches(self, start: int, steps: int) -> Iterator[Tensor]:
        """Batches [B, D] with the numbers from `start` up to `steps`, that one left out."""
        first = 0
        for turn, number, chunks in self._windows():
            if first >= steps:
                return
            after = first + self._tokens(chunks) // self.batch
            if after > start and after > first:
                mine = range(max(start, first) - first, min(steps, after) - first)
                yield from self._of_window(chunks, self._order(chunks, turn, number, 1), mine)
            first = after

    def _of_window(self, chunks: Sequence[int], order: np.ndarray, numbers: range) -> Iterator[Tensor]:
        """Batches `numbers` of a window, whose tokens come in this `order`."""
        window = self._window(chunks)
        places = (self._places(order[number * self.batch :][: self.batch]) for number in numbers)
        if self.subject.device.type == "cuda" and isinstance(window.source, np.ndarray):
            gathers = ((window.source, window.index(*one)) for one in places)
            for x in prefetch.copied(gathers, prefetch.CudaCopies(self.subject.device)):
                yield x.mul_(self.scale)
        else:
            for one in places:
                yield window.gather(*one).mul_(self.scale)

    def _places(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a window and the positions in them [B] of its tokens by number [B]."""
        rows, positions = np.divmod(tokens, self.per_row)
        return rows, positions + self.skip

    def _order(self, chunks: Sequence[int], *of: int) -> np.ndarray:
        """The random order of the tokens of a window."""
        return np.random.default_rng([self.seed, *of]).permutation(self._tokens(chunks))

    def _tokens(self, chunks: Sequence[int]) -> int:
        return sum(map(self.activations.rows_in, chunks)) * self.per_row

    def _windows(self) -> Iterator[tuple[int, int, Sequence[int]]]:
        """Pass over the text, number of the window in it, and its chunks: without end, in an order of the seed's own, new every pass."""
        for turn in itertools.count():
            order = np.random.default_rng([self.seed, turn]).permutation(self.chunks)
            for number, part in enumerate(self._split(order)):
                yield turn, number, part.tolist()

    def _split(self, order: np.ndarray) -> list[np.ndarray]:
        """Windows of nearly equal size, about `block` rows each, but as many as fill a batch."""
        least = math.ceil(self.batch / self._tokens([0]))
        wanted = math.ceil(len(order) / max(1, self.block // self.activations.rows_each))
        return np.array_split(order, max(1, min(wanted, len(order) // least)))

    def _chunks_for(self, steps: int | None) -> int:
        """How many chunks `steps` batches need, of those that the text has."""
        every = self.activations.count
        if self._tokens(range(every)) < self.batch:
            raise UserError(
                f"{len(self.rows)} rows of text do not fill one batch of {self.batch}: give more text or a smaller batch"
            )
        if steps is None:
            return every
        count = min(every, max(1, math.ceil(steps * self.batch / self._tokens([0]))))
        while (
            count < every
            and sum(self._tokens(part.tolist()) // self.batch for part in self._split(np.arange(count))) < steps
        ):
            count += 1  # what is left over of each window is in no batch
        return count

    def _window(self, chunks: Sequence[int]) -> _Window:
        """The activations of some chunks; what is not on disk is computed, and put there as far as there is room."""
        store, length, held, done = self.activations, self.rows.shape[1], None, 0
        sizes = [store.rows_in(chunk) for chunk in chunks]
        missing = {chunk for chunk in chunks if not store.has(chunk)}
        with activation_store.progress(store, missing) as advance:
            for i, chunk in enumerate(chunks):
                x = None
                if chunk in missing:
                    (x,) = activation_store.make([store], chunk)
                    advance(sizes[i])
                if x is not None and held is None:
                    held = torch.empty(sum(sizes), length, self.site.d_in, device=self.subject.device)
                    for before, part in zip(chunks[:i], held.split(sizes), strict=False):
                        part.copy_(store.read(before))
                if held is not None:
                    held[done : done + sizes[i]] = store.read(chunk) if x is None else x
                done += sizes[i]
        if held is not None:
            return _Window(held.flatten(0, 1), np.arange(done) * length)
        firsts = [store.first_row(chunk) + np.arange(size) * length for chunk, size in zip(chunks, sizes, strict=True)]
        return _Window(store.kept(), np.concatenate(firsts))
