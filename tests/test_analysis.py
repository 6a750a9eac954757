"""The methods of the chapters read planted truths, and miss when they are bent."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.book import budgets
from saebook.evaluation import pareto
from saebook.evaluation.geometry import max_cosine
from saebook.evaluation.pareto import matched_ratio, value_at
from saebook.papers.checks import planted
from saebook.papers.e2e import comparison
from saebook.papers.gated import recipe, shrinkage
from saebook.papers.gated.refits import as_gated, resampling, rescale_shift, thresholded
from saebook.papers.topk import activations, dead_latents
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.training.buffers import ActivationBuffer
from saebook.training.store import Store
from saebook.training.sweep import Data


@pytest.fixture(scope="module")
def budget():
    return budgets.resolve("checks.planted", "smoke")


def test_seeds_lie_as_far_apart_as_the_farthest_two():
    found = pareto.spread([1.1, 1 / 1.2, math.nan, 1.0])
    assert (found.pairs, found.most) == (3, pytest.approx(1.2)) and found.typical == pytest.approx(
        (1.1 * 1.2) ** (1 / 3)
    )
    # The mean in one direction is one round any ring; factors are not.
    ring = [a / b for a, b in ((1.0, 2.0), (2.0, 3.0), (3.0, 1.0))]
    assert pareto.log_interval(ring).mean == pytest.approx(1.0) and pareto.spread(ring).typical > 1.5
    assert "at most 3.000 (3 pairs" in str(pareto.spread(ring)) and "compared" in str(pareto.spread([math.nan]))


def test_the_ruler_reads_what_was_planted(budget):
    table = planted.readings(budget)
    off = (table.read - table.truth).abs()
    assert set(table.seed) == set(budget.seeds)
    assert off[table.metric.isin(["L0", "alive", "largest cosine"])].max() < 1e-9
    assert off[table.metric == "relative reconstruction bias"].max() < 0.01
    assert 0 < off[table.metric == "normalised MSE"].max() < 0.02
    assert 0 < off[table.metric == "L0 ratio"].max() < 0.15


def test_the_ruler_sees_a_variance_taken_about_zero(budget, monkeypatch):
    plain = planted.measure.normalised_mse
    monkeypatch.setattr(planted.measure, "normalised_mse", lambda error2, variance: plain(error2, 2 * variance))
    table = planted.readings(budget)
    assert (table.read - table.truth).abs()[table.metric == "normalised MSE"].max() > 0.05


def test_averaged_ratios_are_another_number(budget):
    found = planted.averaged_ratios(budget)
    assert found["sums"] == pytest.approx(found["truth"]) and abs(found["averaged"] - found["truth"]) > 0.05


def test_known_saes_through_a_model(small_subject):
    rows = torch.randint(0, 300, (4, 32), generator=torch.Generator().manual_seed(0))
    through = planted.through_the_subject(small_subject, small_subject.site("resid_post", 1), rows)
    assert (through.truth - through.read).abs().max() < 1e-3 and len(through) == 11


def test_largest_cosines_are_those_of_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (9, 5))
    cosine = torch.nn.functional.cosine_similarity
    plain = torch.stack([max(cosine(x, y, dim=0) for y in b) for x in a])
    assert torch.allclose(max_cosine(a, b), plain)
    within = torch.stack([max(cosine(x, y, dim=0) for j, y in enumerate(a) if j != i) for i, x in enumerate(a)])
    assert torch.allclose(max_cosine(a), within)
    assert torch.allclose(max_cosine(a, 3 * a), torch.ones(9, dtype=torch.float64))


def test_slopes_and_means_per_seed():
    lambdas = np.array([0.5, 1.0, 2.0, 4.0])
    rows = [
        {"method": method, "seed": seed, "sparsity": value, shrinkage.GAMMA: 0.9 + slope * np.log(value) + seed}
        for method, slope in (("relu", -0.05), ("gated", 0.0))
        for seed in (0, 1)
        for value in lambdas
    ]
    table = pd.DataFrame(rows)
    assert shrinkage.slope_per_seed(table, "relu") == pytest.approx([-0.05, -0.05])
    assert shrinkage.slope_per_seed(table, "gated") == pytest.approx([0.0, 0.0], abs=1e-12)
    assert shrinkage.mean_per_seed(table, "gated") == pytest.approx([0.9, 1.9])


def test_rescaling_brings_the_bias_to_one_and_never_adds_error(small_subject, tmp_path):
    store, site = Store(tmp_path), small_subject.site("resid_post", 1)
    stack = build("relu", site.d_in, 64, (Member(0, 1.0),))
    stack.W_dec.data *= 0.3
    cfg, tensors = stack.to_saelens(0)
    store.save("a", cfg, tensors)
    rows = torch.randint(0, 300, (4, 32), generator=torch.Generator().manual_seed(0))
    row = pd.Series({"key": "a", "method": "relu", shrinkage.GAMMA: 1.0})
    bias = shrinkage.rescaled(row, small_subject, site, rows, 1, store)["bias"]
    found = shrinkage.rescaled(row.replace(1.0, bias), small_subject, site, rows, 1, store)
    assert bias < 0.9 and found["bias_rescaled"] == pytest.approx(1.0) and found["error_ratio"] < 1.0


def test_values_are_compared_at_equal_l0_in_log_log_space():
    l0 = np.array([4.0, 10.0, 30.0, 80.0])
    plain = pd.DataFrame({"l0": l0, "nmse": 3.0 * l0**-0.5})
    better = pd.DataFrame({"l0": 1.7 * l0, "nmse": 0.6 * 3.0 * (1.7 * l0) ** -0.5})
    assert matched_ratio(better, plain, "nmse") == pytest.approx(0.6)
    assert matched_ratio(plain, plain.sample(frac=1, random_state=0), "nmse") == pytest.approx(1.0)
    assert value_at(plain, "nmse", 20.0) == pytest.approx(3.0 * 20**-0.5)
    assert np.isnan(value_at(plain, "nmse", 200.0))
    assert np.isnan(matched_ratio(plain, plain.assign(l0=1000 * l0), "nmse"))


def curves(factors, seeds=3, widths=(64, 128, 256), law=-0.5):
    """Sweeps whose error is a power law of L0, a factor apart by kind, and cheaper the wider."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "method": kind, "d_sae": width, "sparsity": k, "seed": seed, "l0": k * (1 + 0.02 * seed),
            "normalised_mse": factor * k**law * (width / 64) ** slope * (1 + 0.001 * rng.standard_normal()),
        }
        for kind, (factor, slope) in factors.items()
        for width in widths
        for k in (4.0, 8.0, 16.0, 32.0)
        for seed in range(seeds)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(ce=1.0 + table.normalised_mse**1.5, ce_clean=1.0)


