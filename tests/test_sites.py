"""What holds at every site, what a site is worth, and tables that agree with themselves."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.book import budgets, chapter
from saebook.claims import results
from saebook.evaluation.metrics import measure
from saebook.papers import plans
from saebook.papers.gated import ablation_cost, printed, sites
from saebook.papers.gated.drawing import sweeps
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.training import tuning, tuning_by_site
from saebook.training.loop import TrainConfig
from saebook.training.store import Store
from saebook.training.sweep import Data, Method, across


def grid(factors, seeds=3, noise=0.02):
    """A made-up sweep at sites where Gated needs `factors` times the baseline's features."""
    rng, rows = np.random.default_rng(0), []
    for (site, layer), factor in factors.items():
        for seed in range(seeds):
            for quality in (0.8, 0.9, 0.95):
                base = 100 ** (2 * quality - 1) * math.exp(noise * rng.normal())
                rows += [[site, layer, "relu", quality, seed, base, quality, 0.9 + 0.001 * rng.normal()]]
                rows += [[site, layer, "gated", quality, seed, factor * base, quality, 1.0 + 0.001 * rng.normal()]]
    names = ["site", "layer", "method", "sparsity", "seed", "l0", "loss_recovered", "relative_reconstruction_bias"]
    return pd.DataFrame(rows, columns=names)


FACTORS = {("resid_post", 0): 0.4, ("resid_post", 1): 0.5, ("mlp_out", 0): 0.7, ("mlp_out", 1): 0.6}


def test_the_worst_site_is_found_with_its_interval():
    found = sites.l0_ratios(grid(FACTORS))
    assert found["mean"].to_list() == pytest.approx(list(FACTORS.values()), rel=0.1)
    worst = sites.worst(grid(FACTORS))
    assert worst.low < 0.7 < worst.high < 1 and worst.n == 3
    # One site that turns is not outvoted by the others.
    turned = sites.worst(grid(FACTORS | {("mlp_out", 1): 1.5}))
    assert 1 < turned.low < 1.5 < turned.high
    apart = grid(FACTORS)
    apart.loc[(apart.site == "mlp_out") & (apart.layer == 1) & (apart.method == "gated"), "loss_recovered"] -= 0.5
    unknown = sites.worst(apart)
    assert math.isnan(unknown.mean) and unknown.n == 0 and unknown.high == math.inf


def test_all_sites_replicate_no_more_often_than_promised():
    """One of four sites has no effect: the upper end lies below one in at most one study of forty."""
    rng, below = np.random.default_rng(1), 0
    for _ in range(400):
        logs = {place: rng.normal(math.log(f), 0.1, 3) for place, f in (FACTORS | {("mlp_out", 0): 1.0}).items()}
        highs = [x.mean() + 4.303 * x.std(ddof=1) / 3**0.5 for x in logs.values()]
        below += max(highs) < 0
    assert below / 400 <= 0.025 + 3 * (0.025 * 0.975 / 400) ** 0.5


def test_a_mean_over_layers_takes_the_seeds_that_all_layers_have():
    table = grid({("mlp_post", 0): 0.4, ("mlp_post", 1): 0.9}, noise=0.0)
    found = sites.over_layers(table)
    assert found.mean == pytest.approx(0.6, rel=0.01) and found.n == 3
    table.loc[(table.layer == 1) & (table.seed == 2) & (table.method == "gated"), "loss_recovered"] -= 0.5
    assert sites.over_layers(table).n == 2
    nothing = table[table.site == "resid_post"]
    assert sites.over_layers(nothing).n == sites.worst(nothing).n == 0
    assert sites.farthest(sites.biases(nothing, "gated")).n == 0


def test_the_bias_is_judged_where_it_reaches_farthest():
    found = sites.biases(grid(FACTORS), "gated")
    assert abs(sites.farthest(found).mean - 1) < 0.01
    found.loc[2, ["mean", "low", "high"]] = 0.9, 0.88, 0.92
    assert sites.farthest(found).mean == 0.9


