"""Compiled loops that read an encoder's product: which latents are active, and what they have in it.

As in `numba_entries`: ranges of tokens, without the interpreter's lock, and entries token by token. A product is in the type
of the weights, or bfloat16, of which numba knows nothing: that arrives as the int16 with the same bits.

All loops that call one another are in this one file: the cache of compiled code notices a change in a function's own file,
not in one it calls. Letters: B tokens, M latents, n entries.
"""

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic, overload
from numba.np.arrayobj import make_array

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


def _number(x):
    """The number that an element of a product stands for: bfloat16 arrives as the int16 with the same bits."""
    raise NotImplementedError("compiled code only")


@overload(_number, inline="always")
def _compiled_number(x):
    if isinstance(x, types.Integer):
        return lambda x: np.int32(np.int32(x) << np.int32(16)).view(np.float32)
    return lambda x: x


_LANES = 64  # numbers that one bit mask speaks of
_HALVINGS = 16  # of an interval, after which what is left in it counts as alike


@intrinsic
def _lanes_above(typing, row, first, limits, first_limit):
    """A mask whose bit i says that not `row[first + i] <= limits[first_limit + i]`, for i < 64; no branch, and NaN counts.

    Compilers do not find this by themselves, and a branch for each number costs ten times as much.
    """
    if row.layout != "C" or limits.layout != "C":
        return None  # numbers that do not lie side by side cannot be loaded at once; numba refuses the call
    signature = types.uint64(row, types.int64, limits, types.int64)

    def generate(context, builder, signature, arguments):
        def lanes(place, offset):
            array = make_array(signature.args[place])(context, builder, arguments[place])
            data = builder.gep(array.data, [arguments[offset]])
            vector = ir.VectorType(data.type.pointee, _LANES)
            return builder.load(builder.bitcast(data, vector.as_pointer()), align=1)

        numbers, least = lanes(0, 1), lanes(2, 3)
        if isinstance(signature.args[0].dtype, types.Integer):
            # bfloat16 is the upper half of a number in single precision.
            wide = ir.VectorType(ir.IntType(32), _LANES)
            shift = ir.Constant(wide, [16] * _LANES)
            numbers = builder.bitcast(builder.shl(builder.zext(numbers, wide), shift), least.type)
        return impl_ret_untracked(
            context,
            builder,
            types.uint64,
            builder.bitcast(builder.fcmp_unordered(">", numbers, least), ir.IntType(64)),
        )

    return signature, generate


