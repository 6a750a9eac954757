"""Figures of the chapters on probes show every width, k and task that they are given."""

import pandas as pd

from saebook.papers.topk.probes import drawing
from saebook.papers.topk.probes.measuring import LOSS, NONE


def means(method="topk", seeds=2):
    rows = [
        {"method": method, "d_sae": width, "seed": seed, "sparsity": k, "l0": k, LOSS: 0.2 - k / 1000 + seed / 100}
        for width in (64, 128, 256)
        for k in (2.0, 8.0)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def test_widths_and_ks_have_a_line_each_beside_the_levels():
    figure = drawing.widths(means(), means("untrained", 1), {"share of positives": 0.3, "best dimension": 0.1})
    left, right = figure.axes
    (legend,) = figure.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert {
        "64 latents",
        "256 latents",
        "k = 2",
        "k = 8",
        "share of positives",
        "best dimension",
        "never trained",
    } <= set(words)
    assert len(words) == len(set(words)) == 8
    assert len(left.containers) == 3 and len(right.containers) == 2
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["64", "128", "256"]


def test_architectures_are_drawn_over_l0():
    both = pd.concat([means(), means("relu").assign(l0=lambda table: table.l0 * 1.5)])
    (ax,) = drawing.kinds(both[both.d_sae == 64], 0.25).axes
    assert [line.get_label() for line in ax.containers] and len(ax.containers) == 2
    assert any(set(line.get_ydata()) == {0.25} for line in ax.lines)


def test_single_seed_has_no_bars():
    (ax,) = drawing.kinds(means(seeds=1), 0.25).axes
    (bars,) = ax.containers
    assert all(abs(segment[0, 1] - segment[1, 1]) < 1e-12 for segment in bars.lines[2][0].get_segments())


def test_tasks_are_ordered_by_what_the_best_dimension_knows():
    real = pd.DataFrame({"task": ["a", "b", "c"], LOSS: [0.2, 0.1, 0.3], NONE: [0.25, 0.3, 0.3]})
    shuffled = pd.concat([real.assign(**{LOSS: real[NONE] * factor}) for factor in (1.0, 1.02)])
    (ax,) = drawing.tasks(real, shuffled).axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["b", "a", "c"] and ax.yaxis_inverted()
