"""A sparse training step over padded entries as Triton kernels: each function computes what its twin in `plain` does.

Whatever is summed by latent is summed by one program in the order of `plain.sort`: no atomics, so that the same input gives
the same bits. Tables may be bfloat16; sums, weights and moments are single precision. A program holds whole rows of D
numbers, padded to a power of two. With TRITON_INTERPRET=1 at import the kernels run on a CPU, and so the tests check their
arithmetic; none of them has run on a GPU yet. Letters as in `plain`.
"""

from typing import Any

import torch
import triton  # pyright: ignore[reportMissingImports] - a CUDA build of PyTorch brings it
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from saebook.sae.kernels.plain import Adam, Entries, Matrices, sort

__all__ = ["compare", "fused_step", "gradients", "sort", "step", "sums"]

# Numbers of a table that a thread holds at one time: more spill registers at a width of 128 (ptxas for sm_90).
_HELD = 32
_SCALARS = 256  # entries whose coefficients `sums` reads at one time


# Functions that kernels call ------------------------------------------------------------------------------------------


@triton.jit
def _table_rows(table, first_row, latent, value, d, D: tl.constexpr):
    """Rows [BLOCK_K, BLOCK_D] of a table whose member begins at `first_row`, zero for padding and beyond D."""
    at = (first_row + latent)[:, None] * D + d[None, :]
    return tl.load(table + at, mask=(value != 0)[:, None] & (d < D)[None, :], other=0.0).to(tl.float32)