@intrinsic
def _lowest(typing, mask):
    """The number of the lowest bit that is set in `mask`, which has one."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@_compiled
def _places_above(row, limits, step, places):
    """Write the places of `row` [n] that lie above `limits` to `places` in order, and return how many there are.

    With `step` 1 each place has its own limit [n]; with 0 all have the same, and `limits` repeats it (`_LANES` times).
    """
    n, count = len(row), 0
    whole = n // _LANES * _LANES
    for start in range(0, whole, _LANES):
        mask = _lanes_above(row, start, limits, start * step)  # pyright: ignore[reportCallIssue] - numba gives `typing`
        while mask:
            places[count] = start + np.int64(_lowest(mask))
            count += 1
            mask &= mask - np.uint64(1)
    for i in range(whole, n):
        if not (_number(row[i]) <= limits[i * step]):
            places[count] = i
            count += 1
    return count


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
    for b in range(first, last):
        row, start = h[b], begin[b]
        n = _places_above(row, theta, 1, latent[start:])
        for i in range(start, start + n):
            value[i] = _number(row[latent[i]])


@_compiled
def mask_above(h, theta, mask, products):
    """`mask` [B, M]: one where `h` [B, M] lies above `theta` [M] or is NaN, else zero. `products` [B, M] = h."""
    one, zero = theta.dtype.type(1), theta.dtype.type(0)
    for b in range(len(h)):
        row, marks, out = h[b], mask[b], products[b]
        for j in range(len(theta)):
            x = _number(row[j])
            marks[j] = zero if x <= theta[j] else one
            out[j] = x


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
def _halved(a, n, k, low):
    """`(bound, count)`: `count` of `a[:n]` reach `bound`; at least `k`, and exactly k unless many are alike. So do they reach `low`.

    By halving an interval: counting is fast.
    """
    high, reached = low, np.int32(n)
    for q in range(n):
        high = max(high, a[q])
    for _ in range(_HALVINGS):
        middle, count = (low + high) / a.dtype.type(2), np.int32(0)
        for q in range(n):
            count += np.int32(a[q] >= middle)
        if count < k:
            high = middle
        else:
            low, reached = middle, count
            if count == k:
                break
    return low, reached


@_compiled
def _candidates(row, k, scratch, limits, chosen):
    """Write the places of the positive numbers of `row` [n] that may be among its `k` largest, and return their number.

    Of a long row, the maxima of 4 k groups stand for all: at least k numbers reach what k of the maxima reach.
    """
    n, groups, low = len(row), 4 * k, np.finfo(row.dtype).tiny  # the smallest number that counts as positive
    if n >= 2 * groups:
        for q in range(groups):
            scratch[q] = row[q]
        whole = n // groups * groups
        for start in range(groups, whole, groups):
            for q in range(groups):
                scratch[q] = max(scratch[q], row[start + q])
        for q in range(n - whole):
            scratch[q] = max(scratch[q], row[whole + q])
        low, _ = _halved(scratch, groups, k, low)
    limits[:] = np.nextafter(low, row.dtype.type(0))
    return _places_above(row, limits, 0, chosen)


@_compiled
def _strongest_of(row, chosen, n, k, scratch):
    """Keep the places of the `k` largest of `row` among those in `chosen[:n]`, of equal ones the first; returns k."""
    for c in range(n):
        scratch[c] = row[chosen[c]]
    bound, count = _halved(scratch, n, k, row.dtype.type(0))
    equal = k
    if count > k:
        bound = _kth_largest(scratch, n, k)
        for c in range(n):
            equal -= np.int64(row[chosen[c]] > bound)
    kept = 0
    for c in range(n):  # no branch: which ones are kept cannot be predicted
        x = row[chosen[c]]
        chosen[kept] = chosen[c]
        same = np.int64(x == bound)
        kept += np.int64(x > bound) + same * np.int64(equal > 0)
        equal -= same
    return kept


@_compiled
def strongest(h, bias, columns, k, first, last, end, latent, value):
    """The `k` largest of h + bias among `columns` of each token, as far as they are positive; of equal ones the first.

    Token b has the slots b k to (b + 1) k, filled up to `end[b]`; the rest is set to latent 0 and value 0. `columns` may
    be empty: all are meant. A token with NaN or infinity keeps the first k as they are, so that the loss shows them.
    """
    every, n = len(columns) == 0, len(columns) if len(columns) else h.shape[1]
    row, scratch, chosen = np.empty(n, bias.dtype), np.empty(n, bias.dtype), np.empty(n, np.int32)
    limits = np.empty(_LANES, bias.dtype)
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
        if total - total == 0:
            count = _candidates(row, k, scratch, limits, chosen)
        else:
            count = k
            chosen[:k] = np.arange(k)
        if count > k:
            count = _strongest_of(row, chosen, count, k, scratch)
        slot = b * k
        for c in range(count):
            i = chosen[c]
            latent[slot + c] = i if every else columns[i]
            value[slot + c] = row[i]
        end[b] = slot + count
        for i in range(slot + count, slot + k):
            latent[i] = 0
            value[i] = 0


@_compiled
def take(begin, end, latent, h, out):
    """`out` [n] = what each entry has in `h` [B, M]."""
    for b in range(len(begin)):
        for i in range(begin[b], end[b]):
            out[i] = _number(h[b, latent[i]])
