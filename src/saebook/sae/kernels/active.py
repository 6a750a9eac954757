"""The active latents of a batch in two forms: `Entries`, one by one, for compiled loops, and `Grid`, [B, M], for matrix products.

An inactive latent adds nothing to a reconstruction and gets no gradient, so that work on active ones alone is exact. An
architecture writes its step once, in terms of what both forms can do; `above` and `strongest` choose the form by the share
that is active. *Values* of a form are one number for each active latent: [n], or [B, M] with zeros elsewhere.
Letters: B tokens, D width, M latents, n entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebook.sae.kernels import numba_entries, numba_selection, threads
from saebook.sae.kernels.precision import Precision, product

# Share of active latents up to which entries cost less than products. By whole steps at widths 128, 256 and 576 on one core
# of an EPYC (Zen 4): the same at all three.
_CROSSOVER = {"fp32": 0.37, "bf16": 0.2}
# About how many nanoseconds a loop takes for each multiplication, or for each number that it looks at: `threads.ranges` asks.
_NS_PRODUCT, _NS_COUNT, _NS_FILL, _NS_STRONGEST = 0.06, 0.1, 0.25, 1.0


class Source(NamedTuple):
    """The gradient of rows [M, D] by latent: the sum over active latents of `values` times the token's row of `table` [B, D]."""

    active: "Active"
    values: Tensor
    table: Tensor


