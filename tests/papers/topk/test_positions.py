"""Errors by position: planted ones are read back."""

import pandas as pd
import pytest
import torch

from saebook.evaluation import metrics
from saebook.papers.topk import positions
from saebook.sae.base import Member
from saebook.sae.registry import build


def errors(first=0.2, seeds=2, length=8):
    rows = [
        {
            "method": "topk", "seed": seed, "sparsity": k, "position": p, "normalised_mse": (first if p == 0 else 1.0) / k,
            positions.OWN: 1.0 / k,
        }
        for seed in range(seeds)
        for k in (4.0, 8.0)
        for p in range(length)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_planted_first_position_is_read_back():
    assert positions.over_later(errors(), 0) == pytest.approx([0.2] * 2)
    assert positions.over_later(errors(), 1) == pytest.approx([1.0] * 2)
    assert positions.over_later(errors(), 0, positions.OWN) == pytest.approx([1.0] * 2)


def test_late_positions_that_are_alike_have_ratios_of_one():
    table = errors(length=9)
    assert positions.range_of_ratios(table, 4) == pytest.approx((1.0, 1.0))
    table.loc[table.position == 6, "normalised_mse"] *= 2
    low, high = positions.range_of_ratios(table, 4)
    assert high == pytest.approx(2.0) and low == pytest.approx(1 / 1.25)


def test_errors_of_all_positions_make_the_error_of_metrics_measure(small_subject):
    site = small_subject.site("resid_post", 1)
    made = build("topk", site.d_in, 48, (Member(0, 6),), per_token=True)
    rows = torch.randint(300, (20, 32), generator=torch.Generator().manual_seed(2))
    run = pd.DataFrame([{"method": "topk", "seed": 0, "sparsity": 6.0}])
    table = positions.measured(run, [made], small_subject, site, rows)
    expected = metrics.measure([made], small_subject, site, rows, 0)[0][0]
    assert table.position.tolist() == list(range(32)) and (table.tokens == 20).all()
    assert table.normalised_mse.mean() == pytest.approx(expected["normalised_mse"], rel=1e-4)
    assert table.l0.mean() == pytest.approx(expected["l0"], rel=1e-4)
    z = made.prepare(small_subject.activations(rows, site)[:, 5])[0]
    error = (made.reconstruct(z)[0] - z).square().sum(1).mean() / (z - z.mean(0)).square().sum(1).mean()
    assert table[positions.OWN][5] == pytest.approx(error.item(), rel=1e-4)


def test_spans_double_and_keep_the_first_apart():
    table = positions.spans(errors(length=9))
    one = table[(table.seed == 0) & (table.sparsity == 4.0)]
    assert one.position.tolist() == [1.0, 2.0, 3.5, 6.5, 9.0]
    assert one.normalised_mse.tolist() == pytest.approx([0.05, *[0.25] * 4])
