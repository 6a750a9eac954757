"""The cost of ablating a site."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.claims import results
from saebook.evaluation.metrics import measure
from saebook.papers.gated import ablation_cost
from saebook.sae.base import Member
from saebook.sae.registry import build


def test_ablated_losses_equal_those_of_the_metrics(small_subject):
    rows = torch.randint(0, 300, (6, 32), generator=torch.Generator().manual_seed(0))
    sites = [small_subject.site(kind, 1) for kind in ("resid_post", "attn_z", "mlp_post")]
    table = ablation_cost.row_losses(small_subject, sites, rows, 1)
    assert table.site.unique().tolist() == [site.kind for site in sites]
    for site in sites:
        losses = table[table.site == site.kind]
        (metrics,) = measure([build("relu", site.d_in, 8, (Member(0, 1.0),))], small_subject, site, rows, 1)[0]
        for ours, theirs in (("clean", "ce_clean"), ("zero", "ce_zero"), ("mean", "ce_mean")):
            assert losses[ours].mean() == pytest.approx(metrics[theirs], abs=1e-5), (site.kind, ours)
        assert ablation_cost.intervention_error(small_subject, [site], rows, 1) < 1e-5


def made_up_losses(by_kind, rows=200):
    rng, parts = np.random.default_rng(0), []
    for (site, layer), cost in by_kind.items():
        clean = rng.normal(4, 0.5, rows)
        frame = pd.DataFrame({"site": site, "layer": layer, "row": range(rows), "clean": clean})
        parts.append(frame.assign(zero=clean + cost + rng.normal(0, 0.02, rows), mean=clean + cost / 2))
    return pd.concat(parts, ignore_index=True)


def test_small_costs_are_flagged_and_costs_are_ordered():
    losses = made_up_losses({("resid_post", 0): 5.0, ("mlp_out", 0): 0.5, ("attn_z", 0): 0.1})
    costs = ablation_cost.costs(losses, 0.1)
    assert (
        costs.tiny.tolist() == [False, False, True]
        and (costs.low < costs.cost).all()
        and (costs.cost < costs.high).all()
    )
    assert costs.cost.to_list() == pytest.approx([5.0, 0.5, 0.1], abs=0.01)
    first, second = ablation_cost.order(losses, "resid_post", ["mlp_out", "attn_z"])
    assert first.low < math.log(10) < first.high and second.low < math.log(50) < second.high and first.low > 1
    swapped = ablation_cost.order(losses, "mlp_out", ["resid_post", "attn_z"])
    assert swapped[0].high < 0 < swapped[1].low
    assert ablation_cost.order(losses, "resid_post", ["mlp_post"])[0].n == 0
    assert ablation_cost.points_per_millinat(0.1) == pytest.approx(1.0)
    assert ablation_cost.reversals(costs.assign(model="m")) == []
    assert ablation_cost.reversals(costs.assign(model="m"), above="mlp_out") == ["m resid_post 0"]


def test_site_whose_ablation_helps_has_no_ratio():
    losses = made_up_losses({("resid_post", 0): 5.0, ("mlp_out", 0): -0.5})
    assert math.isnan(ablation_cost.order(losses, "resid_post", ["mlp_out"])[0].mean)
    assert ablation_cost.costs(losses, 0.1).tiny.tolist() == [False, True]


def test_published_costs_have_one_row_a_site():
    costs = ablation_cost.published_costs(results.published("gated_tables_1_to_8"), 0.1)
    assert len(costs) == 27 and costs.site.notna().all()
    one = costs[(costs.model == "pythia-2.8b") & (costs.site == "attn_z") & (costs.layer == 28)].iloc[0]
    assert one.cost == pytest.approx(0.0062, abs=1e-9) and one.tiny
