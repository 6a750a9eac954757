"""Errors by position: planted ones are read back."""

import pandas as pd
import pytest

from saebook.papers.topk import positions


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


def test_spans_double_and_keep_the_first_apart():
    table = positions.spans(errors(length=9))
    one = table[(table.seed == 0) & (table.sparsity == 4.0)]
    assert one.position.tolist() == [1.0, 2.0, 3.5, 6.5, 9.0]
    assert one.normalised_mse.tolist() == pytest.approx([0.05, *[0.25] * 4])