def test_activation_functions_are_compared_with_the_best_of_several():
    table = activations.with_increase(curves({"topk": (0.8, -0.3), "relu": (1.0, -0.1), "gated": (0.9, -0.1)}))
    wide = table[table.d_sae == 256]
    planted = 0.8 / 0.9 * 4**-0.2
    assert activations.ratios(wide, "topk", ["gated"]) == pytest.approx([planted] * 3, rel=0.01)
    assert activations.ratios(wide, "topk", ["relu", "gated"]) == pytest.approx([planted] * 3, rel=0.01)
    assert activations.ratios(wide, "topk", ["gated"], activations.CE) == pytest.approx([planted**1.5] * 3, rel=0.02)
    equal_error = activations.ratios(wide, "topk", ["gated"], activations.CE, activations.NMSE)
    assert equal_error == pytest.approx([1.0] * 3, rel=0.02)  # the loss was planted as a function of the error alone
    assert activations.between_seeds(wide, "topk") == pytest.approx([1.0] * 3, rel=0.05)
    assert np.isnan(
        activations.ratios(wide.assign(l0=wide.l0.where(wide.method == "topk", 1e6)), "topk", ["relu"])
    ).all()


def test_the_gap_over_widths_and_the_power_law_are_read_back():
    table = activations.with_increase(curves({"topk": (0.8, -0.3), "relu": (1.0, -0.1)}))
    assert activations.gap_slopes(table, "topk", "relu", 12.0) == pytest.approx([0.2] * 3, abs=0.01)
    assert min(activations.power_law_fits(table, "topk")) > 0.999
    noise = np.exp(np.random.default_rng(1).standard_normal(len(table)))
    assert max(activations.power_law_fits(table.assign(ce_increase=noise), "topk")) < 0.9
    assert activations.finite(activations.gap_slopes(table, "topk", "relu", 1e6)) == []


