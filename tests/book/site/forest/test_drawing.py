"""The forest plot: one scale for all claims, on which a verdict can be read off, and rows that need no script."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from saebook.book.site.forest import drawing
from saebook.book.site.forest import rows as forest
from saebook.book.site.forest.scale import LEFT, RIGHT, scale
from saebook.claims import rules
from saebook.claims.ledger import Claim, Verdict
from saebook.evaluation.intervals import Interval

BASE = {"notebook": "gated/fig05_pareto", "id": "gated.a", "where": "here", "claim": "it is so", "source": "s", "live": "x", "quantity": "q"}  # fmt: skip


def claim(**fields):
    return Claim(**(BASE | {"kind": "direction"} | fields))


CLAIMS = {
    "ratio below": claim(null_value=1.0, smallest_effect=0.05),
    "ratio above": claim(null_value=1.0, smallest_effect=0.5, side="above"),
    "no smallest effect": claim(null_value=0.0, side="above"),
    "band below null": claim(kind="value", band=(0.35, 0.65), null_value=1.0),
    "band around null": claim(kind="value", band=(0.97, 1.03), null_value=1.0),
    "negative band": claim(kind="slope", band=(-0.7, -0.3), null_value=0.0),
    "exact": claim(kind="value", band=(0.0, 0.0), null_value=7.5),
}


@pytest.mark.parametrize("one", CLAIMS.values(), ids=CLAIMS)
def test_range_begins_at_one_ends_at_two_and_places_keep_the_order(one):
    of = rules.target(one)
    values = [Interval(0.5, 0.4, 0.6, 3)]
    drawn = scale(one, values)
    assert drawn.place(drawn.edge) == pytest.approx(1)
    if math.isfinite(of.low) and math.isfinite(of.high) and of.low < of.high:
        assert drawn.place(of.high if drawn.side > 0 else of.low) == pytest.approx(2)
    if drawn.outside:
        assert drawn.place(of.null) == pytest.approx(0)
    grid = np.linspace(-3, 9, 400)
    places = np.array([drawn.place(x) for x in grid]) * drawn.side
    assert (np.diff(places) >= -1e-12).all() and np.abs(places).min() >= LEFT and np.abs(places).max() <= RIGHT
    assert {drawn.place(math.inf), drawn.place(-math.inf)} == {LEFT, RIGHT}


@pytest.mark.parametrize("one", CLAIMS.values(), ids=CLAIMS)
def test_verdict_can_be_read_off_the_places(one):
    """An interval replicates exactly when both of its ends are drawn in the shaded range."""
    rng = np.random.default_rng(0)
    of, seen = rules.target(one), set()
    for middle in rng.uniform(-1, 2, 300):
        half = rng.uniform(0.001, 0.4)
        value = Interval(middle, middle - half, middle + half, 4)
        drawn = scale(one, [value])
        ends = sorted((drawn.place(value.low), drawn.place(value.high)))
        last = RIGHT if drawn.end is None else 2.0 if of.low < of.high else 1.0
        inside = ends[0] >= 1 - 1e-9 and ends[1] <= last + 1e-9
        if not of.side or drawn.edge != of.null:
            assert inside == (rules.verdict(one, value) is Verdict.REPLICATES), value
        seen.add(inside)
    assert seen == {True, False} or of.low == of.high


@pytest.mark.parametrize("one", CLAIMS.values(), ids=CLAIMS)
def test_pictures_are_whole_and_hold_a_dot_for_each_value(one):
    value = Interval(0.5, -math.inf, 0.6, 3, (0.4, 0.5, 0.6))
    small = drawing.row(one, "replicates", value)
    large = drawing.card(one.model_copy(update={"paper_value": 0.45}), "replicates", value)
    for picture in (small, large):
        root = ElementTree.fromstring(picture)
        assert (
            root.attrib["class"].startswith("interval")
            and "nan" not in picture
            and "inf" not in picture.split(">", 1)[1]
        )
    assert large.count('class="dot"') == 3 and "paper 0.45" in large
    assert re.search('aria-label="[^"]*holds if', small)


def test_ticks_are_the_null_value_and_the_ends_of_the_range():
    value = Interval(0.7, 0.6, 0.8, 3)

    def ticks(one):
        return re.findall("<text[^>]*>([^<]+)<", drawing.row(one, "underpowered", value, ticks=True))

    assert ticks(CLAIMS["ratio below"]) == ["1", "0.95"] and ticks(CLAIMS["band below null"]) == ["1", "0.65", "0.35"]
    assert ticks(CLAIMS["no smallest effect"]) == ["0"] and "<text" not in drawing.row(CLAIMS["exact"], "partly", value)


def test_contrasts_of_an_ordering_stand_below_each_other():
    ordering = claim(kind="ordering", null_value=1.0, smallest_effect=0.1)
    values = [Interval(0.5, 0.4, 0.6, 3), Interval(0.9, 0.8, 1.1, 3)]
    picture = drawing.row(ordering, "underpowered", values)
    assert picture.count('class="ends"') == 2
    assert drawing.reach(ordering, values) == pytest.approx(1.0)  # the weaker one's


def test_every_verdict_has_a_mark_of_its_own():
    judged = {verdict.value for verdict in Verdict} - {Verdict.NOT_COMPARABLE.value}
    assert set(drawing.MARKS) == judged and len(set(drawing.MARKS.values())) == len(judged)


def test_signs_have_no_class_that_the_theme_highlights(rows):
    html = forest.plot(rows(), set())
    assert (
        html.count('class="sign"') == len(drawing.MARKS) + 3
    )  # the legend's four verdicts and two areas, and one row's
    assert not re.search(r'class="[^"]*\bmark\b', html)


def test_plot_lists_every_judged_claim_once_with_its_evidence(rows):
    standing = rows()
    html = forest.plot(standing, {"gated/fig05_pareto"})
    assert re.findall('id="evidence-([^"]+)"', html) == ["gated.a"]  # the others have no verdict
    assert "Half &lt;as&gt; many." in html and "Luck &amp; &lt;all&gt;." in html and "<all>" not in html
    assert 'href="ledger.html#gated.a"' in html and 'href="../notebooks/gated/fig05_pareto.html"' in html
    assert "&lt;svg" not in html and html.count("<details") == html.count("</details>") == 1
    assert "0.52, 95 % interval 0.37 to 0.64" in html and "<h3" not in html
