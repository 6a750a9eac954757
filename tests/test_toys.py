"""The Gated paper's toys: trained SAEs end at the analytic optimum, fitted units at the least squares, and faults show."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import optimize

from saebook.book import budgets
from saebook.papers.gated.drawing import toys
from saebook.papers.gated.toys import jump, one_feature


@pytest.fixture(scope="module")
def trained():
    budget = budgets.resolve("gated.fig02_shrinkage_toy", "smoke", seeds=[0, 1, 2, 3], penalties=[0.0, 1.0, 1.5, 2.5])
    return one_feature.trained(budget)


def test_the_optima_are_those_of_the_printed_losses():
    for penalty in (0.0, 0.3, 1.0, 1.7, 2.0, 3.0):
        least = optimize.minimize_scalar(
            lambda f, p=penalty: (1 - f) ** 2 + p * f, bounds=(0, 2), method="bounded", options={"xatol": 1e-9}
        )
        assert one_feature.shrunk(penalty) == pytest.approx(least.x, abs=1e-4)
        assert one_feature.gated(penalty) == (1.0 if penalty < 2 else 0.0)


def test_trained_saes_end_at_the_optimum(trained):
    assert len(trained) == 2 * 4 * 4 and trained.attrs["trained"] == 32
    assert (trained.activation - trained.optimum).abs().max() < 1e-3
    assert one_feature.at(trained, "relu", 1.0) == pytest.approx([0.5] * 4, abs=1e-3)
    assert one_feature.at(trained, "gated", 1.0) == pytest.approx([1.0] * 4, abs=1e-3)
    assert one_feature.loss_per_unit(trained, "relu") == pytest.approx([0.5] * 4, abs=1e-3)
    assert one_feature.loss_per_unit(trained, "gated") == pytest.approx([0.0] * 4, abs=1e-3)
    alive = trained[trained.activation > 0]
    assert (alive.gamma - alive.activation).abs().max() < 1e-3 and len(alive) == 24
    assert one_feature.at(trained, "relu", 0.7) == []


def test_a_free_bias_would_hide_the_feature(monkeypatch):
    """The planted fault that holding b_dec prevents: with half of the tokens on, it takes over what the penalty pushes out."""
    monkeypatch.setattr(toys, "_Unbiased", one_feature.TrainState)
    budget = budgets.resolve("gated.fig02_shrinkage_toy", "smoke", penalties=[1.0])
    assert max(one_feature.at(one_feature.trained(budget), "relu", 1.0)) < 0.45


def test_a_toy_is_the_same_twice():
    budget = budgets.resolve("gated.fig02_shrinkage_toy", "smoke", seeds=[3], penalties=[1.0], steps=40)
    assert one_feature.trained(budget).activation.tolist() == one_feature.trained(budget).activation.tolist()


def test_the_shrinkage_figure_marks_every_sae(trained):
    left, right = toys.shrinkage(trained, one_feature.OPTIMA).axes
    marks = [line for line in right.lines if line.get_linestyle() == "None"]
    assert sorted(len(line.get_xdata()) for line in marks) == [16, 16]
    (minimum,) = [line for line in left.lines if line.get_marker() == "o"]
    assert minimum.get_xdata()[0] == pytest.approx(0.5, abs=2e-3)


# The jump ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy():
    return budgets.resolve("gated.fig15_jumprelu_toy", "smoke")


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
def test_the_best_units_are_those_of_a_plain_search(toy, threshold):
    z, y = jump.sample(toy, 0, tokens=300)
    relu, jumped = jump.best_relu(z, y, threshold), jump.best_jump(z, y, threshold)
    assert relu.shift == relu.threshold
    assert jump.error(relu, z, y) == pytest.approx(plain(z, y, False, threshold), rel=1e-9)
    assert jump.error(jumped, z, y) == pytest.approx(plain(z, y, True, threshold), rel=1e-9)
    assert jump.error(jumped, z, y) <= jump.error(relu, z, y) + 1e-12  # a ReLU is a JumpReLU


def test_no_reader_beats_the_conditional_mean(toy):
    z, y = jump.sample(toy, 1, tokens=200_000)
    least = jump.error(lambda grid: jump.posterior_mean(toy, grid), z, y)
    for unit in (jump.PAPER_RELU, jump.PAPER_JUMP, jump.best_relu(z, y), jump.best_jump(z, y)):
        assert jump.error(unit, z, y) > least
    near = np.abs(z - 1.0) < 0.02  # and it is what tokens of one projection average to
    assert jump.posterior_mean(toy, np.array([1.0]))[0] == pytest.approx(y[near].mean(), abs=0.03)


def test_a_jump_is_worth_nothing_in_overlap_and_much_when_apart(toy):
    over = jump.over_separation(SimpleNamespace(**{**vars(toy), "on_means": [2.0, 6.0]}))
    ratios = over.groupby("separation").ratio.mean()
    assert ratios[2.0] == pytest.approx(1.0, abs=0.02) and ratios[6.0] < 0.3
    assert (over.ratio_same_threshold < 0.95).all()


def test_the_control_reads_one_where_the_truth_is_a_relu(toy):
    assert jump.control(toy) == pytest.approx([1.0] * len(toy.seeds), abs=5e-3)


def test_scoring_on_the_fitted_tokens_would_flatter_the_jump(toy):
    """The planted fault that fresh tokens prevent: with few tokens the larger family always looks better on its own."""
    ratios = [
        jump.error(jump.best_jump(z, y), z, y) / jump.error(jump.best_relu(z, y), z, y)
        for z, y in (jump.sample(toy, seed, tokens=100) for seed in range(20))
    ]
    assert max(ratios) < 1.0 + 1e-12 and np.mean(ratios) < 0.98


@pytest.mark.parametrize("unit", [jump.PAPER_JUMP, jump.Unit(0.7, 1.3, 0.2), jump.Unit(-0.4, 0.5, -1.0)])
def test_the_books_gated_sae_is_the_unit_and_has_its_threshold(unit):
    z = np.linspace(-3, 4, 401)
    sae = jump.as_gated(unit)
    assert np.allclose(sae.reconstruct(torch.from_numpy(z)[:, None])[0, :, 0].detach(), unit(z))
    assert sae.threshold().item() == pytest.approx(unit.slope * (unit.threshold - unit.shift))


def test_the_books_baseline_is_the_relu():
    z = np.linspace(-3, 4, 401)
    sae = jump.as_relu(jump.PAPER_RELU)
    assert np.allclose(sae.reconstruct(torch.from_numpy(z)[:, None])[0, :, 0].detach(), jump.PAPER_RELU(z))


def test_the_jump_figure_shows_readers_and_intervals(toy):
    z, y = jump.sample(toy, 0)
    over = jump.over_separation(toy)
    units = {"ReLU, paper": jump.PAPER_RELU, "JumpReLU, paper": jump.PAPER_JUMP, "least": lambda grid: grid}
    top, middle, bottom = toys.jumps(toy, z, y, units, over).axes
    assert [line.get_label() for line in middle.lines] == list(units)
    assert len(bottom.containers) == 2 * over.separation.nunique() and top.patches
