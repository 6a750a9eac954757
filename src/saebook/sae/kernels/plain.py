"""A sparse training step over padded entries in plain PyTorch: the twin that the Triton kernels are held to.

Every token of every member has K entries, latents with values, so that no shape depends on the data; a value of zero is
padding. What is bfloat16 is read as such and summed in single precision. Letters: S members, B tokens, K entries a token,
D width, M latents, R tables of errors.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Entries:
    """What the gradients of both matrices are sums of, sorted by latent once for all members.

    Entry (s, b, k) adds `by_error` [S, B, K] times its row of `errors` [S, R, B, D] to the decoder's gradient, and
    `by_input` [S, B, K] times row (s, b) of `inputs` [S, B, D] to the encoder's. The first `first` entries of a token read
    table 0 of `errors`, the others table 1. `order` [S*B*K] lists the entries by latent, padding last; those of latent m of
    member s are at places `starts[s*M + m]` to `starts[s*M + m + 1]` (`sort`).
    """

    by_error: Tensor
    by_input: Tensor
    errors: Tensor
    inputs: Tensor
    first: int
    order: Tensor
    starts: Tensor


@dataclass(frozen=True)
class Matrices:
    """Weights `W_dec` and `W_enc`, both [S, M, D] and contiguous, with Adam's moments; none of the first order where beta1 is 0."""

    W_dec: Tensor
    W_enc: Tensor
    first_dec: Tensor | None
    first_enc: Tensor | None
    second_dec: Tensor
    second_enc: Tensor


@dataclass(frozen=True)
class Adam:
    """Adam's constants, and `scales` [2]: the rate over 1 - beta1^t, and 1 / sqrt(1 - beta2^t) at step t = 1, 2, ...

    `scales` is read on the device, so that the rate of a captured step may change.
    """

    beta1: float
    beta2: float
    eps: float
    scales: Tensor

    def apply(self, weight: Tensor, gradient: Tensor, first: Tensor | None, second: Tensor) -> None:
        """One step of `weight`, in place."""
        mean = gradient if first is None else first.mul_(self.beta1).add_(gradient, alpha=1 - self.beta1)
        second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        scale, root = self.scales.to(weight.dtype)
        weight.sub_(scale * mean / (second.sqrt() * root + self.eps))


def decode(latents: Tensor, values: Tensor, table: Tensor, bias: Tensor | None = None) -> Tensor:
    """Reconstructions [S, B, D]: the sum over K of `values` times rows of `table` [S, M, D], plus `bias` [S, D]."""
    total = torch.einsum("sbk,sbkd->sbd", _wide(values), _rows(table, latents))
    return total if bias is None else total + _wide(bias)[:, None]


def dots(latents: Tensor, values: Tensor, table: Tensor, g: Tensor) -> Tensor:
    """Products [S, B, K] of each token's row of `g` [S, B, D] with its rows of `table` [S, M, D]; zero for padding."""
    return torch.einsum("sbd,sbkd->sbk", _wide(g), _rows(table, latents)).masked_fill_(values == 0, 0.0)


def compare(
    latents: Tensor, values: Tensor, table: Tensor, target: Tensor, scale: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The error [S, B, D], its squares [S, B] summed over D, and `dots` [S, B, K] of it times `scale` [S].

    The error is `decode` less `target` [S, B, D], which may be the same for all members, [1, B, D].
    """
    error = decode(latents, values, table, bias) - _wide(target)
    return error, error.square().sum(-1), dots(latents, values, table, error) * scale[:, None, None]


def sort(latents: Tensor, values: Tensor, d_sae: int) -> tuple[Tensor, Tensor]:
    """`order` [S*B*K] and `starts` [S*M + 1] of `Entries`: entries by member and latent, in the order of tokens."""
    members, last = len(latents), len(latents) * d_sae
    key = latents + torch.arange(members, dtype=latents.dtype, device=latents.device)[:, None, None] * d_sae
    key = key.masked_fill(values == 0, last).flatten()
    sorted_key, order = key.sort(stable=True)
    bounds = torch.arange(last + 1, dtype=key.dtype, device=key.device)
    return order.to(torch.int32), torch.searchsorted(sorted_key, bounds, out_int32=True)


def sums(order: Tensor, starts: Tensor, coefficients: Tensor, d_sae: int) -> Tensor:
    """The sum [S, M] of `coefficients` [S, B, K] by latent."""
    out = coefficients.new_zeros(len(coefficients) * d_sae + 1)
    wanted = coefficients.flatten()[order.long()]
    return out.index_add_(0, _segments(order, starts), wanted)[:-1].view(-1, d_sae)


def gradients(entries: Entries, d_sae: int) -> tuple[Tensor, Tensor]:
    """Gradients of the decoder's rows and of the encoder's columns, both [S, M, D]."""
    members, tokens, k = entries.by_error.shape
    order, segments = entries.order.long(), _segments(entries.order, entries.starts)
    s, b, place = order // (tokens * k), order // k % tokens, order % k
    results = []
    for coefficients, rows in (
        (entries.by_error, entries.errors[s, (place >= entries.first).long(), b]),
        (entries.by_input, entries.inputs[s, b]),
    ):
        out = torch.zeros(members * d_sae + 1, rows.shape[-1], dtype=_wide(rows).dtype, device=rows.device)
        out.index_add_(0, segments, _wide(coefficients).flatten()[order, None] * _wide(rows))
        results.append(out[:-1].view(members, d_sae, -1))
    return results[0], results[1]


def step(
    matrices: Matrices,
    adam: Adam,
    d_dec: Tensor,
    d_enc: Tensor,
    factors: Tensor | None,
    project: bool,
    renormalise: bool,
) -> None:
    """One step of both matrices from their gradients [S, M, D], in place.

    Gradients are multiplied by `factors` [S]; with `project` the decoder's loses its part along each row, and with
    `renormalise` the rows return to norm one. The gradients may be used up.
    """
    if factors is not None:
        d_dec, d_enc = (g * factors[:, None, None] for g in (d_dec, d_enc))
    if project:
        W = matrices.W_dec
        d_dec = d_dec - (d_dec * W).sum(-1, keepdim=True) / W.square().sum(-1, keepdim=True) * W
    adam.apply(matrices.W_dec, d_dec, matrices.first_dec, matrices.second_dec)
    adam.apply(matrices.W_enc, d_enc, matrices.first_enc, matrices.second_enc)
    if renormalise:
        matrices.W_dec.div_(torch.linalg.vector_norm(matrices.W_dec, dim=-1, keepdim=True))


def fused_step(matrices: Matrices, adam: Adam, entries: Entries, project: bool, renormalise: bool) -> None:
    """`gradients`, then `step`. The Triton kernel does both latent by latent and never holds a dense gradient."""
    step(matrices, adam, *gradients(entries, matrices.W_dec.shape[1]), None, project, renormalise)


def _segments(order: Tensor, starts: Tensor) -> Tensor:
    """Which latent s*M + m each place of `order` belongs to; S*M for padding."""
    places = torch.arange(len(order), dtype=starts.dtype, device=order.device)
    return torch.searchsorted(starts, places, right=True) - 1


def _rows(table: Tensor, latents: Tensor) -> Tensor:
    """Rows [S, B, K, D] of `table` [S, M, D]."""
    members = torch.arange(len(table), device=table.device)[:, None, None]
    return _wide(table[members, latents.long()])


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype == torch.bfloat16 else x
