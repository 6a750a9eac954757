"""The map of sites and layers: a cell for each, its number, its colour, its link."""

import pandas as pd
import pytest

from saebook.book.site.figures import declared, equal_loss, heat_map, plotted


def made(table, figure=None):
    panels = plotted.panels(figure or declared.usual(table), table)
    compared = {i: one for i, panel in enumerate(panels) if (one := equal_loss.comparison(panel))}
    return heat_map.heat_map(panels, compared, [f"p{i}" for i in range(len(panels))])


@pytest.fixture
def sites(sweep):
    """One half at every site and layer but one, where there is no gain."""
    parts = []
    for site, layer in (("resid_post", 0), ("resid_post", 1), ("mlp_out", 0)):
        factor = 2.0 if (site, layer) == ("mlp_out", 0) else 1.0
        l0 = sweep.l0.where(sweep.method != "gated", sweep.l0 * factor)
        parts.append(sweep.assign(site=site, layer=layer, l0=l0))
    return pd.concat(parts, ignore_index=True)


def test_cells_show_ratios_and_lead_to_their_panels(sites):
    table = made(sites)
    assert table["layers"] == [0, 1] and [row["name"] for row in table["rows"]] == ["residual stream", "MLP output"]
    stream, mlp = (row["cells"] for row in table["rows"])
    assert [cell["words"] for cell in stream] == ["0.50", "0.50"] and mlp[0]["words"] == "1.00" and mlp[1] is None
    assert {cell["panel"] for cell in [*stream, mlp[0]]} == {"p0", "p1", "p2"}
    assert stream[0]["colour"] == "rgba(0, 114, 178, 0.500)" and mlp[0]["colour"].endswith("0.000)")
    assert "baseline (ReLU + L1)" in table["caption"]


def test_without_a_baseline_cells_show_means(sites):
    table = made(sites[sites.method == "gated"])
    assert len(table["rows"]) == 6 and table["rows"][0]["name"] == "residual stream, λ 0.125"
    assert table["rows"][0]["cells"][0]["words"] == "0.9800"


def test_other_figures_have_no_map(sweep):
    assert made(sweep) is None


def test_recorded_chapters_with_several_layers_have_one(recorded):
    for name in ("gated/fig12_sites", "topk/fig29_layers", "e2e/fig04_layers"):
        points = recorded(name).points()
        assert made(points, declared.drawn(name, points))["rows"], name
