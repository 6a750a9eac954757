"""Latents by token: counted as the SAE fires, and a planted allocation is read back while the control finds none."""

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.evaluation import metrics
from saebook.papers.topk.later import allocation
from saebook.sae.base import Member
from saebook.sae.registry import build


def tokens(noise=0.0, count=500):
    """TopK's errors and another method's latents, which follow them but for `noise` times as much chance."""
    rng, parts = np.random.default_rng(0), []
    for seed in (0, 1):
        for k in (4.0, 8.0):
            error = rng.random(count)
            latents = error + noise * rng.random(count)
            of_run = {"token": range(count), "sparsity": k, "seed": seed}
            parts.append(pd.DataFrame(of_run | {"method": "topk", "latents": k, "error": error}))
            parts.append(pd.DataFrame(of_run | {"method": "batch_topk", "latents": latents, "error": 1.0}))
    return pd.concat(parts, ignore_index=True)


def test_planted_allocation_is_read_back_and_the_control_finds_none():
    assert allocation.goes_where_it_is_hard(tokens(), "batch_topk") == pytest.approx([1.0, 1.0])
    assert all(0.3 < r < 0.9 for r in allocation.goes_where_it_is_hard(tokens(1.0), "batch_topk"))
    assert all(abs(r) < 0.15 for r in allocation.goes_where_it_is_hard(tokens(), "batch_topk", shuffle=True))


def test_tokens_are_paired_by_their_number_and_not_by_their_line():
    shuffled = tokens().sample(frac=1.0, random_state=1)
    assert allocation.goes_where_it_is_hard(shuffled, "batch_topk") == pytest.approx([1.0, 1.0])


def test_latents_and_errors_of_tokens_make_those_of_metrics_measure(small_subject):
    site = small_subject.site("resid_post", 1)
    rows = torch.randint(300, (20, 32), generator=torch.Generator().manual_seed(2))
    saes = [build(name, site.d_in, 48, (Member(0, 6),), per_token=True) for name in ("topk", "batch_topk")]
    z = saes[1].prepare(small_subject.activations(rows, site)[:, 1:].flatten(0, 1))[0]
    saes[1].loss(z)  # sets its threshold
    runs = pd.DataFrame([{"method": s.architecture, "sparsity": 6.0, "seed": 0} for s in saes])
    measured = allocation.by_token(runs, saes, small_subject, site, rows, 1)
    for sae, expected in zip(saes, metrics.measure(saes, small_subject, site, rows, 1), strict=True):
        mine = measured[measured.method == sae.architecture]
        assert len(mine) == 20 * 31 == mine.token.nunique()
        assert mine.latents.mean() == pytest.approx(expected[0]["l0"], rel=1e-6)
        variance = float((z - z.mean(0)).square().sum(1).mean())
        assert mine.error.mean() / variance == pytest.approx(expected[0]["normalised_mse"], rel=1e-4)
    spreads = allocation.spreads(measured).set_index("method")
    assert spreads["5 %"]["topk"] == spreads["95 %"]["topk"] == 6
    assert spreads["5 %"]["batch_topk"] < spreads["mean"]["batch_topk"] < spreads["95 %"]["batch_topk"]


def test_l0_off_k_is_a_geometric_mean_for_each_seed():
    rows = [
        ("batch_topk", 8.0, 0, 16.0),
        ("batch_topk", 32.0, 0, 16.0),
        ("batch_topk", 8.0, 1, 8.8),
        ("topk", 8.0, 0, 1.0),
    ]
    table = pd.DataFrame(rows, columns=["method", "sparsity", "seed", "l0"])
    assert allocation.l0_off_k(table) == pytest.approx([1.0, 1.1])
