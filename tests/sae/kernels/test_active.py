"""Active latents as entries and as a grid: both do the same, and the same as plain products."""

import numpy as np
import pytest
import torch

from saebook.sae.kernels import active, threads
from saebook.sae.kernels.active import Entries, Grid, Source, above, rows_of, strongest

B, D, M = 70, 19, 45


def made(seed=0, dtype=torch.float64, rows=B, columns=M):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def both(monkeypatch):
    """The same latents in both forms: about a third of all, with none in the first token and all in the second."""
    h, theta = made(), torch.linspace(0.2, 0.6, M, dtype=torch.float64)
    h[0], h[1] = -1.0, 2.0
    forms = []
    for share in (1.0, -1.0):
        monkeypatch.setattr(active, "_CROSSOVER", {"fp32": share})
        forms.append(above(h, theta, "fp32"))
    assert isinstance(forms[0], Entries) and isinstance(forms[1], Grid)
    return h, h > theta, *forms


def dense(entries, values):
    """Values of entries as [B, M]."""
    out = torch.zeros(len(entries.begin), entries.d_sae, dtype=values.dtype)
    for b, (first, last) in enumerate(zip(entries.begin, entries.end, strict=True)):
        out[b, torch.from_numpy(entries.latent[first:last]).long()] = values[first:last]
    return out


def test_above_keeps_what_exceeds_its_threshold(both):
    h, mask, entries, grid = both
    assert torch.equal(dense(entries, entries.h), h * mask) and torch.equal(grid.mask.bool(), mask)
    assert entries.end[0] == entries.begin[0] and entries.end[1] - entries.begin[1] == M


def test_forms_agree_with_plain_products(both):
    h, mask, entries, grid = both
    vector, W_dec, x, table = made(1)[0], made(2, rows=M, columns=D), made(3, columns=D), made(4, columns=D)
    shown = []
    for form in (entries, grid):
        values = form.values(form.h * form.of(vector))
        error, dots = form.compare(values, W_dec, x, 0.5)
        shown.append([
            form.decode(values, W_dec), form.dots(x, W_dec), error, dots, form.sums(values), form.rows(values, table),
            form.counts(values), form.values(form.take(made(5)) + 0.0),
        ])  # fmt: skip
    f = h * vector * mask
    error = 0.5 * (f @ W_dec - x)
    plain = [
        f @ W_dec, (x @ W_dec.T) * mask, error, (error @ W_dec.T) * mask, f.sum(0), f.T @ table, (f > 0).sum(0), made(5) * mask,
    ]  # fmt: skip
    of_entries, of_grid = shown
    for place in (1, 3, 7):
        of_entries[place] = dense(entries, of_entries[place])
    for one, other, expected in zip(of_entries, of_grid, plain, strict=True):
        assert torch.allclose(one.double(), expected.double(), atol=1e-12)
        assert torch.allclose(other.double(), expected.double(), atol=1e-12)
    both_sources = [Source(entries, entries.h, table), Source(grid, grid.values(grid.h.clone()), x)]
    assert torch.allclose(rows_of(both_sources), (h * mask).T @ (table + x), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("latents", "k", "columns"), [(45, 5, None), (700, 8, None), (1111, 32, None), (90, 16, 40), (30, 30, 12)]
)
def test_strongest_are_those_of_torch_topk(dtype, latents, k, columns):
    single = torch.float32 if dtype == torch.bfloat16 else dtype
    h, bias = made(0, single, columns=latents).to(dtype), 0.3 * made(1, single, columns=latents)[0]
    among = (
        None if columns is None else torch.from_numpy(np.sort(np.random.default_rng(0).permutation(latents)[:columns]))
    )
    sums = h.to(single) + bias
    if among is not None:
        hidden = torch.full_like(sums, float("-inf"))
        hidden[:, among] = sums[:, among]
        sums = hidden
    values, places = sums.topk(min(k, columns or latents))
    expected = torch.zeros_like(sums).scatter(1, places, values.relu())
    entries = strongest(h, bias, k, among)
    assert torch.equal(dense(entries, entries.h), expected)
    unused = np.ones(len(entries.latent), bool)
    for first, last in zip(entries.begin, entries.end, strict=True):
        unused[first:last] = False
    assert not entries.latent[unused].any() and not entries.h[torch.from_numpy(unused)].any()


def test_of_equal_latents_the_first_are_kept():
    h = torch.tensor(
        [[1.0, 2.0, 1.0, 1.0, -1.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [-3.0, -2.0, -1.0, 5.0, -1.0, -2.0]]
    )
    entries = strongest(h, torch.zeros(6), 3)
    kept = [entries.latent[a:b].tolist() for a, b in zip(entries.begin, entries.end, strict=True)]
    assert kept == [[0, 1, 5], [], [3]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_product_that_is_not_finite_reaches_the_loss(bad):
    h, W_dec = made(0, torch.float32), made(1, torch.float32, rows=M, columns=D)
    h[3, 7] = bad
    for form in (above(h, torch.zeros(M), "fp32"), strongest(h, torch.zeros(M), M)):
        assert not form.decode(form.h, W_dec)[3].isfinite().all()
        assert form.decode(form.h, W_dec)[2].isfinite().all()


def test_bfloat16_products_are_read_as_they_are():
    h = made(0, torch.float32).bfloat16()
    entries = above(h, torch.full((M,), 1.2), "bf16")
    assert torch.equal(dense(entries, entries.h), h.float() * (h.float() > 1.2))
    other = made(1, torch.float32).bfloat16()
    assert torch.equal(dense(entries, entries.take(other)), other.float() * (h.float() > 1.2))


def test_form_follows_the_share_that_is_active():
    h = torch.rand(64, 100, generator=torch.Generator().manual_seed(0))
    for share, form in ((0.2, Entries), (0.9, Grid)):
        assert isinstance(above(h, torch.full((100,), 1 - share), "fp32"), form)
    assert isinstance(above(h, torch.full((100,), 0.7), "bf16"), Grid)  # faster products pay sooner


def test_numbers_do_not_depend_on_the_threads(monkeypatch):
    h, W_dec, x = (
        made(0, torch.float32, rows=300),
        made(1, torch.float32, rows=M, columns=D),
        made(2, torch.float32, rows=300, columns=D),
    )

    def outcome():
        entries = above(h, torch.full((M,), 1.2), "fp32")
        error, dots = entries.compare(entries.h, W_dec, x, 1.0)
        top = strongest(h, torch.zeros(M), 4)
        return [error, dots, entries.rows(dots, x), top.h, top.decode(top.h, W_dec), torch.from_numpy(top.latent)]

    alone = outcome()
    monkeypatch.setattr(threads, "count", lambda: 3)
    assert all(torch.equal(one, other) for one, other in zip(alone, outcome(), strict=True))