def test_remedies_against_dead_latents_are_told_apart():
    rows = [
        {"method": name, "seed": seed, "step": step, "dead": (0.6 - 0.3 * transposed - 0.2 * auxk) * step / 10}
        for name, (transposed, auxk) in dead_latents.VARIANTS.items()
        for seed in range(2)
        for step in (0, 10)
    ]
    shares = dead_latents.final_shares(pd.DataFrame(rows))
    assert dead_latents.effect(shares, 0) == pytest.approx([-0.3] * 2) and dead_latents.effect(
        shares, 1
    ) == pytest.approx([-0.2] * 2)
    assert shares["neither"].to_list() == pytest.approx([0.6] * 2)


def objectives_table(seeds=3):
    """Three kinds on one line of loss against L0, shifted: e2e needs half the elements, e2e+ds two thirds."""
    rows = [
        {
            "method": kind, "sparsity": 1.0 / level, "seed": seed, "l0": share * 20 / level, "d_sae": 100,
            "alive": min(1.0, 0.2 * share / level**0.5), "ce": 3.0 + level * (1 + 0.01 * seed), "ce_clean": 3.0, "key": f"{kind}{level}",
        }
        for kind, share in (("local", 1.0), ("e2e", 0.5), ("e2e+ds", 2 / 3))
        for level in (0.1, 0.2, 0.4, 0.8)
        for seed in range(seeds)
    ]  # fmt: skip
    return comparison.with_counts(pd.DataFrame(rows))


def test_end_to_end_ratios_are_read_back_at_equal_l0_and_at_equal_loss():
    table = objectives_table()
    assert comparison.ratios_at_equal_loss(table, "e2e", "local", "l0") == pytest.approx([0.5] * 3)
    assert comparison.ratios_at_equal_loss(table, "e2e+ds", "local", comparison.ALIVE) == pytest.approx([2 / 3] * 3)
    # Straight segments between points of a hyperbola: near one half, as the loss is inverse to L0, and never more.
    found = comparison.mean_ratios(table, "e2e", "local", comparison.CE, "l0")
    assert all(0.42 < value <= 0.55 for value in found)
    assert np.isnan(
        comparison.mean_ratios(
            table.assign(l0=table.l0 * (1 + 1e3 * (table.method == "e2e"))), "e2e", "local", "ce", "l0"
        )
    ).all()


def test_runs_of_similar_loss_are_picked_by_rule():
    table = objectives_table()
    level = comparison.common_level(table)
    assert level == pytest.approx((0.1 * 1.02 * 0.8) ** 0.5)
    chosen = comparison.nearest(table, level)
    assert len(chosen) == 9 and set(chosen.key) <= {
        "local0.2",
        "local0.4",
        "e2e0.2",
        "e2e0.4",
        "e2e+ds0.2",
        "e2e+ds0.4",
    }
    at = comparison.at_level(table, level).groupby("method").l0.mean()
    assert at["e2e"] / at["local"] == pytest.approx(0.5, rel=1e-3)
    apart = table[
        ~((table.method == "e2e") & (table.ce_increase > 0.15))
        & ~((table.method == "local") & (table.ce_increase < 0.3))
    ]
    assert apart.ce_increase.min() < comparison.common_level(apart) < apart.ce_increase.max()


