"""A figure as a whole: legend, panels, slider, table and caption, in HTML that needs no script."""

import json
import re

import pytest

from saebook.book.site.figures import composed, equal_loss


@pytest.fixture
def figure(recorded):
    return lambda name: composed.figure(recorded(name), "A <caption>.").html


def test_page_has_every_run_as_a_mark_and_in_the_table(figure, recorded):
    html, points = figure("gated/fig05_pareto"), recorded("gated/fig05_pareto").points()
    assert html.count('<svg class="run"') == len(points)
    assert all(html.count(key) == 2 for key in points.key)  # as a mark, and in the table
    assert "The 40 runs as a table" in html and "A &lt;caption&gt;." in html and "&lt;svg" not in html
    assert "loss_recovered" not in html and "relu" not in html.replace("ReLU", "")


def test_slider_holds_what_it_draws(figure):
    html = figure("gated/fig05_pareto")
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', html)
    levels = json.loads(data)
    assert len(levels) == equal_loss.LEVELS and {"loss", "y", "x", "ratios"} == set(levels[0])
    heights = [level["y"] for level in levels]
    assert heights == sorted(heights, reverse=True)  # more loss recovered lies further up
    assert all(re.fullmatch(r"\d+\.\d\d%", place) for level in levels for place in level["x"])
    assert html.count("hidden>") >= 3  # without a script, what it moves is not there


def test_many_panels_are_folded_below_a_map(figure):
    html = figure("gated/fig12_sites")
    assert html.count('<details class="panel"') == 16 and html.count(" open>") == 1
    assert re.findall(r'<td style="background: [^"]+"><a href="#(panel-[^"]+)"', html) == re.findall(
        r'<details class="panel" id="([^"]+)"', html
    )


def test_no_figure_where_none_is_drawn(recorded):
    for name in ("gated/fig16_gradients", "topk/fig01_scaling_laws"):
        assert composed.figure(recorded(name), "c") is None and composed.alone(recorded(name), "c") is None
    assert composed.alone(recorded("gated/fig05_pareto"), "c").count('class="run"') == 40
