"""Forms of AuxK: what is trained, what is compared, and which parameters each form moves."""

import math

import pandas as pd
import pytest
import torch

from saebook.book import budgets
from saebook.papers.topk import plans
from saebook.papers.topk.optimisation import auxiliary
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.subject.model import Site

SITE = Site("resid_post", 2, "", 16)


@pytest.mark.parametrize("tier", ["smoke", "cpu", "gpu", "paper"])
def test_forms_differ_in_the_auxiliary_loss_alone_and_two_are_runs_of_figure_15(tier):
    budget = budgets.resolve("topk/knob_auxk", tier)
    methods = plans.auxk_forms(budget, SITE)
    assert [m.name for m in methods] == [auxiliary.WITHOUT, auxiliary.PAPER, *auxiliary.FORMS]
    assert len({(m.training, m.d_sae, m.sparsities) for m in methods}) == 1
    assert len({(m.architecture, m.options) for m in methods}) == len(methods)
    weights = {m.name: dict(m.options).get("aux_weight", 1 / 32) for m in methods}
    assert weights.pop(auxiliary.WITHOUT) == 0 and weights.pop("not normalised, weight 1") == 1.0
    assert set(weights.values()) == {1 / 32}
    of_figure = plans.dead_latents(budgets.resolve("topk/fig15_dead_latents", tier), SITE)
    keyed = {(m.architecture, m.d_sae, m.sparsities, m.training, m.options) for m in of_figure}
    shared = [m for m in methods if (m.architecture, m.d_sae, m.sparsities, m.training, m.options) in keyed]
    assert [m.name for m in shared] == [auxiliary.WITHOUT, auxiliary.PAPER]


@pytest.fixture
def runs():
    rows = {"none": (0.3, 0.4, 0.20, 0.22), "paper": (0.1, 0.2, 0.10, 0.11), "other": (0.15, 0.25, 0.11, 0.11)}
    table = pd.DataFrame(
        {"method": name, "seed": seed, "normalised_mse": row[2 + seed]} for name, row in rows.items() for seed in (0, 1)
    )
    curves = pd.DataFrame(
        {"method": name, "seed": seed, "step": step, "dead": row[seed] if step else 0.0}
        for name, row in rows.items() for seed in (1, 0) for step in (0, 20)
    )  # fmt: skip
    return auxiliary.by_seed(table, curves)


def test_comparisons_pair_seeds_at_the_end_of_training(runs):
    without = auxiliary.dead_difference(runs, "none", "paper")
    other = auxiliary.dead_difference(runs, "other", "paper")
    assert without == pytest.approx([0.2, 0.2]) and other == pytest.approx([0.05, 0.05])
    assert auxiliary.error_ratio(runs, "other", "paper") == pytest.approx([1.1, 1.0])
    assert auxiliary.kept(without, other) == pytest.approx(0.75)
    assert auxiliary.kept(without, without) == pytest.approx(0.0)
    assert math.isnan(auxiliary.kept([-0.1, 0.1], other))


def test_routes_tell_the_forms_apart():
    methods = plans.auxk_forms(budgets.resolve("topk/knob_auxk", "smoke"), SITE)
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(1)) + 0.5
    stacks = [m.build(16, (Member(0, 4.0),), "cpu") for m in methods]
    for stack in stacks:
        stack.b_dec.data[:] = 0.1
    moved = auxiliary.routes(stacks, x, range(0, 256, 4))
    table = dict(zip([m.name for m in methods], moved.to_numpy().tolist(), strict=True))
    assert table[auxiliary.WITHOUT] == ["no"] * 4
    assert table[auxiliary.PAPER] == ["yes", "yes", "no", "yes"]
    assert table["decoder only"] == ["yes", "no", "no", "no"]
    assert table["error not held fixed"] == ["yes"] * 4


def test_size_of_a_bias_is_in_units_of_the_spread():
    made = build("topk", 16, 40, (Member(0, 4.0),))
    made.b_dec.data[:] = 0.5
    made.variance.fill_(16.0)
    assert auxiliary.bias_sizes([made]) == pytest.approx([0.5])
