"""Compiled loops of a subject's elementwise passes on a CPU in float32, without the interpreter's lock.

`subject.elementwise` holds their plain twins. Sums may be reordered for the vector units, always in the same way, and NaN is
kept. PyTorch's exponentials and its hyperbolic tangent take several times as long.
"""

import math

import numba
import numpy as np

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})
_single = np.float32
_ROOT = _single(2.0 * math.sqrt(2.0 / math.pi))
_CUBE = _single(0.044715)


@numba.njit(inline="always", error_model="numpy", fastmath={"contract", "nsz"})
def _exp(x):
    """e^x within 2 units of the last place: a polynomial on x - n log 2, times 2^n. Below -87 it is e^-87, about 1e-38."""
    x = _single(88.0) if x > _single(88.0) else x
    x = _single(-87.0) if x < _single(-87.0) else x
    n = np.floor(x * _single(1.4426950408889634) + _single(0.5))
    r = x - n * _single(0.693359375) + n * _single(2.12194440e-4)  # log 2 in two parts, the first without rounding
    p = _single(1.9875691500e-4)
    p = p * r + _single(1.3981999507e-3)
    p = p * r + _single(8.3334519073e-3)
    p = p * r + _single(4.1665795894e-2)
    p = p * r + _single(1.6666665459e-1)
    p = p * r + _single(5.0000001201e-1)
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (p * r * r + r + _single(1.0)) * power


@numba.njit(inline="always", error_model="numpy")
def _largest(row):
    """The largest of `row`, by integers of the same order: the compiler vectorises their maximum, not that of floats."""
    bits, top = row.view(np.int32), np.int32(-(2**31))
    for j in range(len(bits)):
        key = np.int32(bits[j] ^ ((bits[j] >> np.int32(31)) & np.int32(2**31 - 1)))
        top = key if key > top else top
    return np.int32(top ^ ((top >> np.int32(31)) & np.int32(2**31 - 1))).view(np.float32)


@_compiled
def gelu(x, y):
    """The tanh form of GELU [n] into `y`: x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))."""
    for i in range(len(x)):
        v = x[i]
        y[i] = v / (_single(1.0) + _exp(-_ROOT * (v + _CUBE * v * v * v)))


@_compiled
def gelu_and_slope(x, y, slope):
    """GELU [n] into `y`, and its derivative into `slope`."""
    for i in range(len(x)):
        v = x[i]
        s = _single(1.0) / (_single(1.0) + _exp(-_ROOT * (v + _CUBE * v * v * v)))
        y[i] = v * s
        slope[i] = s + v * s * (_single(1.0) - s) * _ROOT * (_single(1.0) + _single(3.0) * _CUBE * v * v)


@_compiled
def causal_softmax(scores, scale):
    """Softmax over positions 0 to t of `scale` * `scores` [n, T, T], zeros behind them, in place."""
    for i in range(len(scores)):  # to iterate over matrices would keep the loops below from being vectorised
        for t in range(scores.shape[1]):
            row = scores[i, t, : t + 1]
            top, mass = _largest(row), _single(0.0)
            for j in range(len(row)):
                e = _exp(scale * (row[j] - top))
                row[j] = e
                mass += e
            share = _single(1.0) / mass
            for j in range(len(row)):
                row[j] *= share
            scores[i, t, t + 1 :] = _single(0.0)


@_compiled
def causal_softmax_gradient(shares, gradient, scale):
    """From the gradient in the softmax `shares` [n, T, T] that in the scores, in place; positions behind t get zeros."""
    for i in range(len(shares)):
        for t in range(shares.shape[1]):
            p, g = shares[i, t, : t + 1], gradient[i, t, : t + 1]
            mean = _single(0.0)
            for j in range(len(p)):
                mean += p[j] * g[j]
            for j in range(len(p)):
                g[j] = scale * p[j] * (g[j] - mean)
            gradient[i, t, t + 1 :] = _single(0.0)


@_compiled
def exponentials(logits, top, mass):
    """`logits` [n, V] become e^(logits - `top` [n]), in place; each row's sum is added to `mass` [n]."""
    for i in range(len(logits)):
        row, shift, total = logits[i], top[i], _single(0.0)
        for j in range(len(row)):
            e = _exp(row[j] - shift)
            row[j] = e
            total += e
        mass[i] += total