@triton.jit
def _row_gradients(
    row, d, by_error, by_input, errors, inputs, order, starts, B, M,
    D: tl.constexpr, K: tl.constexpr, FIRST: tl.constexpr, TABLES: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Gradients [BLOCK_D] of the decoder's row and the encoder's column of latent `row` = s*M + m."""
    d_dec, d_enc = tl.zeros([BLOCK_D], tl.float32), tl.zeros([BLOCK_D], tl.float32)
    s = (row // M).to(tl.int64)
    end = tl.load(starts + row + 1)
    for begin in range(tl.load(starts + row), end, BLOCK_N):
        place = begin + tl.arange(0, BLOCK_N)
        there = place < end
        entry = tl.load(order + place, mask=there, other=0)
        token, which = entry // K, (entry % K >= FIRST).to(tl.int64)
        mask = there[:, None] & (d < D)[None, :]
        error_row = (s * TABLES + which) * B + token % B
        error = tl.load(errors + error_row[:, None] * D + d[None, :], mask=mask, other=0.0).to(tl.float32)
        value = tl.load(by_error + entry, mask=there, other=0.0).to(tl.float32)
        d_dec += tl.sum(value[:, None] * error, 0)
        x = tl.load(inputs + token.to(tl.int64)[:, None] * D + d[None, :], mask=mask, other=0.0).to(tl.float32)
        value = tl.load(by_input + entry, mask=there, other=0.0).to(tl.float32)
        d_enc += tl.sum(value[:, None] * x, 0)
    return d_dec, d_enc


@triton.jit
def _adam(
    weight, g, first, second, at, mask, scales, HAS_FIRST: tl.constexpr, BETA1: tl.constexpr, BETA2: tl.constexpr, EPS: tl.constexpr
):  # fmt: skip
    """`weight` after a step of Adam with gradient `g`; the moments at places `at` are written."""
    mean = g
    if HAS_FIRST:
        mean = BETA1 * tl.load(first + at, mask=mask, other=0.0) + (1 - BETA1) * g
        tl.store(first + at, mean, mask=mask)
    square = BETA2 * tl.load(second + at, mask=mask, other=0.0) + (1 - BETA2) * g * g
    tl.store(second + at, square, mask=mask)
    return weight - tl.load(scales) * mean / (tl.sqrt(square) * tl.load(scales + 1) + EPS)


@triton.jit
def _step_row(
    row, d, d_dec, d_enc, W_dec, W_enc, first_dec, first_enc, second_dec, second_enc, scales,
    D: tl.constexpr, HAS_FIRST: tl.constexpr, BETA1: tl.constexpr, BETA2: tl.constexpr, EPS: tl.constexpr,
    PROJECT: tl.constexpr, RENORMALISE: tl.constexpr,
):  # fmt: skip
    """Projection, Adam and renormalisation of one latent's row and column, in place."""
    at, mask = row.to(tl.int64) * D + d, d < D
    w = tl.load(W_dec + at, mask=mask, other=0.0)
    if PROJECT:
        along = tl.sum(d_dec * w, 0) / tl.sum(w * w, 0)  # pyright: ignore[reportOperatorIssue]
        d_dec -= along * w
    w = _adam(w, d_dec, first_dec, second_dec, at, mask, scales, HAS_FIRST, BETA1, BETA2, EPS)
    if RENORMALISE:
        w = w / tl.sqrt(tl.sum(w * w, 0))
    tl.store(W_dec + at, w, mask=mask)
    w = tl.load(W_enc + at, mask=mask, other=0.0)
    w = _adam(w, d_enc, first_enc, second_enc, at, mask, scales, HAS_FIRST, BETA1, BETA2, EPS)
    tl.store(W_enc + at, w, mask=mask)


# Kernels --------------------------------------------------------------------------------------------------------------


@triton.jit
def _compare_kernel(
    latents, values, table, bias, target, scale, error, squares, dots, B, M, target_stride,
    D: tl.constexpr, K: tl.constexpr, BIASED: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """One program a token of one member, s*B + b."""
    token = tl.program_id(0).to(tl.int64)
    s, d = token // B, tl.arange(0, BLOCK_D)
    inside = d < D
    total = -tl.load(target + s * target_stride + token % B * D + d, mask=inside, other=0.0).to(tl.float32)
    if BIASED:
        total += tl.load(bias + s * D + d, mask=inside, other=0.0).to(tl.float32)
    for begin in range(0, K, BLOCK_K):
        k = begin + tl.arange(0, BLOCK_K)
        latent = tl.load(latents + token * K + k, mask=k < K, other=0)
        value = tl.load(values + token * K + k, mask=k < K, other=0.0).to(tl.float32)
        total += tl.sum(value[:, None] * _table_rows(table, s * M, latent, value, d, D), 0)
    tl.store(error + token * D + d, total, mask=inside)
    tl.store(squares + token, tl.sum(total * total, 0))
    factor = tl.load(scale + s).to(tl.float32)
    for begin in range(0, K, BLOCK_K):
        k = begin + tl.arange(0, BLOCK_K)
        latent = tl.load(latents + token * K + k, mask=k < K, other=0)
        value = tl.load(values + token * K + k, mask=k < K, other=0.0).to(tl.float32)
        products = tl.sum(_table_rows(table, s * M, latent, value, d, D) * total[None, :], 1)
        tl.store(dots + token * K + k, products * factor, mask=k < K)


@triton.jit
def _sums_kernel(order, starts, coefficients, out, BLOCK_N: tl.constexpr):
    """One program a latent, s*M + m."""
    row = tl.program_id(0)
    end, total = tl.load(starts + row + 1), tl.zeros([BLOCK_N], tl.float32)
    for begin in range(tl.load(starts + row), end, BLOCK_N):
        place = begin + tl.arange(0, BLOCK_N)
        entry = tl.load(order + place, mask=place < end, other=0)
        total += tl.load(coefficients + entry, mask=place < end, other=0.0).to(tl.float32)
    tl.store(out + row, tl.sum(total, 0))


@triton.jit
def _gradients_kernel(
    by_error, by_input, errors, inputs, order, starts, d_dec, d_enc, B, M,
    D: tl.constexpr, K: tl.constexpr, FIRST: tl.constexpr, TABLES: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """One program a latent, s*M + m."""
    row, d = tl.program_id(0), tl.arange(0, BLOCK_D)
    g_dec, g_enc = _row_gradients(  # pyright: ignore[reportGeneralTypeIssues]
        row, d, by_error, by_input, errors, inputs, order, starts, B, M, D, K, FIRST, TABLES, BLOCK_N, BLOCK_D
    )
    at = row.to(tl.int64) * D + d
    tl.store(d_dec + at, g_dec, mask=d < D)
    tl.store(d_enc + at, g_enc, mask=d < D)


@triton.jit
def _step_kernel(
    d_dec, d_enc, factors, W_dec, W_enc, first_dec, first_enc, second_dec, second_enc, scales, M, D: tl.constexpr, BLOCK_D: tl.constexpr,
    CLIPPED: tl.constexpr, HAS_FIRST: tl.constexpr, BETA1: tl.constexpr, BETA2: tl.constexpr, EPS: tl.constexpr,
    PROJECT: tl.constexpr, RENORMALISE: tl.constexpr,
):  # fmt: skip
    """One program a latent, s*M + m."""
    row, d = tl.program_id(0), tl.arange(0, BLOCK_D)
    at = row.to(tl.int64) * D + d
    g_dec = tl.load(d_dec + at, mask=d < D, other=0.0).to(tl.float32)
    g_enc = tl.load(d_enc + at, mask=d < D, other=0.0).to(tl.float32)
    if CLIPPED:
        factor = tl.load(factors + row // M)
        g_dec, g_enc = g_dec * factor, g_enc * factor
    _step_row(
        row, d, g_dec, g_enc, W_dec, W_enc, first_dec, first_enc, second_dec, second_enc, scales,
        D, HAS_FIRST, BETA1, BETA2, EPS, PROJECT, RENORMALISE,
    )  # fmt: skip


@triton.jit
def _fused_step_kernel(
    by_error, by_input, errors, inputs, order, starts, W_dec, W_enc, first_dec, first_enc, second_dec, second_enc, scales, B, M,
    D: tl.constexpr, K: tl.constexpr, FIRST: tl.constexpr, TABLES: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    HAS_FIRST: tl.constexpr, BETA1: tl.constexpr, BETA2: tl.constexpr, EPS: tl.constexpr,
    PROJECT: tl.constexpr, RENORMALISE: tl.constexpr,
):  # fmt: skip
    """One program a latent, s*M + m: its gradients stay in registers."""
    row, d = tl.program_id(0), tl.arange(0, BLOCK_D)
    g_dec, g_enc = _row_gradients(  # pyright: ignore[reportGeneralTypeIssues]
        row, d, by_error, by_input, errors, inputs, order, starts, B, M, D, K, FIRST, TABLES, BLOCK_N, BLOCK_D
    )
    _step_row(
        row, d, g_dec, g_enc, W_dec, W_enc, first_dec, first_enc, second_dec, second_enc, scales,
        D, HAS_FIRST, BETA1, BETA2, EPS, PROJECT, RENORMALISE,
    )  # fmt: skip


# The twins' interface -------------------------------------------------------------------------------------------------


def compare(
    latents: Tensor, values: Tensor, table: Tensor, target: Tensor, scale: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """As `plain.compare`."""
    (members, tokens, k), (_, d_sae, d_in) = latents.shape, table.shape
    latents, values, table, target, scale = (t.contiguous() for t in (latents, values, table, target, scale))
    error, squares, dots = (
        torch.empty(shape, dtype=torch.float32, device=table.device)
        for shape in ((members, tokens, d_in), (members, tokens), (members, tokens, k))
    )
    block_d, block_k = _blocks(d_in, k)
    _launch(
        _compare_kernel, members * tokens, _warps(block_d),
        latents, values, table, table if bias is None else bias.contiguous(), target, scale, error, squares, dots,
        tokens, d_sae, 0 if len(target) == 1 else tokens * d_in,
        D=d_in, K=k, BIASED=bias is not None, BLOCK_K=block_k, BLOCK_D=block_d,
    )  # fmt: skip
    return error, squares, dots


def sums(order: Tensor, starts: Tensor, coefficients: Tensor, d_sae: int) -> Tensor:
    """As `plain.sums`."""
    out = torch.empty(len(coefficients), d_sae, dtype=torch.float32, device=coefficients.device)
    _launch(_sums_kernel, out.numel(), 1, order, starts, coefficients.contiguous(), out, BLOCK_N=_SCALARS)
    return out


def gradients(entries: Entries, d_sae: int) -> tuple[Tensor, Tensor]:
    """As `plain.gradients`."""
    pointers, sizes, constants = _arguments(entries, d_sae)
    members, d_in = len(entries.inputs), entries.inputs.shape[-1]
    d_dec, d_enc = (
        torch.empty(members, d_sae, d_in, dtype=torch.float32, device=entries.inputs.device) for _ in range(2)
    )
    warps = _warps(constants["BLOCK_D"])
    _launch(_gradients_kernel, members * d_sae, warps, *pointers, d_dec, d_enc, *sizes, **constants)
    return d_dec, d_enc


def step(
    matrices: Matrices,
    adam: Adam,
    d_dec: Tensor,
    d_enc: Tensor,
    factors: Tensor | None,
    project: bool,
    renormalise: bool,
) -> None:
    """As `plain.step`."""
    members, d_sae, d_in = matrices.W_dec.shape
    weights, constants = _step_arguments(matrices, adam, project, renormalise)
    block_d = _power_of_two(d_in)
    _launch(
        _step_kernel, members * d_sae, _warps(block_d),
        d_dec.contiguous(), d_enc.contiguous(), adam.scales if factors is None else factors, *weights, d_sae,
        D=d_in, BLOCK_D=block_d, CLIPPED=factors is not None, **constants,
    )  # fmt: skip


def fused_step(matrices: Matrices, adam: Adam, entries: Entries, project: bool, renormalise: bool) -> None:
    """As `plain.fused_step`, in one pass over the latents and without a dense gradient."""
    members, d_sae, _ = matrices.W_dec.shape
    pointers, sizes, constants = _arguments(entries, d_sae)
    weights, more = _step_arguments(matrices, adam, project, renormalise)
    warps = _warps(constants["BLOCK_D"])
    _launch(_fused_step_kernel, members * d_sae, warps, *pointers, *weights, *sizes, **constants, **more)


def _arguments(entries: Entries, d_sae: int) -> tuple[tuple[Tensor, ...], tuple[int, int], dict[str, int]]:
    """What `_row_gradients` takes: tensors, sizes, and constants of compilation."""
    (_, tokens, k), (_, tables, _, d_in) = entries.by_error.shape, entries.errors.shape
    tensors = (entries.by_error, entries.by_input, entries.errors, entries.inputs, entries.order, entries.starts)
    block_d, block_n = _blocks(d_in, 16)
    constants = {"D": d_in, "K": k, "FIRST": entries.first, "TABLES": tables, "BLOCK_N": block_n, "BLOCK_D": block_d}
    return tuple(t.contiguous() for t in tensors), (tokens, d_sae), constants


def _step_arguments(
    matrices: Matrices, adam: Adam, project: bool, renormalise: bool
) -> tuple[tuple[Tensor, ...], dict[str, float]]:
    """What `_step_row` takes: tensors, and constants of compilation."""
    m = matrices
    # Without first moments their places are never touched: any pointer will do.
    first_dec, first_enc = (
        (m.second_dec, m.second_enc) if m.first_dec is None or m.first_enc is None else (m.first_dec, m.first_enc)
    )
    tensors = (m.W_dec, m.W_enc, first_dec, first_enc, m.second_dec, m.second_enc, adam.scales)
    if not all(t.is_contiguous() and t.dtype == torch.float32 for t in tensors):
        raise ValueError("weights, moments and scales must be contiguous and in single precision: they change in place")
    constants = {
        "HAS_FIRST": m.first_dec is not None, "BETA1": adam.beta1, "BETA2": adam.beta2, "EPS": adam.eps,
        "PROJECT": project, "RENORMALISE": renormalise,
    }  # fmt: skip
    return tensors, constants


def _launch(kernel: Any, programs: int, warps: int, *arguments: Tensor | int, **constants: float) -> None:
    kernel[(programs,)](*arguments, num_warps=warps, **constants)


def _blocks(d_in: int, rows: int) -> tuple[int, int]:
    """Width and height of the piece of a table that a program holds at one time: at most `rows` rows."""
    block_d = _power_of_two(d_in)
    return block_d, max(1, min(_power_of_two(rows), 32 * _warps(block_d) * _HELD // block_d))


def _power_of_two(least: int) -> int:
    """The smallest power of two that is at least `least`."""
    return 1 << (least - 1).bit_length()


def _warps(block_d: int) -> int:
    return max(1, min(8, block_d // 64))
