"""The published rows, read as the paper draws them."""

import numpy as np
import pandas as pd
import pytest

from saebook.common.errors import UserError
from saebook.evaluation.intervals import Interval
from saebook.papers.gated import published

# An independent reading of the same tables: L0 ratio at the baseline's front points, points gained at equal L0 there, and
# how many of those points were matched; None where the fronts share nothing.
KNOWN = {
    ("gemma-7b", "Attn"): {6: (0.29, 12.26), 13: (0.27, 14.39), 20: (0.44, 4.88), 27: (None, -24.35)},
    ("gemma-7b", "MLP"): {6: (0.34, 8.20), 13: (0.07, 13.35), 20: (0.15, 4.76), 27: (1.05, -0.77)},
    ("gemma-7b", "Resid"): {6: (0.18, 4.15), 13: (0.27, 1.75), 20: (0.42, 2.83), 27: (None, 37.67)},
    ("pythia-2.8b", "Attn"): {4: (0.40, 3.48), 12: (None, None), 16: (0.33, 8.58), 20: (None, 3.43), 28: (0.30, 12.87)},
    ("pythia-2.8b", "MLP"): {4: (0.37, 2.70), 12: (0.52, 4.22), 16: (0.52, 4.15), 20: (0.12, 1.20), 28: (0.45, 6.74)},
    ("pythia-2.8b", "Resid"): {4: (0.50, 0.43), 12: (0.35, 2.36), 16: (0.31, 2.23), 20: (0.16, 3.57), 28: (0.39, 1.17)},
}  # fmt: skip


def test_ratios_and_gains_equal_an_independent_reading(paper, panels):
    rows = published.with_fronts(paper)
    assert len(panels) == sum(map(len, KNOWN.values())) == 27
    for (model, site), layers in KNOWN.items():
        for layer, (ratio, gain) in layers.items():
            mine = rows[(rows.model == model) & (rows.site == site) & (rows.layer == layer) & rows.front]
            gains = published.gains(*(mine[mine.sae_type == kind] for kind in ("gated", "baseline")))
            read = panels.loc[(model, site, layer)]
            if ratio is None:
                assert np.isnan(read.ratio_at_points) and np.isnan(read.ratio)
            else:
                assert read.ratio_at_points == pytest.approx(ratio, abs=0.0051)
                assert read.ratio / ratio == pytest.approx(1.0, abs=0.5)  # another interpolation of the same fronts
            assert (len(gains) == 0) if gain is None else np.median(gains) == pytest.approx(gain, abs=0.0051)


def test_six_rows_without_a_usable_l0_are_on_no_front(paper):
    lost = published.unusable(paper)
    assert (lost.L0 < 0).sum() == 4 and (lost.L0 == 0).sum() == 2
    assert set(lost[lost.L0 < 0].why) != set(lost[lost.L0 == 0].why)
    rows = published.with_fronts(paper)
    assert len(rows) + len(lost) == len(paper) == 283 and rows.L0.min() > 0
    for _, group in rows.groupby([*published.PANEL, "sae_type"]):
        for _, beaten in group[~group.front].iterrows():
            assert ((group.L0 <= beaten.L0) & (group.pct_CE_recovered >= beaten.pct_CE_recovered) & group.front).any()


def test_fronts_that_share_no_loss_are_compared_at_equal_l0(panels):
    apart = panels[panels.ratio.isna()]
    assert set(apart.index) == {
        ("gemma-7b", "Attn", 27), ("gemma-7b", "Resid", 27), ("pythia-2.8b", "Attn", 12), ("pythia-2.8b", "Attn", 20)
    }  # fmt: skip
    assert ((apart.gain > 0) == (apart.ahead == "gated")).all()
    assert published.count(panels, "baseline") == Interval(2, 2, 2, 27)


def planted(factor: float, seed: int = 0) -> pd.DataFrame:
    """Sweeps of two kinds on one bent curve, Gated at `factor` times the L0, at other points in every panel."""
    rng = np.random.default_rng(seed)
    rows = []
    for layer in range(6):
        for kind, scale in (("gated", factor), ("baseline", 1.0)):
            quality = np.sort(rng.uniform(60, 99, 12))
            rows += [
                {
                    "model": "m", "site": "Resid", "layer": layer, "sae_type": kind, "L0": scale * np.exp(q / 25 + (q / 80) ** 4),
                    "pct_CE_recovered": q, "gamma": 1.0, "lambda": q, "lr": 1e-3, "width": 1,
                }
                for q in quality
            ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.0])
def test_planted_ratio_is_read_back_both_ways(factor):
    ratios = published.comparison(planted(factor))
    assert ratios.ratio.median() == pytest.approx(factor, rel=0.03)
    assert ratios.ratio_at_points.median() == pytest.approx(factor, rel=0.03)
    interval = published.median_interval(ratios.ratio, 500)
    assert interval.low <= factor * 1.03 and interval.high >= factor * 0.97 and interval.n == 6


def test_median_interval_covers_at_its_level():
    rng = np.random.default_rng(2)
    intervals = [published.median_interval(pd.Series(rng.lognormal(-1.0, 0.5, 23)), 400) for _ in range(200)]
    assert np.mean([one.low <= np.exp(-1.0) <= one.high for one in intervals]) >= 0.9


def test_shuffled_names_show_no_ratio(paper):
    null = published.shuffled(paper, 40)
    assert len(null) == 40 and 0.8 < np.median(null) < 1.25
    assert published.comparison(paper).ratio.median() < null.min()
    assert np.array_equal(null, published.shuffled(paper, 40))  # seeded
    same = published.shuffled(planted(1.0), 40)
    assert np.median(same) == pytest.approx(1.0, abs=0.05)


def test_repeated_settings_are_listed(paper):
    repeats = published.repeats(paper)
    three = repeats[repeats.runs == 3].iloc[0]
    assert (three.model, three.site, three.layer) == ("gemma-7b", "Resid", 20)
    assert (three.least, three.most) == (28.0, 29.3) and three.loss_spread == pytest.approx(0.09)
    assert (repeats.l0_spread >= 1).all() and repeats.l0_spread.max() > 8


@pytest.mark.parametrize(
    ("models", "sites", "layers", "words"),
    [
        (["gpt2"], ["Resid"], [6], "no model gpt2: use some of gemma-7b"),
        (["gemma-7b"], ["Resid", "Head"], [6], "no site Head"),
        (["gemma-7b"], ["MLP"], [5], "no layer 5"),
        (["pythia-2.8b"], ["MLP"], [6], "no row"),
    ],
)
def test_unknown_panel_is_refused_in_one_line(paper, models, sites, layers, words):
    with pytest.raises(UserError, match=words):
        published.chosen(paper, models, sites, layers)