def test_errors_on_the_way_are_those_of_a_plain_pass(small_subject, tmp_path):
    site = small_subject.site("resid_pre", 1)
    rows = torch.randint(300, (5, 32), generator=torch.Generator().manual_seed(2))
    sae = build("normalised_relu", 32, 24, (Member(0, 1.0),))
    store = Store(tmp_path)
    store.save("a", *sae.to_saelens(0))
    run = {"method": "e2e", "seed": 0, "sparsity": 1.0, "ce_increase": 0.5, "key": "a"}
    found = comparison.later_errors(pd.DataFrame([run]), small_subject, site, rows, store).set_index("position")
    assert list(found.index) == ["blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre"]
    seen = {}

    def passed(replace):
        def write(value, hook):
            return sae.reconstruct(value.flatten(0, 1))[0].view_as(value) if replace else value

        def note(value, hook):
            seen[replace] = value

        hooks = [("blocks.1.hook_resid_pre", write), ("blocks.2.hook_resid_pre", note)]
        with torch.no_grad(), small_subject.bridge.hooks(fwd_hooks=hooks):
            small_subject.bridge(rows, return_type=None)

    passed(False), passed(True)
    error = (seen[True] - seen[False]).square().mean(-1)
    row = found.loc["blocks.2.hook_resid_pre"]
    assert row.mse == pytest.approx(error.mean().item(), rel=1e-4)
    assert row.mse_after_0 == pytest.approx(error[:, 1:].mean().item(), rel=1e-4)


def test_errors_are_compared_at_one_added_loss():
    rows = [
        {
            "method": kind,
            "seed": 0,
            "position": "p",
            "ce_increase": ce,
            "mse": factor * ce**2,
            "mse_after_0": factor * ce,
        }
        for kind, factor, levels in (("local", 1.0, (0.1, 0.4, 1.6)), ("e2e", 5.0, (0.2, 0.7, 2.0)))
        for ce in levels
    ]
    found = comparison.errors_at_level(pd.DataFrame(rows), 0.5).set_index("method")
    assert found.mse["local"] == pytest.approx(0.25) and found.mse["e2e"] == pytest.approx(1.25)
    assert found.mse_after_0["e2e"] == pytest.approx(2.5)
    assert comparison.errors_at_level(pd.DataFrame(rows), 5.0).empty


def test_error_ratios_leave_out_the_site_itself(small_subject):
    site = small_subject.site("resid_pre", 1)
    rows = [
        {
            "method": kind,
            "seed": seed,
            "position": f"blocks.{block}.hook_resid_pre",
            "mse": factor * block if block > 1 else 99.0,
        }
        for kind, factor in (("local", 1.0), ("e2e", 8.0))
        for seed in range(3)
        for block in (1, 2, 3)
    ]
    errors = pd.DataFrame(rows)
    assert comparison.error_ratios(errors, site, "e2e", "local") == pytest.approx([8.0] * 3)
    assert np.isnan(comparison.error_ratios(errors[errors.method == "e2e"], site, "e2e", "local")).all()
    assert comparison.error_ratios_between_seeds(errors, site, "e2e") == pytest.approx([1.0] * 3)


def test_cosines_tell_shared_dictionaries_from_unrelated_ones():
    generator = torch.Generator().manual_seed(0)

    def drawn(n=60):
        return torch.nn.functional.normalize(torch.randn(n, 32, generator=generator), dim=1)

    shared = drawn()
    directions = {("local", seed): shared[torch.randperm(60, generator=generator)] for seed in range(3)}
    directions |= {("e2e", seed): drawn() for seed in range(3)}
    directions |= {("e2e+ds", seed): torch.cat([shared[:30], drawn(30)]) for seed in range(3)}
    found = comparison.cosines(directions)
    means = found.groupby("method")[["within", "seeds", "local"]].mean()
    assert means.seeds["local"] == pytest.approx(1.0, abs=1e-5) and means.seeds["e2e"] < 0.6
    assert means.local["e2e"] < means.local["e2e+ds"] < means.local["local"]
    assert comparison.differences(found, "local", "e2e+ds", "e2e") == pytest.approx(
        [means.local["e2e+ds"] - means.local["e2e"]] * 3, abs=0.03
    )
    random = comparison.random_cosines(directions).groupby("method").seeds.mean()
    assert random["local"] == pytest.approx(means.seeds["e2e"], abs=0.05)
    intervals = comparison.element_intervals(found, ["seeds"])
    assert intervals["e2e seeds"].low < means.seeds["e2e"] < intervals["e2e seeds"].high


def test_only_elements_that_fire_count(small_subject):
    site = small_subject.site("resid_pre", 1)
    sae = build("normalised_relu", 32, 24, (Member(0, 1.0),))
    sae.b_enc.data[0, :10] = -1e6
    rows = torch.randint(300, (4, 32), generator=torch.Generator().manual_seed(2))
    alive = comparison.alive_directions(sae, small_subject, site, rows)
    assert len(alive) <= 14 and torch.allclose(alive.norm(dim=1), torch.ones(len(alive)), atol=1e-5)


