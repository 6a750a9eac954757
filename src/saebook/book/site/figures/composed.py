"""The figure of a chapter as a whole: HTML for its page, and one SVG file for downloads."""

import json
import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from saebook.book.site.figures import declared, drawing, equal_loss, heat_map, plotted, quantities, svg
from saebook.book.site.figures.chosen import Chosen
from saebook.book.site.figures.declared import Drawn
from saebook.book.site.figures.equal_loss import Comparison, Level
from saebook.book.site.figures.plotted import Panel
from saebook.book.site.figures.quantities import QUANTITIES
from saebook.claims import wording
from saebook.common.templates import render
from saebook.evaluation.intervals import Interval
from saebook.plotting import widgets

_SIDE_BY_SIDE = 4  # more panels than these are folded, and opened by the map's cells


@dataclass(frozen=True)
class Figure:
    """A figure as HTML. `more` says that the notebook's picture shows something else too."""

    html: str
    more: bool


def alone(chosen: Chosen, title: str) -> str | None:
    """The figure of a result as one SVG file; None where none is drawn."""
    points, asked = _asked(chosen)
    if points is None or asked is None:
        return None
    panels = plotted.panels(asked, points)
    return drawing.alone(panels, plotted.legend(panels), title, 4 if len(panels) > _SIDE_BY_SIDE else 3)


def figure(chosen: Chosen, caption: str) -> Figure | None:
    """The figure of a result under a `caption` (plain text); None where its points are not such that one is drawn."""
    points, asked = _asked(chosen)
    if points is None or asked is None:
        return None
    panels = plotted.panels(asked, points)
    compared = {i: one for i, panel in enumerate(panels) if (one := equal_loss.comparison(panel))}
    name = chosen.name.replace("/", "-").replace("_", "-")
    ids = [f"panel-{name}-{i}" for i in range(len(panels))]
    legend = plotted.legend(panels)
    html = render(
        "saebook.book.site", "figure.html", id=f"drawn-{name}", caption=caption, source=chosen.words(),
        legend=[{"mark": svg.key(one.look.marker, not one.first), "colour": drawing.colour(one), "label": one.label} for one in legend],
        panels=[_panel(panel, ids[i], compared.get(i)) for i, panel in enumerate(panels)],
        folded=len(panels) > _SIDE_BY_SIDE, map=heat_map.heat_map(panels, compared, ids), height=drawing.HEIGHT, axis=drawing.AXIS,
        count=len(points), table=_table(points, name),
    )  # fmt: skip
    return Figure(html, asked.more)


def _asked(chosen: Chosen) -> tuple[pd.DataFrame | None, Drawn | None]:
    """The points of a result, and what is to be drawn of them."""
    points = chosen.points()
    return points, declared.drawn(chosen.name, points) if points is not None and len(points) else None


def _panel(panel: Panel, name: str, compared: Comparison | None) -> dict[str, Any]:
    up, across = QUANTITIES[panel.up], QUANTITIES[panel.across]
    better = {"more": "higher is better", "less": "lower is better"}.get(up.better, "")
    return {
        "id": name, "title": panel.title, "up": up.label, "better": better, "plot": drawing.plot(panel), "labels": drawing.labels_up(panel),
        "spoken": f"{up.label} against {across.label}{', ' + panel.title if panel.title else ''}: {', '.join(one.label for one in panel.series)}",
        "slider": _slider(panel, compared) if compared else None,
    }  # fmt: skip


def _slider(panel: Panel, compared: Comparison) -> dict[str, Any]:
    """What the slider of a panel moves through, and a row of ratios for each method but the baseline."""
    levels = [
        {
            "loss": quantities.shown(level.loss),
            "y": drawing.place_up(panel, level.loss),
            "x": [None if math.isnan(l0) else drawing.place_across(panel, l0) for l0 in level.l0],
            "ratios": [ratio_words(ratio) for ratio in level.ratios],
        }
        for level in compared.levels
    ]
    over_all = zip(compared.others, compared.over_all, strict=True)
    return {
        "up": QUANTITIES[panel.up].name,
        "base": panel.series[compared.baseline].label,
        "last": len(levels) - 1,
        "start": _start(compared.levels),
        "data": json.dumps(levels, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c"),
        "rows": [(panel.series[place].label, ratio_words(ratio)) for place, ratio in over_all],
    }


def _start(levels: tuple[Level, ...]) -> int:
    """The level in the middle of those that all series reach, or of all."""
    common = [i for i, level in enumerate(levels) if not any(map(math.isnan, level.l0))]
    return (common or list(range(len(levels))))[len(common or levels) // 2]


def ratio_words(ratio: Interval) -> str:
    """A ratio with its interval, as a cell shows it."""
    return "none in common" if math.isnan(ratio.mean) else wording.interval(ratio)


def _table(points: pd.DataFrame, name: str) -> str:
    """All runs as a table that can be sorted, under human names."""
    said = quantities.named(points)
    return widgets.sortable(said, f"runs-{name}", f"All {len(said)} runs of the figure.", digits=3).html
