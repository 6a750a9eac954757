"""The Gated paper's tables, read two ways: the values known from an independent reading, and planted sweeps of known ratio."""

import io

import numpy as np
import pandas as pd
import pytest

from saebook.claims import results
from saebook.common.errors import UserError
from saebook.evaluation.intervals import Interval
from saebook.papers.gated import published
from saebook.papers.gated.drawing import published as drawing

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


@pytest.fixture(scope="module")
def paper():
    return results.published("gated_tables_1_to_8")


@pytest.fixture(scope="module")
def panels(paper):
    return published.comparison(paper).set_index(published.PANEL)


def test_ratios_and_gains_are_those_of_an_independent_reading(paper, panels):
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


def test_the_rows_without_a_usable_l0_are_the_six_and_are_in_no_front(paper):
    lost = published.unusable(paper)
    assert (lost.L0 < 0).sum() == 4 and (lost.L0 == 0).sum() == 2
    assert set(lost[lost.L0 < 0].why) != set(lost[lost.L0 == 0].why)
    rows = published.with_fronts(paper)
    assert len(rows) + len(lost) == len(paper) == 283 and rows.L0.min() > 0
    for _, group in rows.groupby([*published.PANEL, "sae_type"]):
        for _, beaten in group[~group.front].iterrows():
            assert ((group.L0 <= beaten.L0) & (group.pct_CE_recovered >= beaten.pct_CE_recovered) & group.front).any()


def test_who_is_ahead_where_fronts_share_no_loss_follows_from_equal_l0(panels):
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
def test_a_planted_ratio_is_read_back_both_ways(factor):
    found = published.comparison(planted(factor))
    assert found.ratio.median() == pytest.approx(factor, rel=0.03)
    assert found.ratio_at_points.median() == pytest.approx(factor, rel=0.03)
    interval = published.median_interval(found.ratio, 500)
    assert interval.low <= factor * 1.03 and interval.high >= factor * 0.97 and interval.n == 6


def test_the_interval_of_a_median_over_panels_covers_it():
    rng = np.random.default_rng(2)
    found = [published.median_interval(pd.Series(rng.lognormal(-1.0, 0.5, 23)), 400) for _ in range(200)]
    assert np.mean([one.low <= np.exp(-1.0) <= one.high for one in found]) >= 0.9


def test_shuffled_names_show_no_ratio_and_the_real_ones_do(paper):
    null = published.shuffled(paper, 40)
    assert len(null) == 40 and 0.8 < np.median(null) < 1.25
    assert published.comparison(paper).ratio.median() < null.min()
    assert np.array_equal(null, published.shuffled(paper, 40))  # seeded
    same = published.shuffled(planted(1.0), 40)
    assert np.median(same) == pytest.approx(1.0, abs=0.05)


def test_repeated_settings_are_found(paper):
    found = published.repeats(paper)
    three = found[found.runs == 3].iloc[0]
    assert (three.model, three.site, three.layer) == ("gemma-7b", "Resid", 20)
    assert (three.least, three.most) == (28.0, 29.3) and three.loss_spread == pytest.approx(0.09)
    assert (found.l0_spread >= 1).all() and found.l0_spread.max() > 8


@pytest.mark.parametrize(
    ("models", "sites", "layers", "words"),
    [
        (["gpt2"], ["Resid"], [6], "no model gpt2: use some of gemma-7b"),
        (["gemma-7b"], ["Resid", "Head"], [6], "no site Head"),
        (["gemma-7b"], ["MLP"], [5], "no layer 5"),
        (["pythia-2.8b"], ["MLP"], [6], "no row"),
    ],
)
def test_what_the_tables_do_not_have_is_one_line(paper, models, sites, layers, words):
    with pytest.raises(UserError, match=words):
        published.chosen(paper, models, sites, layers)


def test_the_figures_draw_every_row_that_they_say_they_draw(paper):
    rows, lost = published.with_fronts(paper), published.unusable(paper)
    fronts = drawing.sweeps(rows, lost, "gemma-7b", fronts_only=True)
    everything = drawing.sweeps(rows, lost, "pythia-2.8b", fronts_only=False)
    assert len(fronts.axes) == 12 and len(everything.axes) == 15

    def drawn(figure, marker):
        return sum(len(line.get_xdata()) for ax in figure.axes for line in ax.lines if line.get_marker() == marker)

    gemma, pythia = rows[rows.model == "gemma-7b"], rows[rows.model == "pythia-2.8b"]
    assert drawn(fronts, ".") == gemma.front.sum() and drawn(fronts, "x") == len(lost) and drawn(fronts, "o") == 0
    assert drawn(everything, ".") == pythia.front.sum() and drawn(everything, "o") == (~pythia.front).sum()
    assert drawn(drawing.biases(rows, "pythia-2.8b"), ".") == len(pythia)
    assert "was not asked for" in drawing.sweeps(pythia, lost, "gemma-7b", True).axes[0].get_title()


def test_the_ratio_figure_is_drawn_the_same_way_twice_and_without_any_ratio(paper):
    panels, pictures = published.comparison(paper), []
    for _ in range(2):
        file = io.BytesIO()
        drawing.ratios(panels, Interval(0.35, 0.25, 0.4, 23)).savefig(
            file, format="png", dpi=40, metadata={"Software": None}
        )
        pictures.append(file.getvalue())
    assert pictures[0] == pictures[1]
    none = panels[panels.ratio.isna()]
    drawing.ratios(none, published.median_interval(none.ratio, 100)).savefig(io.BytesIO(), format="png")