def baseline(d_in=12, d_sae=40, dtype=torch.float64, seed=0):
    """A baseline with biases of both signs, and inputs [64, d_in]."""
    made = build("relu", d_in, d_sae, (Member(seed, 1.0),), dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    made.b_enc.data += 0.3 * torch.randn(made.b_enc.shape, generator=generator, dtype=dtype)
    return made, torch.randn(64, d_in, generator=generator, dtype=dtype)


def test_a_baseline_is_a_gated_sae():
    sae, x = baseline()
    gated = as_gated.as_gated(sae)
    assert torch.allclose(gated.encode(x), sae.encode(x), rtol=1e-12, atol=1e-12)
    gated.b_gate.data += 1.0
    assert gated.b_mag.equal(sae.b_enc) and not gated.b_gate.equal(sae.b_enc)


@pytest.mark.parametrize("kind", ["relu", "gated"])
def test_a_threshold_keeps_the_share_that_was_asked_for_and_the_strongest(kind):
    sae, x = baseline()
    gated = as_gated.as_gated(sae)
    if kind == "gated":
        generator = torch.Generator().manual_seed(3)
        for name in ("r_mag", "b_mag"):
            getattr(gated, name).data += 0.3 * torch.randn(gated.r_mag.shape, generator=generator, dtype=x.dtype)
    f = gated.encode(x)
    for share in (0.9, 0.5, 0.2):
        left = thresholded.keep_strongest(gated, x, share).encode(x)
        assert (left > 0).sum() == pytest.approx(share * float((f > 0).sum()), abs=2)
        assert torch.equal(left[left > 0], f[left > 0]) and f[(left == 0)].max() <= left[left > 0].min()
        blind = thresholded.keep_at_random(gated, x, share).encode(x)
        left_over = float((blind > 0).sum()) - share * float((f > 0).sum())
        assert 0 <= left_over <= float((f > 0).sum((0, 1)).max())  # whole latents are shut, and never too many
        assert torch.equal(blind[blind > 0], f[blind > 0]) and blind[blind > 0].min() < left[left > 0].min()
    assert torch.equal(thresholded.keep_strongest(gated, x, 1.0).encode(x), f)


def test_the_share_is_chosen_by_the_fewest_features_at_equal_loss():
    quality = np.linspace(0.5, 0.9, 5)

    def swept(factors):
        return pd.DataFrame(
            [(s, factor * np.exp(4 * q), q) for s, factor in factors.items() for q in quality],
            columns=["seed", "l0", "loss_recovered"],
        )

    scored = {1.0: swept({0: 1.0, 1: 1.0}), 0.5: swept({0: 0.8, 1: 1.2}), 0.2: swept({0: 0.9, 1: 1.5})}
    assert [thresholded.choose(scored, seed) for seed in (0, 1)] == [0.5, 1.0]
    scored[0.1] = swept({0: 0.1, 1: 0.1}).assign(loss_recovered=0.1)  # reaches nothing in common: never chosen
    assert thresholded.choose(scored, 0) == 0.5


@pytest.fixture
def stream(small_subject, tmp_path):
    rows = np.random.default_rng(0).integers(0, 300, (64, 32))
    return ActivationBuffer(small_subject, small_subject.site("resid_post", 1), rows, 256, skip=1, block=64)


def test_a_planted_rescale_and_shift_are_learnt_back_and_nothing_else_moves(stream):
    sae, _ = baseline(stream.site.d_in, 48, torch.float32)
    sae.W_enc.data *= 0.5
    sae.W_dec.data[:] = torch.linalg.qr(torch.randn(48, 32, generator=torch.Generator().manual_seed(1)))[0]
    gated = as_gated.as_gated(sae)
    x = stream.sample(2000) / stream.scale
    truth, before = copy.deepcopy(gated), {n: p.clone() for n, p in gated.named_parameters()}
    gated.r_mag.data -= 0.4
    planted_error = float(rescale_shift.reconstruction(gated, x).detach())
    (curve,) = rescale_shift.learn([gated], stream, rescale_shift.Fit(tokens=256 * 7, lr=0.05, batch=256))
    error = float(rescale_shift.reconstruction(gated, x).detach())
    assert curve[-1] < curve[0] and error < planted_error
    assert error < 1.02 * float(rescale_shift.reconstruction(truth, x).detach())
    frozen = set(before) - {"r_mag", "b_mag"}
    assert all(torch.allclose(dict(gated.named_parameters())[n], before[n], rtol=1e-5) for n in frozen)


def test_fitted_baselines_lie_in_the_store_and_are_read_back(small_subject, text_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    store, site = Store(tmp_path / "runs"), small_subject.site("resid_post", 1)
    data, fit = Data(source=f"folder:{text_folder}", eval_rows=16, block=32), rescale_shift.Fit(2048, 0.05, 256)
    sae, _ = baseline(site.d_in, 48, torch.float32)
    store.save("a", *sae.to_saelens(0))
    rows = as_gated.rows_of("validation", data.eval_rows, small_subject, data)
    line = pd.DataFrame([{"method": "relu", "d_sae": 48, "sparsity": 1.0, "seed": 0, "key": "a"}])
    plain = as_gated.measured([sae], line, "relu", small_subject, site, rows, data.skip)
    first = rescale_shift.rescaled(plain, small_subject, site, data, fit, store)
    again = rescale_shift.rescaled(plain, small_subject, site, data, fit, store)
    assert (first.attrs["trained"], again.attrs["trained"]) == (1, 0) and first.equals(again)
    assert first.normalised_mse[0] < plain.normalised_mse[0] and first.l0[0] <= plain.l0[0]
    assert list(first.method) == ["rescaled"] and store.has(first.key[0])


def test_ablations_are_compared_at_their_own_sparsities():
    lambdas, quality = (0.5, 1.0, 2.0), (0.9, 0.8, 0.6)
    rows = [
        {"method": method, "seed": seed, "sparsity": value, "l0": factor * 10 / value, "loss_recovered": q}
        for method, factor in (("gated", 1.0), ("gated_untied", 1.25))
        for seed in (0, 1)
        for value, q in zip(lambdas, quality, strict=True)
        if method == "gated" or value >= 1
    ]
    assert recipe.full_over(pd.DataFrame(rows), "gated_untied") == pytest.approx([0.8, 0.8])


def test_the_change_by_resampling_and_the_published_rows_by_share_alive():
    quality = np.linspace(0.5, 0.9, 5)
    factors = {"gated": 1.0, "relu": 2.0, "gated_not_resampled": 1.0, "relu_not_resampled": 4.0}
    rows = [
        {"method": m, "seed": s, "l0": f * np.exp(4 * q), "loss_recovered": q}
        for m, f in factors.items()
        for s in (0, 1)
        for q in quality
    ]
    assert resampling.change(pd.DataFrame(rows)) == pytest.approx([0.5, 0.5])
    # At the same lambda: Gated as before, the baseline at half of what it has without; loss as planted.
    raised = {"gated": 0.02, "relu": 0.0, "gated_not_resampled": 0.0, "relu_not_resampled": 0.0}
    same = pd.DataFrame(rows).assign(sparsity=lambda t: t.l0 / t.method.map(factors))
    ratios, gains = resampling.raised(same.assign(loss_recovered=same.loss_recovered + same.method.map(raised)))
    assert ratios == pytest.approx([0.5**0.5] * 2) and gains == pytest.approx([0.01] * 2)
    columns = ["model", "site", "layer", "sae_type", "L0", "pct_CE_recovered", "pct_alive"]
    published = pd.DataFrame(
        [
            ("m", "Resid", 1, kind, factor * np.exp(4 * q), 100 * q, alive)
            for kind, factor, alive in (("gated", 1.0, 99.0), ("baseline", 2.0, 95.0), ("baseline", 1.5, 10.0))
            for q in quality
        ],
        columns=columns,
    )
    found = resampling.published_by_alive(published, (90.0,)).loc[("m", 90.0)]
    assert found["all rows"] == pytest.approx(1 / 1.5, rel=0.01) and found["rows above"] == pytest.approx(0.5, rel=0.01)
