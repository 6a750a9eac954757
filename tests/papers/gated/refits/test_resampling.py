"""The gap with and without resampling."""

import numpy as np
import pandas as pd
import pytest

from saebook.papers.gated.refits import resampling


def test_change_by_resampling_and_published_rows_by_share_alive():
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
    by_rows = resampling.published_by_alive(published, (90.0,)).loc[("m", 90.0)]
    assert by_rows["all rows"] == pytest.approx(1 / 1.5, rel=0.01) and by_rows["rows above"] == pytest.approx(
        0.5, rel=0.01
    )
