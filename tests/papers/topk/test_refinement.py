"""Refinement finds what non-negative least squares finds, and what it reports of shrinkage is what was planted."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import nnls

from saebook.evaluation import metrics
from saebook.evaluation.ito import excess_error
from saebook.papers.topk import refinement
from saebook.papers.topk.refinement import CE, ENCODER, NMSE, REFINED
from saebook.sae.base import Member
from saebook.sae.registry import build

B, D, M = 200, 24, 60


def planted(active=0.2, noise=0.3, seed=0):
    """Directions, sparse codes with between none and about twenty active latents, and noisy tokens made of them."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(M, D, generator=generator), dim=1)
    share = active * torch.rand(B, 1, generator=generator) * 2
    f = torch.rand(B, M, generator=generator) * (torch.rand(B, M, generator=generator) < share)
    f[0] = 0.0
    x = f @ directions + noise * torch.randn(B, D, generator=generator)
    return x, directions, f


def least(x, directions, f):
    """The plain twin: SciPy's non-negative least squares, one token at a time."""
    weights = np.zeros(f.shape)
    for token, (one, code) in enumerate(zip(x.double().numpy(), f.numpy(), strict=True)):
        support = np.flatnonzero(code)
        if len(support):
            weights[token, support] = nnls(directions[support].double().numpy().T, one)[0]
    return weights


def test_refined_codes_are_those_of_non_negative_least_squares():
    x, directions, f = planted()
    expected = least(x, directions, f)
    code = refinement.refine(x, directions, f, 400)
    dense = code.dense(M).numpy()
    assert np.abs(dense - expected).max() < 1e-3 and (expected[f.numpy() > 0] == 0).mean() > 0.05
    assert (dense[f.numpy() == 0] == 0).all() and (dense >= 0).all()
    assert torch.allclose(code.xhat, torch.from_numpy(dense) @ directions, atol=1e-5)
    active = f.any(1)
    assert abs(excess_error(x[active], directions, refinement._of(code, active), B)) < 1e-5
    short = refinement.refine(x, directions, f, 3)
    assert excess_error(x[active], directions, refinement._of(short, active), B) > 1e-3  # the number can say no


def test_tokens_in_small_groups_are_refined_alike(monkeypatch):
    x, directions, f = planted()
    whole = refinement.refine(x, directions, f, 50).dense(M)
    monkeypatch.setattr(refinement, "_CELLS", {"cpu": 64})
    assert torch.allclose(refinement.refine(x, directions, f, 50).dense(M), whole, atol=1e-5)


@pytest.mark.parametrize("shrunk", [0.7, 1.0, 1.3])
def test_planted_shrinkage_is_undone(shrunk):
    x, directions, f = planted(active=0.1, noise=0.0)
    after = refinement.refine(x, directions, shrunk * f, 400).dense(M)
    assert torch.allclose(after, f, atol=2e-3)
    sums = refinement._by_size(shrunk * f, after, torch.tensor(refinement.SIZES, dtype=torch.float32)).sum(0)
    assert sums[1] / sums[0] == pytest.approx(1 / shrunk, rel=1e-3) and sums[2] == (f > 0).sum()


def test_own_codes_are_measured_as_by_metrics_measure_and_refined_ones_are_better(small_subject):
    site, lines, saes = small_subject.site("resid_post", 1), [], []
    for architecture, sparsity in (("topk", 6), ("relu", 1.0)):
        made = build(architecture, site.d_in, 48, (Member(0, sparsity),), per_token=True)
        made.b_dec.data += 0.3
        saes.append(made)
        lines.append({"method": architecture, "seed": 0, "sparsity": sparsity})
    rows = torch.randint(300, (20, 32), generator=torch.Generator().manual_seed(2))
    codes, changes = refinement.measured(pd.DataFrame(lines), saes, small_subject, site, rows, 1, 400)
    codes = codes.set_index(["method", "by"])
    for made in saes:
        expected = metrics.measure([made], small_subject, site, rows, 1)[0][0]
        own, refined = codes.loc[made.architecture, ENCODER], codes.loc[made.architecture, REFINED]
        assert own.l0 == pytest.approx(expected["l0"], rel=1e-4)
        assert own[NMSE] == pytest.approx(expected["normalised_mse"], rel=1e-4)
        assert own[CE] == pytest.approx(expected["ce"] - expected["ce_clean"], abs=1e-5)
        assert refined[NMSE] < own[NMSE] and refined.l0 <= own.l0 and abs(refined.excess) < 1e-4
        mine = changes[changes.method == made.architecture]
        assert (mine.after * mine["count"]).sum() / (mine.before * mine["count"]).sum() == pytest.approx(refined.growth)
        assert mine["count"].sum() == pytest.approx(own.l0 * 20 * 31)


def test_planted_growth_is_seen_in_an_sae():
    made = build("topk", D, M, (Member(0, 4),))
    x = planted()[0]
    for share in (1.0, 0.8):
        assert refinement.planted_growth(made, x, share, 400) == pytest.approx(1 / share, rel=1e-3)


def made_up(share, seeds=3):
    """Curves of ReLU and TopK, a factor of two apart, of which refining ReLU closes `share`, on the log scale."""
    rows = [
        {
            "method": method, "seed": seed, "sparsity": k, "by": by, "l0": k * (0.98 if by == REFINED else 1.0) + 0.1 * seed,
            NMSE: factor / (k * (0.98 if by == REFINED else 1.0) + 0.1 * seed), "growth": 1.0 + 0.1 * seed,
        }
        for (method, by), factor in {
            ("relu", ENCODER): 2.0, ("relu", REFINED): 2.0 ** (1 - share), ("topk", ENCODER): 1.0, ("topk", REFINED): 1.0,
        }.items()
        for k in (8.0, 16.0, 32.0)
        for seed in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_planted_share_of_the_gap_is_read_back(share):
    closed = refinement.share_closed(made_up(share))
    assert closed.mean == pytest.approx(share, abs=1e-6) and closed.n == 3
    assert refinement.growth_per_seed(made_up(share), "relu") == pytest.approx([1.0, 1.1, 1.2])


def test_refining_topk_too_leaves_more_of_the_gap():
    codes = made_up(0.5)
    better = (codes.method == "topk") & (codes.by == REFINED)
    codes.loc[better, NMSE] *= 2**-0.25
    assert refinement.share_closed(codes).mean == pytest.approx(0.25, abs=1e-6)
    assert refinement.share_closed(codes, refined=["relu"]).mean == pytest.approx(0.5, abs=1e-6)


def test_curves_that_share_no_l0_have_no_share():
    codes = made_up(0.5)
    codes.loc[codes.method == "relu", "l0"] += 100
    assert math.isnan(refinement.share_closed(codes.assign(**{CE: codes[NMSE]}), CE).mean)
