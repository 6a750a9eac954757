"""Gated SAEs and baselines that are rated side by side, on cards that are full."""

import pandas as pd
import pytest

from saebook.book import budgets
from saebook.common.errors import UserError
from saebook.papers.gated.human_study import pairing


def test_rated_saes_have_similar_l0():
    rows = [["gated", s, seed, l0] for s, l0 in ((0.5, 60.0), (2.0, 20.0), (5.0, 5.0)) for seed in (0, 1)]
    rows += [["relu", s, seed, l0 + seed] for s, l0 in ((0.5, 80.0), (2.0, 22.0), (5.0, 9.0)) for seed in (0, 1)]
    chosen = pairing.comparable(pd.DataFrame(rows, columns=["method", "sparsity", "seed", "l0"]))
    assert chosen.l0.tolist() == [20.0, 22.0, 20.0, 23.0] and chosen.method.tolist() == ["gated", "relu"] * 2


def test_cards_of_fewer_than_six_contexts_are_refused():
    with pytest.raises(UserError, match="contexts must be at least 6, and are 5"):
        budgets.resolve("gated/fig07_interpretability", "smoke", contexts=5)
