"""Averages of the weights: which are trained, what their spread over rates is, and an average without memory."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.book import budgets
from saebook.common.errors import UserError
from saebook.papers.topk.optimisation import averaging, plans
from saebook.papers.topk.scaling.plans import rates_by_width
from saebook.subject.model import Site

NAME, SITE = "topk/fig13_ema", Site("resid_post", 2, "", 16)


def keyed(methods):
    """Each run without its name, as a sweep's key sees it."""
    return {(m.architecture, m.d_sae, m.sparsities, m.training, m.options) for m in methods}


@pytest.mark.parametrize("tier", ["smoke", "cpu", "gpu", "paper"])
def test_every_rate_has_every_average_and_runs_without_one_are_those_of_figure_3(tier):
    budget = budgets.resolve(NAME, tier)
    methods = plans.weight_averages(budget, SITE)
    assert len(keyed(methods)) == len({m.name for m in methods}) == 5 * len(budget.rates)
    shared = keyed(methods) & keyed(rates_by_width(budgets.resolve("topk/fig03_learning_rate", tier), SITE))
    assert len(shared) == len(budget.rates) and all(t.weight_average is None for *_, t, _ in shared)
    averages = {m.training.weight_average for m in methods}
    assert averages == {None, 0.999, 1 - 1 / budget.memory} and {m.d_sae for m in methods} == {budget.width}
    constant = [m.training for m in methods if m.name.startswith(averaging.CONSTANT)]
    assert all({t.rate(step) for step in (0, t.steps // 2, t.steps - 1)} == {t.lr} for t in constant)
    assert sum(m.training.rate(m.training.steps - 1) < m.training.lr for m in methods) == 2 * len(budget.rates)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"width": 100}, "width must be one of widths"),
        ({"memory_share": 0.001}, "at least 2 steps"),
        ({"memory_share": 1.0}, "memory_share"),
        ({"tokens": 64 * 16000}, "not the paper's 1000"),
    ],
)
def test_average_that_cannot_be_or_is_the_papers_is_refused_in_one_line(asked, words):
    with pytest.raises(UserError, match=words) as refused:
        budgets.resolve(NAME, "smoke", **asked)
    assert "\n" not in str(refused.value)


@pytest.fixture
def table():
    """Errors that vary with the rate by a power: half as steep with an average on seed 0, a quarter as steep on seed 1."""
    rows = []
    for lr in (0.01, 0.02, 0.04):
        for seed, flatter in ((0, 0.5), (1, 0.25)):
            for average, slope in ((averaging.NONE, 1.0), (averaging.SHARE, flatter)):
                error = 0.3 * (lr / 0.01) ** slope
                rows.append({"schedule": averaging.CONSTANT, "average": average, "seed": seed, "lr": lr,
                             "normalised_mse": error})  # fmt: skip
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_spread_is_that_of_the_log_error_over_rates(table):
    spreads = averaging.spreads(table)
    assert spreads[averaging.CONSTANT, averaging.NONE, 0] == pytest.approx(np.std(np.log([1, 2, 4])))
    ratios = averaging.over_none(spreads, averaging.CONSTANT, averaging.SHARE)
    assert ratios == pytest.approx([0.5, 0.25])
    least = averaging.least_errors(table)
    assert averaging.over_none(least, averaging.CONSTANT, averaging.SHARE) == pytest.approx([1.0, 1.0])


def test_rows_are_labelled_by_their_method():
    methods = plans.weight_averages(budgets.resolve(NAME, "smoke"), SITE)
    labelled = averaging.labelled(pd.DataFrame({"method": [m.name for m in methods]}), methods)
    assert labelled.lr.to_list() == [m.training.lr for m in methods]
    assert set(labelled.average) == {averaging.NONE, averaging.SHARE, averaging.PAPER}
    of_method = {(m.training.weight_average is None, m.training.decay_share > 0) for m in methods}
    seen = zip(labelled.average == averaging.NONE, labelled.schedule == averaging.DECAYING, strict=True)
    assert set(seen) == of_method


class Batches:
    """Normal vectors in batches, always the same."""

    batch, seed = 32, 0

    def sample(self, count):
        return self._draw(10_000)

    def batches(self, start, steps):
        return (self._draw(step) for step in range(start, steps))

    def _draw(self, number):
        return torch.randn(self.batch, 16, generator=torch.Generator().manual_seed(number)) + 0.5


def test_average_without_memory_is_the_last_weights_and_one_with_memory_is_not():
    budget = budgets.resolve(NAME, "smoke", batch=32)
    method = plans.weight_averages(budget, SITE)[0]
    last, at_once, own = averaging.short_runs(method, Batches(), 16, "cpu", (None, 1e-12, 0.9), 20)
    assert averaging.apart(last, at_once) == 0
    assert averaging.apart(last, own) > 1e-3
    assert math.isclose(averaging.coefficient(1000), 0.999)
