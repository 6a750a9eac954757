"""Explained variance at the site and later, by a plain pass."""

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.papers.e2e.comparison import ALIVE, CE
from saebook.papers.e2e.measured import variances
from saebook.sae.base import Member
from saebook.sae.registry import build

NAMES = ["blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre"]
RUN = pd.DataFrame([{"method": "e2e", "seed": 0, "sparsity": 1.0, CE: 0.5, "l0": 3.0, ALIVE: 9}])


@pytest.fixture
def rows():
    return torch.randint(300, (5, 32), generator=torch.Generator().manual_seed(2))


def noted(subject, rows, replace=None):
    """Activations at both positions, with `replace` applied at the first."""
    seen = {}

    def at_site(value, hook):
        seen[NAMES[0]] = replace(value) if replace else value
        return seen[NAMES[0]]

    def later(value, hook):
        seen[NAMES[1]] = value

    with torch.no_grad(), subject.bridge.hooks(fwd_hooks=[(NAMES[0], at_site), (NAMES[1], later)]):
        subject.bridge(rows, return_type=None)
    return seen


def test_explained_variance_is_that_of_the_papers_code(small_subject, rows):
    sae = build("normalised_relu", 32, 24, (Member(0, 1.0),))
    site = small_subject.site("resid_pre", 1)
    measured = variances.explained_variances(RUN, [sae], small_subject, site, rows).set_index("position")
    assert list(measured.index) == NAMES
    old = noted(small_subject, rows)
    new = noted(small_subject, rows, lambda x: sae.reconstruct(x.flatten(0, 1))[0].view_as(x))
    for name in NAMES:
        for space in (variances.RAW, variances.NORMED):
            pred, target = new[name], old[name]
            if space == variances.NORMED:
                pred, target = (torch.nn.functional.layer_norm(one, (32,)) for one in (pred, target))
            error = (pred - target).pow(2).sum(-1)
            around = (target - target.mean((0, 1))).pow(2).sum(-1)
            assert measured.loc[name, space] == pytest.approx((1 - error / around).mean().item(), rel=1e-3)
            assert measured.loc[name, f"{space}_pooled"] == pytest.approx(
                1 - (error.sum() / around.sum()).item(), rel=1e-3
            )


def test_own_activations_explain_everything_and_their_mean_nothing(rows):
    x = torch.randn(4, 6, 16, generator=torch.Generator().manual_seed(0))
    centre = x.mean((0, 1))
    same, around = variances.parts(x, x, centre)
    assert float(same.sum()) == 0 and float(around.min()) > 0
    error, around = variances.parts(centre.expand_as(x), x, centre)
    assert torch.allclose(error, around)
    short = variances.layer_normed(0.2 * x), variances.layer_normed(x)
    assert torch.allclose(*short, atol=1e-3) and not torch.allclose(0.2 * x, x, atol=1e-1)


def test_massive_positions_count_nowhere(small_subject, rows):
    sae, site = build("normalised_relu", 32, 24, (Member(0, 1.0),)), small_subject.site("resid_pre", 1)
    length = noted(small_subject, rows)[NAMES[1]].norm(dim=-1)
    kept = length <= 1.02 * length.flatten().median()
    assert 0 < kept.sum() < kept.numel()
    masked = variances.explained_variances(RUN, [sae], small_subject, site, rows, massive=1.02).set_index("position")
    old = noted(small_subject, rows)[NAMES[1]]
    new = noted(small_subject, rows, lambda x: sae.reconstruct(x.flatten(0, 1))[0].view_as(x))[NAMES[1]]
    error, around = (new - old).pow(2).sum(-1)[kept], (old - old[kept].mean(0)).pow(2).sum(-1)[kept]
    assert masked.loc[NAMES[1], variances.RAW] == pytest.approx((1 - error / around).mean().item(), rel=1e-3)


def test_a_mean_over_positions_needs_all_of_them():
    at = pd.DataFrame({"method": "e2e", "seed": [0, 0, 1, 1], "raw": [0.2, 0.4, 0.3, np.nan]})
    means = variances.over_positions(at, ["raw"]).set_index("seed").raw
    assert means[0] == pytest.approx(0.3) and np.isnan(means[1])
