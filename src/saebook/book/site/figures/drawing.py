"""A panel as inline SVG: runs, means over seeds with intervals, axes, and what the slider moves.

Colours are written for a light page, where a picture stands alone; on a page of the book its style sheet puts them right.
"""

import itertools
from collections.abc import Sequence
from html import escape

from saebook.book.site.figures import colours, quantities, svg
from saebook.book.site.figures.axes import tick_words
from saebook.book.site.figures.plotted import Panel, Series
from saebook.book.site.figures.quantities import QUANTITIES

HEIGHT, BOTTOM, AXIS = 286, 242, 46  # pixels: the picture, where its plot ends, the labels to the left of it
_TOP = 6


def plot(panel: Panel) -> str:
    """The plot of a panel: grid, series, and labels across. Every run has its details as its title."""
    across = QUANTITIES[panel.across]
    parts = [
        svg.line("grid", (at, at), (_TOP, BOTTOM)) for tick in panel.x.ticks() for at in [place_across(panel, tick)]
    ]
    parts += [svg.line("grid", ("0%", "100%"), (at, at)) for tick in panel.y.ticks() for at in [place_up(panel, tick)]]
    parts += [svg.line("frame", ("0%", "100%"), (BOTTOM, BOTTOM)), svg.line("level", ("0%", "100%"), (0, 0))]
    parts += [svg.text(place_across(panel, tick), BOTTOM + 16, tick_words(tick)) for tick in panel.x.ticks()]
    parts.append(svg.text("50%", BOTTOM + 36, across.label))
    # Means lie above all runs: what is read first is not covered.
    parts += [_group("runs", one, _runs(panel, one)) for one in panel.series]
    parts += [_group("means", one, _means(panel, one)) for one in panel.series]
    return "".join(parts)


def labels_up(panel: Panel) -> str:
    """The labels of the axis up, to be put to the left of the plot."""
    return "".join(
        svg.text(str(AXIS - 6), place_up(panel, tick) + 4, tick_words(tick), "end") for tick in panel.y.ticks()
    )


def place_up(panel: Panel, value: float) -> float:
    """Pixels from the top at which a value of the axis up lies."""
    return round(BOTTOM - panel.y.share(value) * (BOTTOM - _TOP), 1)


def place_across(panel: Panel, value: float) -> str:
    """The place of a value of the axis across."""
    return svg.percent(panel.x.share(value))


def colour(one: Series) -> str:
    """Attributes that give a series its colour, on a light and on a dark page."""
    light, dark = (colours.readable(one.look.colour, ground) for ground in (colours.LIGHT, colours.DARK))
    return f'color="{light}" style="--on-light:{light};--on-dark:{dark}"'


def alone(panels: Sequence[Panel], legend: Sequence[Series], title: str, columns: int) -> str:
    """All panels in one SVG file, `columns` beside each other, with titles and a legend: for downloads."""
    width, gap, head = 400, 18, 44
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    tall = head + HEIGHT + gap
    parts = []
    for i, panel in enumerate(panels):
        x, y = (i % columns) * width, 30 + (i // columns) * tall
        parts.append(
            f'<svg x="{x}" y="{y}" width="{width}" height="{tall}" overflow="visible">'
            + svg.text(str(AXIS), 14, panel.title, "start") + svg.text(str(AXIS), 34, QUANTITIES[panel.up].label, "start")
            + f'<svg y="{head}" width="{AXIS}" height="{HEIGHT}" overflow="visible">{labels_up(panel)}</svg>'
            + f'<svg x="{AXIS}" y="{head}" width="{width - AXIS - gap}" height="{HEIGHT}" overflow="visible">{plot(panel)}</svg></svg>'
        )  # fmt: skip
    per_row = max(1, columns * width // 230)
    for i, one in enumerate(legend):
        x, y = AXIS + 230 * (i % per_row), 40 + rows * tall + 22 * (i // per_row)
        parts.append(
            f'<g class="series" {colour(one)} fill="currentColor" stroke="currentColor">{svg.placed(str(x), y - 4, _mark(one))}</g>'
        )
        parts.append(svg.text(str(x + 12), y, one.label, "start"))
    high = 50 + rows * tall + 22 * -(-len(legend) // per_row)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * width}" height="{high}" font-family="sans-serif" font-size="12">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f'<rect width="100%" height="100%" fill="#fff"/>{svg.text(str(AXIS), 18, title, "start")}{"".join(parts)}</svg>\n'
    )


_STYLE = (
    ".grid{stroke:#ddd}.frame{stroke:#666}.level,.drop,.ring{display:none}.bar{stroke-width:1.2}.curve{stroke-width:1.8}"
    ".runs{opacity:.5}.dashed .curve{stroke-dasharray:5 4}.open>*{fill:#fff;stroke-width:1.6}text{fill:#222;stroke:none}"
)


def _group(kind: str, one: Series, inside: str) -> str:
    more = "" if one.first else " dashed"
    return f'<g class="series {kind}{more}" {colour(one)} fill="currentColor" stroke="currentColor">{inside}</g>'


def _runs(panel: Panel, one: Series) -> str:
    """A small mark for each run, which the keyboard reaches and whose title says which run it is."""
    parts = []
    shape = (
        f'<g class="{"small" if one.first else "small open"}" transform="scale(.7)">{svg.MARKS[one.look.marker]}</g>'
    )
    for run in one.runs.itertuples(index=False):
        x, y = getattr(run, panel.across), getattr(run, panel.up)
        if x != x or y != y:
            continue
        words = f"{one.label}: {quantities.run_words(run, (panel.across, panel.up), one.strength)}"
        parts.append(
            f'<svg class="run" role="img" x="{place_across(panel, x)}" y="{place_up(panel, y):g}" overflow="visible">'
            f'<title>{escape(words)}</title><circle class="ring" r="9"/>{shape}</svg>'
        )
    return "".join(parts)


def _means(panel: Panel, one: Series) -> str:
    """A line through the means over seeds, with the intervals of both columns, cut where the plot ends."""
    means = [pair for pair in one.means(panel.across, panel.up) if all(each.mean == each.mean for each in pair)]
    places = [(place_across(panel, across.mean), place_up(panel, up.mean)) for across, up in means]
    parts = []
    for (x0, y0), (x1, y1) in itertools.pairwise(places):
        parts.append(svg.line("curve", (x0, x1), (y0, y1)))
    for (across, up), (x, y) in zip(means, places, strict=True):
        if up.n > 1:
            parts.append(svg.line("bar", (x, x), (place_up(panel, up.low), place_up(panel, up.high))))
            parts.append(svg.line("bar", (place_across(panel, across.low), place_across(panel, across.high)), (y, y)))
        parts.append(svg.placed(x, y, _mark(one)))
    parts.append(svg.line("drop", ("0%", "0%"), (0, BOTTOM)))
    return "".join(parts)


def _mark(one: Series) -> str:
    return svg.MARKS[one.look.marker] if one.first else f'<g class="open">{svg.MARKS[one.look.marker]}</g>'
