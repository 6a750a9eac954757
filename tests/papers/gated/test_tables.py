"""Tables in the columns of the Gated paper agree with themselves to rounding."""

import numpy as np
import pandas as pd
import pytest

from saebook.papers.gated import tables


def test_rounding_agrees_and_a_slip_does_not():
    rng = np.random.default_rng(0)
    clean, zero = 2.0, 2.0 + rng.choice([0.0062, 0.05, 1.0, 20.0], 400)
    spliced = clean + (zero - clean) * rng.uniform(0, 0.5, 400)
    exact = pd.DataFrame({
        "model": "m", "sae_type": "gated", "site": "Resid", "layer": 0, "L0": 10.0, "pct_alive": 50.0, "clean_CE": clean,
        "sae_CE": spliced, "zero_abl_CE": zero, "pct_CE_recovered": 100 * (1 - (spliced - clean) / (zero - clean)),
    })  # fmt: skip
    table = tables.rounded(exact)
    assert tables.agreeing_share(table).mean == 1.0
    assert tables.agreeing_share(tables.misprinted(table)).high < 0.6
    wrong = table.assign(pct_CE_recovered=table.pct_CE_recovered + np.where(np.arange(400) < 40, 30.0, 0.0))
    assert tables.agreeing_share(wrong).mean == pytest.approx(0.9) and tables.disagreement(wrong)[399] == 0


def test_optimal_rows_are_the_pareto_fronts():
    rows = [("gated", 10, 90), ("gated", 20, 95), ("gated", 30, 94), ("baseline", 30, 94), ("gated", -5, 99)]
    table = pd.DataFrame(rows, columns=["sae_type", "L0", "pct_CE_recovered"]).assign(model="m", site="s", layer=0)
    assert tables.optimal(table).tolist() == [True, True, False, True, False]