def test_overlap_and_controls():
    table = grid(FACTORS)
    assert sites.overlap(table)[["from", "to"]].to_numpy() == pytest.approx(np.tile([0.8, 0.95], (4, 1)))
    # Chance of a given size is found at that size, and a site where it is larger stands out.
    quiet, loud = grid(FACTORS, noise=0.0), grid({("mlp_out", 3): 0.5}, noise=0.3)
    controls = sites.controls(pd.concat([quiet, loud]))
    assert controls.typical.to_list()[:4] == pytest.approx([1.0] * 4) and controls.pairs.to_list() == [3] * 5
    assert 1.1 < controls.typical.iloc[4] <= controls.most.iloc[4] < 3
    beside = sites.beside_paper(
        sites.l0_ratios(table), pd.DataFrame({"site": ["Resid", "Resid", "Attn"], "ratio": [0.3, 0.5, 0.2]})
    )
    assert beside.paper_median.dropna().tolist() == [0.4, 0.4]


def test_figures_of_sites_draw_every_site():
    table = grid(FACTORS)
    drawn = sweeps.sites_grid(table)
    assert len(drawn.axes) == 4 and all(ax.get_xscale() == "log" for ax in drawn.axes)
    paper = results.published("gated_tables_1_to_8")
    biases = {m: sites.biases(table, m) for m in ("gated", "relu")}
    lost = sites.l0_ratios(table)
    lost.loc[0, ["mean", "low", "high"]] = math.nan, 0.0, math.inf  # a site without a ratio is left out, not in the way
    published = pd.DataFrame({"site": ["Resid"], "ratio": [0.5]})
    left = sweeps.sites_summary(lost, biases, published, paper).axes[0]
    assert len(left.get_yticklabels()) == 4


