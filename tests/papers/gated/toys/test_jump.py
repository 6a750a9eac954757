"""The JumpReLU toy: fitted units are the least squares, and its control reads one."""

import numpy as np
import pytest
import torch

from saebook.book import budgets
from saebook.papers.gated.toys import jump


@pytest.fixture(scope="module")
def toy():
    return budgets.resolve("gated/fig15_jumprelu_toy", "smoke")


def plain(z, y, jump, threshold=None):
    """The least squared error over thresholds by numpy's own solver, one threshold after the other."""
    errors = []
    for t in [threshold] if threshold is not None else np.sort(z)[:-1]:
        above = z > t
        columns = np.stack([z[above], np.ones(above.sum())], 1) if jump else (z[above] - t)[:, None]
        fitted = columns @ np.linalg.lstsq(columns, y[above], rcond=None)[0]
        errors.append((np.square(y[~above]).sum() + np.square(y[above] - fitted).sum()) / len(z))
    return min(errors)


@pytest.mark.parametrize("threshold", [None, 1.0, -50.0])
def test_best_units_are_those_of_a_plain_search(toy, threshold):
    z, y = jump.sample(toy, 0, tokens=300)
    relu, jumped = jump.best_relu(z, y, threshold), jump.best_jump(z, y, threshold)
    assert relu.shift == relu.threshold
    assert jump.error(relu, z, y) == pytest.approx(plain(z, y, False, threshold), rel=1e-9)
    assert jump.error(jumped, z, y) == pytest.approx(plain(z, y, True, threshold), rel=1e-9)
    assert jump.error(jumped, z, y) <= jump.error(relu, z, y) + 1e-12  # a ReLU is a JumpReLU


def test_no_unit_beats_the_conditional_mean(toy):
    z, y = jump.sample(toy, 1, tokens=200_000)
    least = jump.error(lambda grid: jump.posterior_mean(toy, grid), z, y)
    for unit in (jump.PAPER_RELU, jump.PAPER_JUMP, jump.best_relu(z, y), jump.best_jump(z, y)):
        assert jump.error(unit, z, y) > least
    near = np.abs(z - 1.0) < 0.02  # and it is what tokens of one projection average to
    assert jump.posterior_mean(toy, np.array([1.0]))[0] == pytest.approx(y[near].mean(), abs=0.03)


def test_jump_helps_only_when_on_and_off_are_apart(toy):
    over = jump.over_separation(toy.model_copy(update={"on_means": (2.0, 6.0)}))
    ratios = over.groupby("separation").ratio.mean()
    assert ratios[2.0] == pytest.approx(1.0, abs=0.02) and ratios[6.0] < 0.3
    assert (over.ratio_same_threshold < 0.95).all()


def test_control_ratio_is_one_for_a_true_relu(toy):
    assert jump.control(toy) == pytest.approx([1.0] * len(toy.seeds), abs=5e-3)


def test_scoring_on_the_fitted_tokens_would_favour_the_jump(toy):
    """The planted fault that fresh tokens prevent: with few tokens the larger family always looks better on its own."""
    ratios = [
        jump.error(jump.best_jump(z, y), z, y) / jump.error(jump.best_relu(z, y), z, y)
        for z, y in (jump.sample(toy, seed, tokens=100) for seed in range(20))
    ]
    assert max(ratios) < 1.0 + 1e-12 and np.mean(ratios) < 0.98


@pytest.mark.parametrize("unit", [jump.PAPER_JUMP, jump.Unit(0.7, 1.3, 0.2), jump.Unit(-0.4, 0.5, -1.0)])
def test_gated_sae_equals_the_unit_and_its_threshold(unit):
    z = np.linspace(-3, 4, 401)
    sae = jump.as_gated(unit)
    assert np.allclose(sae.reconstruct(torch.from_numpy(z)[:, None])[0, :, 0].detach(), unit(z))
    assert sae.threshold().item() == pytest.approx(unit.slope * (unit.threshold - unit.shift))


def test_baseline_equals_the_relu():
    z = np.linspace(-3, 4, 401)
    sae = jump.as_relu(jump.PAPER_RELU)
    assert np.allclose(sae.reconstruct(torch.from_numpy(z)[:, None])[0, :, 0].detach(), jump.PAPER_RELU(z))
