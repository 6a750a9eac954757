"""The one-feature toy: trained SAEs end at the analytic optimum."""

import pytest
from scipy import optimize

from saebook.book import budgets
from saebook.papers.gated.toys import one_feature


@pytest.fixture(scope="module")
def trained():
    budget = budgets.resolve("gated/fig02_shrinkage_toy", "smoke", seeds=[0, 1, 2, 3], penalties=[0.0, 1.0, 1.5, 2.5])
    return one_feature.trained(budget)


def test_optima_are_those_of_the_printed_losses():
    for penalty in (0.0, 0.3, 1.0, 1.7, 2.0, 3.0):
        least = optimize.minimize_scalar(
            lambda f, p=penalty: (1 - f) ** 2 + p * f, bounds=(0, 2), method="bounded", options={"xatol": 1e-9}
        )
        assert one_feature.shrunk(penalty) == pytest.approx(least.x, abs=1e-4)
        assert one_feature.gated(penalty) == (1.0 if penalty < 2 else 0.0)


def test_trained_saes_end_at_the_optimum(trained):
    assert len(trained) == 2 * 4 * 4
    assert (trained.activation - trained.optimum).abs().max() < 1e-3
    assert one_feature.at(trained, "relu", 1.0) == pytest.approx([0.5] * 4, abs=1e-3)
    assert one_feature.at(trained, "gated", 1.0) == pytest.approx([1.0] * 4, abs=1e-3)
    assert one_feature.loss_per_unit(trained, "relu") == pytest.approx([0.5] * 4, abs=1e-3)
    assert one_feature.loss_per_unit(trained, "gated") == pytest.approx([0.0] * 4, abs=1e-3)
    alive = trained[trained.activation > 0]
    assert (alive.gamma - alive.activation).abs().max() < 1e-3 and len(alive) == 24
    assert one_feature.at(trained, "relu", 0.7) == []


def test_free_bias_hides_part_of_the_feature(monkeypatch):
    """The planted fault that holding b_dec prevents: with half of the tokens on, it takes over what the penalty pushes out."""
    state = one_feature.TrainState
    monkeypatch.setattr(one_feature, "TrainState", lambda *given, fixed, **named: state(*given, **named))
    budget = budgets.resolve("gated/fig02_shrinkage_toy", "smoke", penalties=[1.0])
    assert max(one_feature.at(one_feature.trained(budget), "relu", 1.0)) < 0.45


def test_toy_is_deterministic():
    budget = budgets.resolve("gated/fig02_shrinkage_toy", "smoke", seeds=[3], penalties=[1.0], steps=40)
    assert one_feature.trained(budget).activation.tolist() == one_feature.trained(budget).activation.tolist()
