"""Ratios of errors between variants of the TopK recipe, and what the chapters print beside them."""

import math

import pandas as pd
import pytest
import torch

from saebook.book import budgets
from saebook.papers.topk import ablated, plans
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.subject.model import Site

SITE = Site("resid_post", 2, "", 16)


@pytest.fixture
def table():
    """Two seeds and two k; the variant is 10 % worse at k = 8 and 20 % better at k = 32, on seed 1 by a factor 1.05 more."""
    rows = []
    for seed, draw in ((0, 1.0), (1, 1.1)):
        for k, base, factor in ((8.0, 0.4, 1.1), (32.0, 0.2, 0.8)):
            rows.append({"method": "full", "seed": seed, "sparsity": k, "normalised_mse": base * draw})
            rows.append(
                {"method": "less", "seed": seed, "sparsity": k, "normalised_mse": base * draw * factor * 1.05**seed}
            )
    return pd.DataFrame(rows).sample(frac=1, random_state=0)  # the order of rows must not matter


def test_ratio_is_a_geometric_mean_over_k_for_each_seed(table):
    expected = math.sqrt(1.1 * 0.8)
    assert ablated.error_ratios(table, "less", "full") == pytest.approx([expected, expected * 1.05])
    assert ablated.error_ratios(table, "full", "less") == pytest.approx([1 / expected, 1 / expected / 1.05])
    assert ablated.largest_between_seeds(table, "full") == pytest.approx(1.1)


def test_ratios_by_k_pair_the_same_seed_and_k(table):
    ratios = ablated.by_k(table, "full").set_index(["k", "seed"]).ratio
    assert ratios[8.0, 0] == pytest.approx(1.1) and ratios[32.0, 1] == pytest.approx(0.8 * 1.05)
    assert len(ratios) == 4


def test_decoder_norms_of_a_constrained_sae_are_one_and_of_a_stretched_one_are_not():
    made = build("topk", 16, 40, (Member(0, 4.0),))
    assert ablated.decoder_norms([made]) == pytest.approx((1.0, 1.0), abs=1e-5)
    made.W_dec.data[:, :20] *= 3
    low, high = ablated.decoder_norms([made, build("topk", 16, 40, (Member(1, 4.0),))])
    assert (low, high) == pytest.approx((1.0, 3.0), abs=1e-5)


def test_scale_factors_are_those_of_the_two_stacks_of_the_plan():
    budget = budgets.resolve("topk/fig16_encoder_init", "smoke")
    methods = plans.encoder_scale(budget, SITE)
    x = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
    factors = ablated.scale_factors(methods, x)
    assert list(factors) == [float(k) for k in budget.ks]
    scaled = methods[1].build(16, (Member(0, 8.0),), torch.device("cpu"))
    scaled.init_bias(scaled.prepare(x)[0])
    assert float(1 / scaled.W_enc.norm(dim=1)[0, 0]) == pytest.approx(factors[8.0], rel=1e-4)
    assert abs(factors[8.0] - 1) > 0.05


def test_each_variant_lacks_one_part_and_has_a_rate_of_its_own():
    budget = budgets.resolve("topk/fig17_ablations", "smoke").model_copy(update={"constant_lr": 0.001})
    full, *less = plans.recipe(budget, SITE)
    assert [m.architecture for m in less] == ["topk_no_bias", "topk_free_norm", "topk"]
    assert full.training.decay_share > 0 and [m.training.decay_share > 0 for m in less] == [True, True, False]
    assert less[2].training.lr == 0.001 != full.training.lr
    assert len({m.options for m in (full, *less)}) == 1


def test_figure_has_a_curve_and_dots_for_every_variant(table):
    steps = pd.DataFrame({"step": [0, 10, 20], "loss": [1.0, 0.6, 0.5]})
    history = pd.concat(
        steps.assign(method=method, seed=seed, sparsity=k)
        for method in ("full", "less") for seed in (0, 1) for k in (8.0, 32.0)
    )  # fmt: skip
    figure = ablated.figure(history, table, "full", 64)
    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == ["full", "less"]
    assert list(left.lines[0].get_xdata()) == [64, 704, 1344]
    assert sorted(right.lines[2].get_ydata()) == pytest.approx(sorted([1.1, 1.1 * 1.05, 0.8, 0.8 * 1.05]))
