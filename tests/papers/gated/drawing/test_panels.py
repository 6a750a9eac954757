"""Figures of the published rows."""

import io

from saebook.evaluation.intervals import Interval
from saebook.papers.gated import published
from saebook.papers.gated.drawing import panels as drawing


def test_figures_draw_every_row(paper):
    rows, lost = published.with_fronts(paper), published.unusable(paper)
    fronts = drawing.sweeps(rows, lost, "gemma-7b", fronts_only=True)
    everything = drawing.sweeps(rows, lost, "pythia-2.8b", fronts_only=False)
    assert len(fronts.axes) == 12 and len(everything.axes) == 15

    def drawn(figure, markers, hollow=False):
        return sum(
            len(line.get_xdata())
            for ax in figure.axes
            for line in ax.lines
            if line.get_marker() in markers and (line.get_markerfacecolor() == "none") == hollow
        )

    gemma, pythia = rows[rows.model == "gemma-7b"], rows[rows.model == "pythia-2.8b"]
    assert (
        drawn(fronts, "os") == gemma.front.sum()
        and drawn(fronts, "x") == len(lost)
        and drawn(fronts, "os", hollow=True) == 0
    )
    assert (
        drawn(everything, "os") == pythia.front.sum() and drawn(everything, "os", hollow=True) == (~pythia.front).sum()
    )
    assert drawn(drawing.biases(rows, "pythia-2.8b"), "os") == len(pythia)
    assert "was not asked for" in drawing.sweeps(pythia, lost, "gemma-7b", True).axes[0].get_title()


def test_ratio_figure_is_deterministic_and_works_without_a_ratio(paper):
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
