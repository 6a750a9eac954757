"""Compiled loops of a CPU training step over active entries alone (`numba_selection` makes them of an encoder's product).

Entries lie token by token: those of token b are at `begin[b]` to `end[b]` of `latent` and of every array of values. All
loops run over a range `first` to `last` of tokens or latents without the interpreter's lock, so that threads can share
them, and no result depends on how they do. Sums may be reordered for the vector units (a processor always does it in the
same way); NaN is kept. Letters: B tokens, D width, M latents, n entries.

All loops that call one another are in this one file: the cache of compiled code notices a change in a function's own file,
not in one it calls.
"""

import numba
import numpy as np

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


# Token by token -------------------------------------------------------------------------------------------------------


@_compiled
def _sum_rows(index, order, coefficients, start, stop, table, out):
    """Add sum_i coefficients[order[i]] table[index[i]] to `out` [D]; an empty `order` stands for i itself."""
    i, direct = start, len(order) == 0
    while i + 8 <= stop:  # eight rows a pass over `out`: loading them is all that it costs
        if direct:
            c0, c1, c2, c3 = coefficients[i], coefficients[i + 1], coefficients[i + 2], coefficients[i + 3]
            c4, c5, c6, c7 = coefficients[i + 4], coefficients[i + 5], coefficients[i + 6], coefficients[i + 7]
        else:
            c0, c1 = coefficients[order[i]], coefficients[order[i + 1]]
            c2, c3 = coefficients[order[i + 2]], coefficients[order[i + 3]]
            c4, c5 = coefficients[order[i + 4]], coefficients[order[i + 5]]
            c6, c7 = coefficients[order[i + 6]], coefficients[order[i + 7]]
        r0, r1, r2, r3 = table[index[i]], table[index[i + 1]], table[index[i + 2]], table[index[i + 3]]
        r4, r5, r6, r7 = table[index[i + 4]], table[index[i + 5]], table[index[i + 6]], table[index[i + 7]]
        for d in range(len(out)):
            out[d] += (c0 * r0[d] + c1 * r1[d] + c2 * r2[d] + c3 * r3[d]) + (
                c4 * r4[d] + c5 * r5[d] + c6 * r6[d] + c7 * r7[d]
            )
        i += 8
    while i < stop:
        c, r = coefficients[i if direct else order[i]], table[index[i]]
        for d in range(len(out)):
            out[d] += c * r[d]
        i += 1


@_compiled
def _dots(index, start, stop, table, g, out):
    """out[i] = g . table[index[i]] for i from `start` to `stop`."""
    i, zero = start, g.dtype.type(0)
    while i + 4 <= stop:
        r0, r1, r2, r3 = table[index[i]], table[index[i + 1]], table[index[i + 2]], table[index[i + 3]]
        s0, s1, s2, s3 = zero, zero, zero, zero
        for d in range(len(g)):
            s0 += g[d] * r0[d]
            s1 += g[d] * r1[d]
            s2 += g[d] * r2[d]
            s3 += g[d] * r3[d]
        out[i], out[i + 1], out[i + 2], out[i + 3] = s0, s1, s2, s3
        i += 4
    while i < stop:
        r, s = table[index[i]], zero
        for d in range(len(g)):
            s += g[d] * r[d]
        out[i] = s
        i += 1


_ITSELF = np.empty(0, np.int32)


@_compiled
def decode(begin, end, latent, f, W_dec, first, last, out):
    """`out` [B, D] += the sum over each token's entries of `f` [n] times the rows of `W_dec` [M, D]."""
    for b in range(first, last):
        _sum_rows(latent, _ITSELF, f, begin[b], end[b], W_dec, out[b])


@_compiled
def dots(begin, end, latent, g, W_dec, first, last, out):
    """`out` [n] = the product of each entry's row of `W_dec` [M, D] with its token's row of `g` [B, D]."""
    for b in range(first, last):
        _dots(latent, begin[b], end[b], W_dec, g[b], out)


@_compiled
def compare(begin, end, latent, f, W_dec, x, scale, first, last, error, out):
    """`error` [B, D] = `scale` [] times what `decode` gives less `x` [B, D]; `out` [n] = `dots` of it.

    A token's rows are read from memory once for both.
    """
    factor = scale.item()
    for b in range(first, last):
        e, wanted = error[b], x[b]
        for d in range(len(e)):
            e[d] = -wanted[d]
        _sum_rows(latent, _ITSELF, f, begin[b], end[b], W_dec, e)
        for d in range(len(e)):
            e[d] *= factor
        _dots(latent, begin[b], end[b], W_dec, e, out)


# Latent by latent -----------------------------------------------------------------------------------------------------


