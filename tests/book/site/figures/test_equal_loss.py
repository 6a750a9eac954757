"""The slider's numbers are those of `evaluation`, at every level and over all of them."""

import math

import numpy as np
import pandas as pd
import pytest

from saebook.book.site.figures import declared, equal_loss, plotted
from saebook.claims import results
from saebook.evaluation import intervals, pareto


def compared(name, points):
    panels = plotted.panels(declared.drawn(name, points), points)
    return [(panel, one) for panel in panels if (one := equal_loss.comparison(panel))]


def test_known_ratio_is_found_at_every_level(sweep):
    ((panel, one),) = compared("gated/made_up", sweep)
    assert panel.series[one.baseline].method == "relu" and one.others == (1 - one.baseline,)
    for level in one.levels:
        assert level.ratios[0].mean == pytest.approx(0.5) and level.ratios[0].n == 3
        assert level.l0[1 - one.baseline] / level.l0[one.baseline] == pytest.approx(0.5)
    assert one.over_all[0].mean == pytest.approx(0.5)
    losses = [level.loss for level in one.levels]
    assert len(losses) == equal_loss.LEVELS and 0.7 < losses[0] < losses[-1] < 0.98
    assert np.diff(losses) == pytest.approx(losses[1] - losses[0])


def test_ratios_at_levels_of_loss_recovered_are_those_of_the_fronts(recorded):
    points = recorded("gated/fig05_pareto").points()
    ((_, one),) = compared("gated/fig05_pareto", points)
    for level in one.levels:
        per_seed = [
            [float(intervals.l0_at(runs.l0, runs.loss_recovered, [level.loss])[0]) for method in ("gated", "relu")
             for runs in [points[(points.method == method) & (points.seed == seed)]]]
            for seed in sorted(points.seed.unique())
        ]  # fmt: skip
        assert level.ratios[0] == pareto.log_interval([gated / relu for gated, relu in per_seed])


def test_ratio_over_all_levels_is_the_one_that_the_claim_is_judged_by(recorded):
    shown = recorded("gated/fig05_pareto")
    ((_, one),) = compared(shown.name, shown.points())
    live = results.live(shown.result, "l0_ratio")
    ours = one.over_all[0]  # the points are kept with six digits
    assert (ours.mean, ours.low, ours.high, ours.n) == pytest.approx((live.mean, live.low, live.high, live.n), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "other", "base"), [("topk/knob_batch_topk", "batch_topk", "relu"), ("e2e/fig01_pareto", "e2e", "local")]
)
def test_ratios_at_levels_of_added_loss_are_those_of_the_curves(recorded, name, other, base):
    points = recorded(name).points()
    panel, one = next(pair for pair in compared(name, points) if pair[0].up == "ce_increase")
    place = one.others.index([series.method for series in panel.series].index(other))
    sweeps = {(method, seed): runs for (method, seed), runs in points.groupby(["method", "seed"])}
    seeds = sorted(points.seed.unique())
    at = one.levels[len(one.levels) // 2]
    read = [
        [pareto.value_at(sweeps[method, seed], "l0", at.loss, at="ce_increase") for method in (other, base)]
        for seed in seeds
    ]
    assert at.ratios[place] == pareto.log_interval([a / b for a, b in read])
    over_all = [pareto.matched_ratio(sweeps[other, seed], sweeps[base, seed], "l0", "ce_increase") for seed in seeds]
    assert one.over_all[place] == pareto.log_interval(over_all)
    steps = np.diff(np.log([level.loss for level in one.levels]))
    assert steps == pytest.approx(steps[0])


def test_nothing_is_compared_without_a_baseline_or_a_common_level(sweep):
    assert compared("gated/made_up", sweep[sweep.method == "gated"]) == []
    apart = sweep.assign(loss_recovered=sweep.loss_recovered - (sweep.method == "relu"))
    assert compared("gated/made_up", apart) == []


def test_level_that_a_method_does_not_reach_has_no_ratio(sweep):
    third = sweep[sweep.method == "gated"].assign(method="topk")
    third = third[third.loss_recovered > 0.8]
    ((panel, one),) = compared("gated/made_up", pd.concat([sweep, third], ignore_index=True))
    topk = [series.method for series in panel.series].index("topk")
    lowest = one.levels[0]
    assert math.isnan(lowest.l0[topk]) and math.isnan(lowest.ratios[one.others.index(topk)].mean)
    assert math.isfinite(one.levels[-1].l0[topk])
