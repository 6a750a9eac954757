"""The methods of the chapters read planted truths, and miss when they are bent."""

import numpy as np
import pandas as pd
import pytest
import torch

from saebook import tiers
from saebook.analysis import planted, shrinkage
from saebook.analysis.geometry import max_cosine
from saebook.analysis.pareto import matched_ratio, value_at
from saebook.sae import Member, build
from saebook.store import Store


@pytest.fixture(scope="module")
def budget():
    return tiers.resolve("ruler.planted", "smoke")


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
