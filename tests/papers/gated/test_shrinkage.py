"""Shrinkage per seed, and what rescaling repairs."""

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.papers.gated import shrinkage
from saebook.sae.base import Member
from saebook.sae.registry import build
from saebook.training.store import Store


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
    store.save_sae("a", stack)
    rows = torch.randint(0, 300, (4, 32), generator=torch.Generator().manual_seed(0))
    row = pd.Series({"key": "a", "method": "relu", shrinkage.GAMMA: 1.0})
    bias = shrinkage.rescaled(row, small_subject, site, rows, 1, store)["bias"]
    rescaled = shrinkage.rescaled(row.replace(1.0, bias), small_subject, site, rows, 1, store)
    assert bias < 0.9 and rescaled["bias_rescaled"] == pytest.approx(1.0) and rescaled["error_ratio"] < 1.0
