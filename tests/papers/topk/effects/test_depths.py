"""Errors by layer: principal components leave what they should, and planted ratios are read back."""

import math

import pandas as pd
import pytest
import torch

from saebook.papers.topk.effects import depths
from saebook.sae.base import Member
from saebook.sae.registry import build


def test_principal_components_leave_the_smallest_variances():
    turned, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).double())
    covariance = turned @ torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0]).double()) @ turned.T
    assert [depths.left_over(covariance, k) for k in (0, 1, 3, 4, 9)] == pytest.approx([1.0, 0.6, 0.1, 0.0, 0.0])


def test_principal_errors_are_those_of_a_projection(small_subject):
    sites = [small_subject.site("resid_post", layer) for layer in (0, 2)]
    rows = torch.randint(300, (20, 32), generator=torch.Generator().manual_seed(2))
    sae = build("topk", sites[0].d_in, 8, (Member(0, 2),), per_token=True)
    errors = depths.principal_errors(small_subject, sites, rows, 1, sae, [3, 9]).set_index(["layer", "k"])
    for site in sites:
        z = sae.prepare(small_subject.activations(rows, site)[:, 1:].flatten(0, 1))[0].double()
        z = z - z.mean(0)
        _, _, directions = torch.linalg.svd(z, full_matrices=False)
        for k in (3, 9):
            left = z - z @ directions[:k].T @ directions[:k]
            expected = float(left.square().sum() / z.square().sum())
            assert errors.normalised_mse[site.layer, k] == pytest.approx(expected, rel=1e-5)


def test_planted_ratio_of_the_ends_is_read_back():
    rows = [
        {"layer": layer, "seed": seed, "sparsity": k, "ce_increase": (1 + layer) * k * (1 + seed)}
        for layer in (0, 1, 3)
        for seed in (0, 1)
        for k in (8.0, 32.0)
    ]
    table = pd.DataFrame(rows)
    assert depths.last_over_first(table, "ce_increase") == pytest.approx([4.0, 4.0])
    table.loc[(table.layer == 3) & (table.seed == 1) & (table.sparsity == 8.0), "ce_increase"] = -1.0
    first, second = depths.last_over_first(table, "ce_increase")
    assert first == pytest.approx(4.0) and math.isnan(second)