@dataclass
class Grid:
    """Active latents as a `mask` [B, M] of ones and zeros, with their products `h` [B, M]."""

    mask: Tensor
    h: Tensor
    precision: Precision

    def of(self, vector: Tensor) -> Tensor:
        """What each active latent has in `vector` [M], to calculate with."""
        return vector

    def take(self, dense: Tensor) -> Tensor:
        """What each active latent has in `dense` [B, M] (or its bfloat16), to calculate with."""
        return dense.to(self.h.dtype)

    def values(self, dense: Tensor) -> Tensor:
        """Values of [B, M] that were calculated for all latents: zero where inactive."""
        return dense.mul_(self.mask)  # a multiplication costs a fortieth of `masked_fill_`

    def decode(self, values: Tensor, W_dec: Tensor) -> Tensor:
        """The sum [B, D] of each token's `values` times rows of `W_dec` [M, D]."""
        return product(values, W_dec, self.precision)

    def dots(self, g: Tensor, W_dec: Tensor) -> Tensor:
        """Values: the products of rows of `g` [B, D] and of `W_dec` [M, D]."""
        return self.values(product(g, W_dec.T, self.precision))

    def compare(self, values: Tensor, W_dec: Tensor, x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """`scale` times the error [B, D], which is `decode` less `x` [B, D], and `dots` of that."""
        error = self.decode(values, W_dec).sub_(x).mul_(scale)
        return error, self.dots(error, W_dec)

    def sums(self, values: Tensor) -> Tensor:
        """The sum [M] of `values` by latent."""
        return values.sum(0)

    def rows(self, values: Tensor, table: Tensor) -> Tensor:
        """The sum [M, D] by latent of `values` times rows of `table` [B, D]."""
        return product(values.T, table, self.precision)

    def counts(self, values: Tensor) -> Tensor:
        """How many of `values` are positive, by latent [M]."""
        out = torch.empty(values.shape[1], dtype=torch.long)
        numba_entries.count_positive(values.numpy(), out.numpy())
        return out


@dataclass
class Entries:
    """Active latents one by one, token by token: those of token b are numbers `begin[b]` to `end[b]` [B] of `latent` [n].

    `h` [n] are their products. Arrays may have unused places; those hold latent 0.
    """

    begin: np.ndarray
    end: np.ndarray
    latent: np.ndarray
    h: Tensor
    d_sae: int
    _sorted: tuple[np.ndarray, np.ndarray, np.ndarray] | None = field(default=None, repr=False)

    def of(self, vector: Tensor) -> Tensor:
        """As `Grid.of`: [n]."""
        return torch.index_select(vector, 0, torch.from_numpy(self.latent))

    def take(self, dense: Tensor) -> Tensor:
        """As `Grid.take`: [n]."""
        out, rows = torch.zeros_like(self.h), _bits(dense)
        numba_selection.take(self.begin, self.end, self.latent, rows, out.numpy())
        return out

    def values(self, dense: Tensor) -> Tensor:
        """As `Grid.values`: entries are active already."""
        return dense

    def decode(self, values: Tensor, W_dec: Tensor) -> Tensor:
        """As `Grid.decode`."""
        out, f, W = torch.zeros(len(self.begin), W_dec.shape[1], dtype=W_dec.dtype), values.numpy(), W_dec.numpy()
        threads.ranges(
            lambda first, last: numba_entries.decode(self.begin, self.end, self.latent, f, W, first, last, out.numpy()),
            len(out),
            values.numel() * W.shape[1] * _NS_PRODUCT,
        )
        return out

    def dots(self, g: Tensor, W_dec: Tensor) -> Tensor:
        """As `Grid.dots`."""
        out, rows, W = torch.zeros(len(self.latent), dtype=g.dtype), g.numpy(), W_dec.numpy()
        threads.ranges(
            lambda first, last: numba_entries.dots(
                self.begin, self.end, self.latent, rows, W, first, last, out.numpy()
            ),
            len(g),
            out.numel() * W.shape[1] * _NS_PRODUCT,
        )
        return out

    def compare(self, values: Tensor, W_dec: Tensor, x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """As `Grid.compare`, in one pass over the rows of `W_dec`."""
        error, out = torch.empty_like(x), torch.zeros(len(self.latent), dtype=x.dtype)
        arrays = values.numpy(), W_dec.numpy(), x.numpy(), x.new_tensor(scale).numpy()
        threads.ranges(
            lambda first, last: numba_entries.compare(
                self.begin, self.end, self.latent, *arrays, first, last, error.numpy(), out.numpy()
            ),
            len(x),
            2 * values.numel() * x.shape[1] * _NS_PRODUCT,
        )
        return error, out

    def sums(self, values: Tensor) -> Tensor:
        """As `Grid.sums`."""
        starts, order, _ = self.by_latent()
        out = torch.empty(self.d_sae, dtype=values.dtype)
        numba_entries.sum_by_latent(starts, order, values.numpy(), out.numpy())
        return out

    def rows(self, values: Tensor, table: Tensor) -> Tensor:
        """As `Grid.rows`."""
        out = torch.zeros(self.d_sae, table.shape[1], dtype=table.dtype)
        f, by_token = values.numpy(), table.numpy()
        threads.ranges(
            lambda first, last: numba_entries.rows_by_latent(*self.by_latent(), f, by_token, first, last, out.numpy()),
            self.d_sae,
            values.numel() * table.shape[1] * _NS_PRODUCT,
        )
        return out

    def counts(self, values: Tensor) -> Tensor:
        """As `Grid.counts`."""
        starts, order, _ = self.by_latent()
        out = torch.empty(self.d_sae, dtype=torch.long)
        numba_entries.count_by_latent(starts, order, values.numpy(), out.numpy())
        return out

    def by_latent(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`(starts [M+1], order [n], token [n])`: the entries sorted by latent (`numba_entries.by_latent`), once."""
        if self._sorted is None:
            n = len(self.latent)
            self._sorted = np.empty(self.d_sae + 1, np.int64), np.empty(n, np.int32), np.empty(n, np.int32)
            numba_entries.by_latent(self.begin, self.end, self.latent, *self._sorted)
        return self._sorted


Active = Grid | Entries


def above(h: Tensor, theta: Tensor, precision: Precision) -> Active:
    """The latents whose product `h` [B, M] (or its bfloat16) lies above `theta` [M], in the form that costs less. On a CPU."""
    rows, limit, counts = _bits(h), theta.numpy(), np.empty(len(h), np.int32)
    threads.ranges(
        lambda first, last: numba_selection.count_above(rows, limit, first, last, counts), len(h), h.numel() * _NS_COUNT
    )
    ends = np.cumsum(counts, dtype=np.int64)
    if ends[-1] > _CROSSOVER[precision] * h.numel():
        mask, products = torch.empty(h.shape, dtype=theta.dtype), torch.empty(h.shape, dtype=theta.dtype)
        numba_selection.mask_above(rows, limit, mask.numpy(), products.numpy())
        return Grid(mask, products, precision)
    begin, latent, value = ends - counts, np.empty(ends[-1], np.int32), torch.empty(int(ends[-1]), dtype=theta.dtype)
    threads.ranges(
        lambda first, last: numba_selection.fill_above(rows, limit, first, last, begin, latent, value.numpy()),
        len(h),
        h.numel() * _NS_FILL,
    )
    return Entries(begin, ends, latent, value, len(theta))


def strongest(h: Tensor, bias: Tensor, k: int, columns: Tensor | None = None) -> Entries:
    """The `k` largest of h + bias of each token, as far as they are positive, as entries whose `h` is that sum.

    `h` [B, M], `bias` [M]; `columns` [m] are the latents to choose from, by default all. On a CPU.
    """
    rows, shift, among = _bits(h), bias.numpy(), _ALL if columns is None else columns.numpy()
    k = min(k, len(bias) if columns is None else len(columns))
    end, latent, value = (
        np.empty(len(h), np.int64),
        np.empty(len(h) * k, np.int32),
        torch.empty(len(h) * k, dtype=bias.dtype),
    )
    threads.ranges(
        lambda first, last: numba_selection.strongest(rows, shift, among, k, first, last, end, latent, value.numpy()),
        len(h),
        len(h) * (h.shape[1] if columns is None else len(columns)) * _NS_STRONGEST,
    )
    return Entries(np.arange(len(h), dtype=np.int64) * k, end, latent, value, len(bias))


def rows_of(sources: Tensor | Sequence[Source]) -> Tensor:
    """The gradient [M, D] that `sources` add up to; a gradient as such is returned as it is."""
    if isinstance(sources, Tensor):
        return sources
    total = sources[0].active.rows(*sources[0][1:])
    for source in sources[1:]:
        total += source.active.rows(*source[1:])
    return total


_ALL = np.empty(0, np.int64)


def _bits(h: Tensor) -> np.ndarray:
    return (h.view(torch.int16) if h.dtype == torch.bfloat16 else h).numpy()
