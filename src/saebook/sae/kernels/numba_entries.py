"""Compiled loops of a CPU training step: compress an encoder's product to its active entries, and go on with those alone.

Entries lie token by token: those of token b are at `begin[b]` to `end[b]` of `latent` and of every array of values. All
loops run over a range `first` to `last` of tokens or latents without the interpreter's lock, so that threads can share
them, and no result depends on how they do. Sums may be reordered for the vector units (a processor always does it in the
same way); NaN is kept. Letters: B tokens, D width, M latents, n entries.

All loops are in this one file: the cache of compiled code notices a change in a function's own file, not in one it calls.
"""

import numba
import numpy as np
from numba.core import types
from numba.extending import overload

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


def _number(x):
    """The number that an element of a product stands for: bfloat16 arrives as the int16 with the same bits."""
    raise NotImplementedError("compiled code only")


@overload(_number, inline="always")
def _compiled_number(x):
    if isinstance(x, types.Integer):
        return lambda x: np.int32(np.int32(x) << np.int32(16)).view(np.float32)
    return lambda x: x


# Selection ------------------------------------------------------------------------------------------------------------


@_compiled
def count_above(h, theta, first, last, counts):
    """`counts` [B]: how many of `h` [B, M] lie above `theta` [M]. NaN counts, so that it reaches the loss."""
    for b in range(first, last):
        row, n = h[b], np.int32(0)
        for j in range(len(theta)):
            n += np.int32(not (_number(row[j]) <= theta[j]))
        counts[b] = n


@_compiled
def fill_above(h, theta, first, last, begin, latent, value):
    """Write the entries that `count_above` counted: `latent` and `value` [n], the value being h itself."""
    chosen = np.empty(len(theta) + 1, np.int32)
    for b in range(first, last):
        row, n = h[b], 0
        for j in range(len(theta)):  # no branch: which latents are active cannot be predicted
            chosen[n] = j
            n += np.int64(not (_number(row[j]) <= theta[j]))
        start = begin[b]
        for i in range(n):
            latent[start + i] = chosen[i]
            value[start + i] = _number(row[chosen[i]])


@_compiled
def _kth_largest(a, n, k):
    """The k-th largest of `a[:n]`, which is reordered. Without NaN."""
    low, high, wanted = 0, n - 1, k - 1
    while low < high:
        middle = (low + high) // 2
        x, y, z = a[low], a[middle], a[high]
        pivot = max(min(x, y), min(max(x, y), z))
        i, j = low, high
        while i <= j:
            while a[i] > pivot:
                i += 1
            while a[j] < pivot:
                j -= 1
            if i <= j:
                a[i], a[j] = a[j], a[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    return a[wanted]


@_compiled
def _lower_bound(row, k, scratch):
    """A number that at least `k` of `row` [n] reach, and few others: the k-th largest of the maxima of 4 k groups."""
    n, groups = len(row), 4 * k
    if n < 2 * groups:
        return row.dtype.type(0)
    for q in range(groups):
        scratch[q] = row[q]
    whole = n // groups * groups
    for start in range(groups, whole, groups):
        for q in range(groups):
            scratch[q] = max(scratch[q], row[start + q])
    for q in range(n - whole):
        scratch[q] = max(scratch[q], row[whole + q])
    return _kth_largest(scratch, groups, k)


@_compiled
def strongest(h, bias, columns, k, first, last, end, latent, value):
    """The `k` largest of h + bias among `columns` of each token, as far as they are positive; of equal ones the first.

    Token b has the slots b k to (b + 1) k, filled up to `end[b]`; the rest is set to latent 0 and value 0. `columns` may
    be empty: all are meant. A token with NaN or infinity keeps the first k as they are, so that the loss shows them.
    """
    every, n = len(columns) == 0, len(columns) if len(columns) else h.shape[1]
    row, scratch, chosen = np.empty(n, bias.dtype), np.empty(n, bias.dtype), np.empty(n + 1, np.int32)
    least = np.finfo(bias.dtype).tiny  # the smallest number that counts as positive
    for b in range(first, last):
        total = bias.dtype.type(0)
        if every:
            for i in range(n):
                row[i] = _number(h[b, i]) + bias[i]
                total += row[i]
        else:
            for i in range(n):
                row[i] = _number(h[b, columns[i]]) + bias[columns[i]]
                total += row[i]
        count, equal = 0, k
        bound = bias.dtype.type(-np.inf)
        if total - total == 0:
            limit = max(_lower_bound(row, k, scratch), least)
            for i in range(n):  # no branch: which latents are active cannot be predicted
                chosen[count] = i
                count += np.int64(row[i] >= limit)
            if count > k:
                for i in range(count):
                    scratch[i] = row[chosen[i]]
                bound = _kth_largest(scratch, count, k)
                for i in range(count):
                    equal -= np.int64(row[chosen[i]] > bound)
        else:
            count = k
            for i in range(k):
                chosen[i] = i
        slot, stop = b * k, (b + 1) * k
        for c in range(count):
            i = chosen[c]
            if row[i] < bound:
                continue
            if row[i] == bound:
                equal -= 1
                if equal < 0:
                    continue
            latent[slot] = i if every else columns[i]
            value[slot] = row[i]
            slot += 1
        end[b] = slot
        for i in range(slot, stop):
            latent[i] = 0
            value[i] = 0


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
def decode_and_dots(begin, end, latent, f, W_dec, first, last, error, out):
    """`decode` into `error` [B, D], then `dots` of the outcome: a token's rows are read from memory once for both."""
    for b in range(first, last):
        _sum_rows(latent, _ITSELF, f, begin[b], end[b], W_dec, error[b])
        _dots(latent, begin[b], end[b], W_dec, error[b], out)


@_compiled
def take(begin, end, latent, h, out):
    """`out` [n] = what each entry has in `h` [B, M]."""
    for b in range(len(begin)):
        for i in range(begin[b], end[b]):
            out[i] = _number(h[b, latent[i]])


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
    """Adam on one row; `adam` holds rate / bias 1, beta1, beta2, 1 / sqrt(bias 2), eps. `unit` brings the row to norm one."""
    rate, beta1, beta2, root, eps = adam[0], adam[1], adam[2], adam[3], adam[4]
    one, squares = w.dtype.type(1), w.dtype.type(0)
    for d in range(len(w)):
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
        g[:] = 0
        _sum_rows(one[2], one[1], one[3], one[0][j], one[0][j + 1], one[4], g)
        if two_sources:
            _sum_rows(two[2], two[1], two[3], two[0][j], two[0][j + 1], two[4], g)
        if projected:
            _project(g, w)
        _adam(g, w, m[j], v[j], scale, unit, adam)
