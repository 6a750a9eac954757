"""Runs, means and intervals lie where the axes say, with marks that tell methods apart."""

import re
from xml.etree import ElementTree

import pandas as pd
import pytest

from saebook.book.site.figures import declared, drawing, plotted, svg


@pytest.fixture
def panel(sweep):
    return plotted.panels(declared.usual(sweep), sweep)[0]


def parsed(inside):
    return ElementTree.fromstring(f"<svg>{inside}</svg>")


def test_every_run_lies_at_its_values_and_says_which_it_is(panel, sweep):
    marks = parsed(drawing.plot(panel)).findall(".//svg[@class='run']")
    assert len(marks) == len(sweep)
    by_key = {mark.find("title").text.rpartition("key ")[2]: mark for mark in marks}
    for run in sweep.itertuples():
        mark = by_key[run.key]
        across = float(mark.attrib["x"].rstrip("%")) / 100
        up = (drawing.BOTTOM - float(mark.attrib["y"])) / (drawing.BOTTOM - 6)
        assert panel.x.low * (panel.x.high / panel.x.low) ** across == pytest.approx(run.l0, rel=1e-3)
        assert panel.y.low + up * (panel.y.high - panel.y.low) == pytest.approx(run.loss_recovered, abs=1e-3)
        assert f"seed {run.seed}, λ {run.sparsity:g}, L0 " in mark.find("title").text


def test_means_have_intervals_over_seeds_and_lines_between_them(panel):
    groups = parsed(drawing.plot(panel)).findall("g")
    means = [group for group in groups if "means" in group.attrib["class"]]
    assert len(means) == 2
    for group in means:
        kinds = [line.attrib["class"] for line in group.findall("line")]
        assert kinds.count("curve") == 2 and kinds.count("bar") == 6 and kinds.count("drop") == 1
    shapes = {
        re.sub(r"<title>.*?</title>", "", ElementTree.tostring(group.find("svg")[0], "unicode")) for group in means
    }
    assert len(shapes) == 2  # the marks differ, not the colours alone


def test_one_seed_has_no_bars(sweep):
    panel = plotted.panels(declared.usual(sweep), sweep[sweep.seed == 0])[0]
    assert 'class="bar"' not in drawing.plot(panel) and 'class="curve"' in drawing.plot(panel)


def test_labels_lie_within_the_plot_and_are_escaped(panel):
    places = [float(text.attrib["y"]) for text in parsed(drawing.labels_up(panel))]
    assert len(places) >= 3 and all(0 < place < drawing.BOTTOM + 5 for place in places)
    assert svg.text("0", 1, "<a & b>") == '<text x="0" y="1" text-anchor="middle">&lt;a &amp; b&gt;</text>'


def test_file_stands_alone(panel):
    text = drawing.alone([panel, panel], panel.series, "A title & more", 3)
    root = ElementTree.fromstring(text)
    assert (
        root.attrib["width"] == "800"
        and "var(--pst" not in text
        and "http" not in text.replace("http://www.w3.org/2000/svg", "")
    )
    assert root.findtext("{http://www.w3.org/2000/svg}title") == "A title & more"
    assert text.count('class="run"') == 2 * sum(len(one.runs) for one in panel.series)


def test_second_part_is_drawn_open_and_dashed(sweep):
    both = pd.concat([sweep.assign(by="encoder"), sweep.assign(by="refined", l0=sweep.l0 / 2)])
    figure = declared.Drawn((("l0", "loss_recovered"),), parts="by")
    panel = plotted.panels(figure, both)[0]
    assert [one.label for one in plotted.legend([panel])] == [
        "baseline (ReLU + L1), encoder", "baseline (ReLU + L1), refined", "Gated, encoder", "Gated, refined",
    ]  # fmt: skip
    assert drawing.plot(panel).count('class="series means dashed"') == 2
