"""Probes on single features: equal to another optimiser, finite where labels are separable, and honest where nothing is there."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch

from saebook.evaluation import logistic


def feature(seed, n=400, active=0.3):
    generator = torch.Generator().manual_seed(seed)
    z = torch.rand(n, generator=generator, dtype=torch.float64) * 3 + 0.2
    return z * (torch.rand(n, generator=generator) < active)


def drawn(z, w, b, seed=9):
    p = torch.sigmoid(w * z + b)
    return (torch.rand(z.shape, generator=torch.Generator().manual_seed(seed), dtype=z.dtype) < p).to(z.dtype)


def in_batches(z, size=150):
    return lambda: z.split(size)


@pytest.mark.parametrize(("w", "b", "active"), [(2.0, -3.0, 0.3), (-1.5, 0.5, 0.3), (0.1, -4.0, 0.3), (1.0, 0.0, 1.0)])
def test_fit_is_the_optimum_that_scipy_reaches(w, b, active):
    z = feature(1, active=active)
    y = drawn(z, w, b)
    mean, spread = z.mean().item(), z.std(correction=0).item()
    base = logistic.logit(y.mean(), len(y)).item()

    def objective(at):
        logits = (z.numpy() - mean) / spread * at[0] + base + at[1]
        return np.mean(np.logaddexp(0, logits) - y.numpy() * logits) + 0.5e-3 * (at[0] ** 2 + at[1] ** 2)

    expected = scipy.optimize.minimize(
        objective, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14}
    )
    slope, bias = logistic.fit(z[None], y[None], torch.ones_like(z)[None], ridge=1e-3)
    at = [slope.item() * spread, bias.item() + slope.item() * mean - base]
    assert at == pytest.approx(expected.x, abs=1e-5)
    assert objective(at) == pytest.approx(expected.fun, abs=1e-10)


def test_single_precision_agrees_with_double():
    z = torch.stack([feature(seed, 5000) for seed in range(6)])
    y = drawn(z, 2.0, -3.0)
    weight = torch.ones_like(z)
    exact = torch.stack(logistic.fit(z, y, weight))
    single = torch.stack(logistic.fit(z.float(), y.float(), weight.float()))
    assert single.dtype == torch.float32 and torch.allclose(single.double(), exact, atol=2e-3)


@pytest.mark.parametrize("rate", [0.5, 0.001])
def test_separable_labels_stay_finite(rate):
    n = 4000
    y = (torch.arange(n) < rate * n).double()
    for z in (y * (1 + 0.1 * torch.rand(n, generator=torch.Generator().manual_seed(0))), 3 - 2 * y, 1e4 * y):
        w, b = logistic.fit(z[None], y[None], torch.ones(1, n).double())
        loss = logistic.cross_entropy(z[None] * w + b, y[None], torch.ones(1, n).double()).item()
        assert torch.isfinite(torch.cat([w, b])).all() and loss < 1e-3 * logistic.entropy(torch.tensor(rate)).item()


def test_zero_and_constant_features_give_the_entropy_of_the_labels():
    y = (torch.rand(1000, 3, generator=torch.Generator().manual_seed(2)) < torch.tensor([0.01, 0.3, 0.5])).bool()
    expected = logistic.entropy(y.double().mean(0))
    for z in (torch.zeros(1000, 4), torch.full((1000, 4), 2.5)):
        probe = logistic.best(in_batches(z), y)
        assert probe.loss.double().tolist() == pytest.approx(expected.tolist(), abs=1e-6)
        assert probe.w.tolist() == [0.0] * 3
        assert logistic.scored(probe, in_batches(z), y).tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_zeros_as_one_weighted_sample_change_nothing():
    z = torch.stack([feature(seed) for seed in range(3)] + [torch.zeros(400).double()])
    y = drawn(z[0], 2.0, -2.0)
    values, tokens, weight = logistic.compressed(z)
    assert weight.sum(1).tolist() == [400.0] * 4 and (values[:, -1] == 0).all()
    assert values.sum(1).tolist() == pytest.approx(z.sum(1).tolist()) and values.shape[1] < 200
    labels = y[tokens]
    labels[:, -1] = (y.sum() - (labels * weight)[:, :-1].sum(1)) / weight[:, -1]
    dense = logistic.fit(z, y.expand_as(z), torch.ones_like(z))
    assert torch.allclose(torch.stack(logistic.fit(values, labels, weight)), torch.stack(dense), atol=1e-6)


def code(n=6000, width=60, seed=4):
    generator = torch.Generator().manual_seed(seed)
    active = torch.rand(n, width, generator=generator) < 0.05 + 0.3 * torch.rand(width, generator=generator)
    return torch.rand(n, width, generator=generator) * active


def test_planted_feature_is_chosen_and_its_loss_holds_on_other_tokens():
    z = code()
    planted = torch.tensor([7, 31])
    y = drawn(z[:, planted].double(), 12.0, -5.0).bool()
    probe = logistic.best(in_batches(z[:3000]), y[:3000])
    assert torch.equal(probe.feature, planted)
    assert probe.w.tolist() == pytest.approx([12.0] * 2, rel=0.15)
    held_out = logistic.scored(probe, in_batches(z[3000:]), y[3000:])
    assert held_out.tolist() == pytest.approx(probe.loss.tolist(), rel=0.3)
    assert (held_out < 0.7 * logistic.without_feature(y[:3000], y[3000:])).all()


def test_shuffled_labels_give_the_entropy_on_other_tokens_and_flatter_on_their_own():
    z = code()
    y = torch.rand(len(z), 20, generator=torch.Generator().manual_seed(6)) < 0.1
    probe = logistic.best(in_batches(z[:3000]), y[:3000])
    plain = logistic.without_feature(y[:3000], y[3000:])
    held_out = logistic.scored(probe, in_batches(z[3000:]), y[3000:])
    assert held_out.mean().item() == pytest.approx(plain.mean().item(), abs=2e-3)
    assert held_out.mean() > plain.mean()
    assert (probe.loss < logistic.entropy(y[:3000].double().mean(0))).all()


def test_screen_misses_no_feature_that_a_full_search_would_choose():
    z = code(width=80)
    w = torch.linspace(-3, 6, 12).double()
    y = drawn(z[:, :12].double(), w, -3.0).bool()
    some, every = logistic.best(in_batches(z), y), logistic.best(in_batches(z), y, candidates=80)
    assert torch.equal(some.feature, every.feature)
    assert torch.allclose(some.loss, every.loss, atol=1e-6)


def test_size_that_tells_where_being_active_does_not_is_chosen():
    z = 0.1 + torch.rand(4000, 40, generator=torch.Generator().manual_seed(1))  # active everywhere
    y = drawn(z[:, 23:24].double(), 4.0, -2.0).bool()
    assert logistic.best(in_batches(z), y, candidates=4).feature.tolist() == [23]


def test_logit_stays_half_a_sample_away_from_certainty():
    odds = logistic.logit(torch.tensor([0.0, 0.5, 1.0]), 100)
    assert odds.tolist() == pytest.approx([math.log(0.005 / 0.995), 0.0, math.log(0.995 / 0.005)], rel=1e-4)
