"""Local and end-to-end SAEs compared at equal L0, at equal loss, layer by layer and by direction."""

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.papers.e2e import comparison
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.training.store import Store


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


def test_planted_ratios_are_read_back_at_equal_l0_and_at_equal_loss():
    table = objectives_table()
    assert comparison.ratios_at_equal_loss(table, "e2e", "local", "l0") == pytest.approx([0.5] * 3)
    assert comparison.ratios_at_equal_loss(table, "e2e+ds", "local", comparison.ALIVE) == pytest.approx([2 / 3] * 3)
    # Straight segments between points of a hyperbola: near one half, as the loss is inverse to L0, and never more.
    ratios = comparison.mean_ratios(table, "e2e", "local", comparison.CE, "l0")
    assert all(0.42 < value <= 0.55 for value in ratios)
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


def test_later_errors_equal_those_of_a_plain_pass(small_subject, tmp_path):
    site = small_subject.site("resid_pre", 1)
    rows = torch.randint(300, (5, 32), generator=torch.Generator().manual_seed(2))
    sae = build("normalised_relu", 32, 24, (Member(0, 1.0),))
    store = Store(tmp_path)
    store.save_sae("a", sae)
    run = {"method": "e2e", "seed": 0, "sparsity": 1.0, "ce_increase": 0.5, "key": "a"}
    errors = comparison.later_errors(pd.DataFrame([run]), small_subject, site, rows, store).set_index("position")
    assert list(errors.index) == ["blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre"]
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
    row = errors.loc["blocks.2.hook_resid_pre"]
    assert row.mse == pytest.approx(error.mean().item(), rel=1e-4)
    assert row.mse_after_0 == pytest.approx(error[:, 1:].mean().item(), rel=1e-4)

    masked = comparison.later_errors(pd.DataFrame([run]), small_subject, site, rows, store, massive=1.02)
    length = seen[False].norm(dim=-1)
    kept = length <= 1.02 * length.flatten().median()
    assert 0 < kept[:, 1:].sum() < kept[:, 1:].numel()
    row = masked.set_index("position").loc["blocks.2.hook_resid_pre"]
    assert row.mse == pytest.approx(error[kept].mean().item(), rel=1e-4)
    assert row.mse_after_0 == pytest.approx(error[:, 1:][kept[:, 1:]].mean().item(), rel=1e-4)


def test_errors_are_compared_at_equal_added_loss():
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
    errors = comparison.errors_at_level(pd.DataFrame(rows), 0.5).set_index("method")
    assert errors.mse["local"] == pytest.approx(0.25) and errors.mse["e2e"] == pytest.approx(1.25)
    assert errors.mse_after_0["e2e"] == pytest.approx(2.5)
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


def test_cosines_separate_shared_dictionaries_from_unrelated_ones():
    generator = torch.Generator().manual_seed(0)

    def drawn(n=60):
        return torch.nn.functional.normalize(torch.randn(n, 32, generator=generator), dim=1)

    shared = drawn()
    directions = {("local", seed): shared[torch.randperm(60, generator=generator)] for seed in range(3)}
    directions |= {("e2e", seed): drawn() for seed in range(3)}
    directions |= {("e2e+ds", seed): torch.cat([shared[:30], drawn(30)]) for seed in range(3)}
    cosines = comparison.cosines(directions)
    means = cosines.groupby("method")[["within", "seeds", "local"]].mean()
    assert means.seeds["local"] == pytest.approx(1.0, abs=1e-5) and means.seeds["e2e"] < 0.6
    assert means.local["e2e"] < means.local["e2e+ds"] < means.local["local"]
    assert comparison.differences(cosines, "local", "e2e+ds", "e2e") == pytest.approx(
        [means.local["e2e+ds"] - means.local["e2e"]] * 3, abs=0.03
    )
    random = comparison.random_cosines(directions).groupby("method").seeds.mean()
    assert random["local"] == pytest.approx(means.seeds["e2e"], abs=0.05)
    intervals = comparison.element_intervals(cosines, ["seeds"])
    assert intervals["e2e seeds"].low < means.seeds["e2e"] < intervals["e2e seeds"].high


def test_only_elements_that_fire_count(small_subject):
    site = small_subject.site("resid_pre", 1)
    sae = build("normalised_relu", 32, 24, (Member(0, 1.0),))
    sae.b_enc.data[0, :10] = -1e6
    rows = torch.randint(300, (4, 32), generator=torch.Generator().manual_seed(2))
    alive = comparison.alive_directions(sae, small_subject, site, rows)
    assert len(alive) <= 14 and torch.allclose(alive.norm(dim=1), torch.ones(len(alive)), atol=1e-5)