@_compiled
def by_latent(begin, end, latent, starts, order, token):
    """Sort entries by latent, stably: latent j's are at `starts[j]` to `starts[j + 1]` of `order` and `token` [n]."""
    starts[:] = 0
    for b in range(len(begin)):
        for i in range(begin[b], end[b]):
            starts[latent[i] + 1] += 1
    for j in range(1, len(starts)):
        starts[j] += starts[j - 1]
    for b in range(len(begin)):
        for i in range(begin[b], end[b]):
            place = starts[latent[i]]
            order[place], token[place] = i, b
            starts[latent[i]] = place + 1
    for j in range(len(starts) - 1, 0, -1):
        starts[j] = starts[j - 1]
    starts[0] = 0


@_compiled
def sum_by_latent(starts, order, coefficients, out):
    """`out` [M] = the sum of `coefficients` [n] over each latent's entries."""
    for j in range(len(out)):
        total = out.dtype.type(0)
        for i in range(starts[j], starts[j + 1]):
            total += coefficients[order[i]]
        out[j] = total


@_compiled
def count_by_latent(starts, order, values, out):
    """`out` [M] = how many of `values` [n] are positive, of each latent's entries."""
    for j in range(len(out)):
        out[j] = 0
        for i in range(starts[j], starts[j + 1]):
            out[j] += values[order[i]] > 0


@_compiled
def count_positive(values, out):
    """`out` [M] = how many of each column of `values` [B, M] are positive."""
    counts = np.zeros(len(out), np.int32)
    for b in range(len(values)):
        row = values[b]
        for j in range(len(out)):
            counts[j] += np.int32(row[j] > 0)
    out[:] = counts


@_compiled
def rows_by_latent(starts, order, token, coefficients, table, first, last, out):
    """`out` [M, D] += the sum over each latent's entries of `coefficients` [n] times their tokens' rows of `table` [B, D]."""
    for j in range(first, last):
        _sum_rows(token, order, coefficients, starts[j], starts[j + 1], table, out[j])


@_compiled
def project(gradient, W, first, last):
    """Remove from each row of `gradient` [M, D] its part along the row of `W`."""
    for j in range(first, last):
        _project(gradient[j], W[j])


@_compiled
def _project(g, w):
    along, square = w.dtype.type(0), w.dtype.type(0)
    for d in range(len(w)):
        along += g[d] * w[d]
        square += w[d] * w[d]
    along /= square
    for d in range(len(w)):
        g[d] -= along * w[d]


@_compiled
def _adam(g, w, m, v, factor, unit, adam):
    """Adam on one row; `adam` holds rate / bias 1, beta1, beta2, 1 / sqrt(bias 2), eps. `unit` brings the row to norm one.

    With a beta1 of zero `m` is neither read nor written: memory is what this costs.
    """
    rate, beta1, beta2, root, eps = adam[0], adam[1], adam[2], adam[3], adam[4]
    one, squares = w.dtype.type(1), w.dtype.type(0)
    for d in range(len(w) if beta1 == 0 else 0):
        x = factor * g[d]
        square = beta2 * v[d] + (one - beta2) * x * x
        v[d] = square
        moved = w[d] - rate * x / (np.sqrt(square) * root + eps)
        w[d] = moved
        squares += moved * moved
    for d in range(0 if beta1 == 0 else len(w)):
        x = factor * g[d]
        mean, square = beta1 * m[d] + (one - beta1) * x, beta2 * v[d] + (one - beta2) * x * x
        m[d], v[d] = mean, square
        moved = w[d] - rate * mean / (np.sqrt(square) * root + eps)
        w[d] = moved
        squares += moved * moved
    if unit:
        scale = one / np.sqrt(squares)
        for d in range(len(w)):
            w[d] *= scale


@_compiled
def update(gradient, W, m, v, factor, unit, adam, first, last):
    """Adam on rows of `W` [M, D] with moments `m` and `v`, by rows of `gradient` times `factor`."""
    scale = W.dtype.type(factor)
    for j in range(first, last):
        _adam(gradient[j], W[j], m[j], v[j], scale, unit, adam)


@_compiled
def update_by_entries(one, two, W, m, v, projected, unit, adam, first, last):
    """`rows_by_latent` of one or two sources, `project` where asked, and `update`, without a gradient in memory.

    A source is (starts, order, token, coefficients, table); the second may have no entries.
    """
    g, scale, two_sources = np.empty(W.shape[1], W.dtype), W.dtype.type(1), len(two[1]) > 0
    for j in range(first, last):
        w = W[j]
        silent = one[0][j] == one[0][j + 1] and not (two_sources and two[0][j] < two[0][j + 1])
        if silent and adam[1] == 0:  # no gradient and no momentum: the row stays where it is
            for d in range(len(w)):
                v[j, d] *= adam[2]
            continue
        g[:] = 0
        _sum_rows(one[2], one[1], one[3], one[0][j], one[0][j + 1], one[4], g)
        if two_sources:
            _sum_rows(two[2], two[1], two[3], two[0][j], two[0][j + 1], two[4], g)
        if projected:
            _project(g, w)
        _adam(g, w, m[j], v[j], scale, unit, adam)