def test_a_sweep_over_sites_is_the_sweep_of_each(small_subject, text_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    places = chapter.sites(small_subject, SimpleNamespace(sites=["resid_post", "attn_z"], layers=[0, 2]))
    assert [(p.kind, p.layer) for p in places] == [("resid_post", 0), ("resid_post", 2), ("attn_z", 0), ("attn_z", 2)]
    assert (
        chapter.sites(small_subject, SimpleNamespace(site="mlp_out", layer=1))[0].hook_name == "blocks.1.hook_mlp_out"
    )
    methods = [Method("relu", 16, (0.5,), TrainConfig(lr=3e-3, tokens=512, batch=128))]
    data = Data(source=f"folder:{text_folder}", eval_rows=4, block=8)
    table = across(small_subject, places[:3:2], lambda _: methods, [0], data, Store(tmp_path / "runs"))
    assert table.site.tolist() == ["resid_post", "attn_z"] and table.attrs["trained"] == 2
    assert (
        across(small_subject, places[:3:2], lambda _: methods, [0], data, Store(tmp_path / "runs")).attrs["trained"]
        == 0
    )


def test_a_rate_is_chosen_for_each_kind_of_site():
    parts = [grid(FACTORS, 2).assign(lr=lr) for lr in (0.01, 0.02)]
    parts[1].loc[(parts[1].method == "relu") & (parts[1].site == "mlp_out"), "l0"] *= 0.5
    parts[1].loc[parts[1].method == "gated", "l0"] *= 1.5
    table = tuning_by_site.named(pd.concat(parts, ignore_index=True).query("layer == 1"))
    found = tuning.chosen(tuning.scores(table))
    assert (found["relu at mlp_out"], found["gated at mlp_out"], found["gated at resid_post"]) == (0.02, 0.01, 0.01)
    budget = SimpleNamespace(gated_lr={"mlp_out": 0.01, "resid_post": 0.03}, baseline_lr=0.02, tokens=5)
    here = plans.at(budget, SimpleNamespace(kind="resid_post"))
    assert (here.gated_lr, here.baseline_lr, here.tokens) == (0.03, 0.02, 5)
    assert plans.at(budget, SimpleNamespace(kind="resid_pre")).gated_lr == 0.01  # the one that breaks nothing


def test_the_rates_of_the_budget_are_what_the_record_chose():
    recorded = results.read("gated.tuning_fig12_sites", "cpu")
    if recorded is None:
        pytest.skip("no tuning of the sites is recorded at tier cpu")
    budget = budgets.resolve(tuning_by_site.NOTEBOOK, "cpu")
    assert tuning_by_site.budgeted(budget) == recorded["findings"]["chosen"]
    same = {name for name in vars(budget) if not name.endswith("_lr")}
    assert {k: recorded["parameters"][k] for k in same} == {k: vars(budget)[k] for k in same}
    assert not set(recorded["findings"]["seeds"]) & set(budget.seeds)
    table = pd.read_csv(results.folder("cpu") / "gated" / "tuning_fig12_sites.csv")
    assert tuning.chosen(tuning.scores(table)) == recorded["findings"]["chosen"]
    # The lambdas make both kinds reach a common range of loss at every site that was looked at.
    common = pd.DataFrame(recorded["findings"]["overlap"])
    assert (common["from"] < common["to"]).all()


# What a site is worth --------------------------------------------------------------------------------------------------------


def test_ablated_losses_are_those_that_saes_are_measured_by(small_subject):
    rows = torch.randint(0, 300, (6, 32), generator=torch.Generator().manual_seed(0))
    for kind in ("resid_post", "attn_z", "mlp_post"):
        site = small_subject.site(kind, 1)
        losses = ablation_cost.row_losses(small_subject, [site], rows, 1)
        (found,) = measure([build("relu", site.d_in, 8, (Member(0, 1.0),))], small_subject, site, rows, 1)[0]
        for ours, theirs in (("clean", "ce_clean"), ("zero", "ce_zero"), ("mean", "ce_mean")):
            assert losses[ours].mean() == pytest.approx(found[theirs], abs=1e-5), (kind, ours)
        assert ablation_cost.intervention_error(small_subject, [site], rows, 1) < 1e-5


def made_up_losses(by_kind, rows=200):
    rng, parts = np.random.default_rng(0), []
    for (site, layer), cost in by_kind.items():
        clean = rng.normal(4, 0.5, rows)
        frame = pd.DataFrame({"site": site, "layer": layer, "row": range(rows), "clean": clean})
        parts.append(frame.assign(zero=clean + cost + rng.normal(0, 0.02, rows), mean=clean + cost / 2))
    return pd.concat(parts, ignore_index=True)


def test_tiny_denominators_are_flagged_and_costs_put_in_order():
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


def test_a_site_that_helps_when_it_is_gone_has_no_ratio():
    losses = made_up_losses({("resid_post", 0): 5.0, ("mlp_out", 0): -0.5})
    assert math.isnan(ablation_cost.order(losses, "resid_post", ["mlp_out"])[0].mean)
    assert ablation_cost.costs(losses, 0.1).tiny.tolist() == [False, True]


def test_published_costs_are_read_once_a_site():
    found = ablation_cost.published_costs(results.published("gated_tables_1_to_8"), 0.1)
    assert len(found) == 27 and found.site.notna().all()
    one = found[(found.model == "pythia-2.8b") & (found.site == "attn_z") & (found.layer == 28)].iloc[0]
    assert one.cost == pytest.approx(0.0062, abs=1e-9) and one.tiny


# Tables that agree with themselves ------------------------------------------------------------------------------------------


def test_rounding_is_forgiven_and_a_slip_is_not():
    rng = np.random.default_rng(0)
    clean, zero = 2.0, 2.0 + rng.choice([0.0062, 0.05, 1.0, 20.0], 400)
    spliced = clean + (zero - clean) * rng.uniform(0, 0.5, 400)
    exact = pd.DataFrame({
        "model": "m", "sae_type": "gated", "site": "Resid", "layer": 0, "L0": 10.0, "pct_alive": 50.0, "clean_CE": clean,
        "sae_CE": spliced, "zero_abl_CE": zero, "pct_CE_recovered": 100 * (1 - (spliced - clean) / (zero - clean)),
    })  # fmt: skip
    table = printed.rounded(exact)
    assert printed.agreeing_share(table).mean == 1.0
    assert printed.agreeing_share(printed.misprinted(table)).high < 0.6
    wrong = table.assign(pct_CE_recovered=table.pct_CE_recovered + np.where(np.arange(400) < 40, 30.0, 0.0))
    assert printed.agreeing_share(wrong).mean == pytest.approx(0.9) and printed.disagreement(wrong)[399] == 0


def test_italics_are_the_rows_that_nothing_beats():
    rows = [("gated", 10, 90), ("gated", 20, 95), ("gated", 30, 94), ("baseline", 30, 94), ("gated", -5, 99)]
    table = pd.DataFrame(rows, columns=["sae_type", "L0", "pct_CE_recovered"]).assign(model="m", site="s", layer=0)
    assert printed.optimal(table).tolist() == [True, True, False, True, False]
