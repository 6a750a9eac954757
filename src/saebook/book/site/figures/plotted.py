"""The points of a figure, sorted into panels and series, with means and intervals over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from saebook.book.site.figures import quantities, svg
from saebook.book.site.figures.axes import Axis, around
from saebook.book.site.figures.declared import Drawn
from saebook.book.site.figures.quantities import QUANTITIES
from saebook.evaluation.intervals import Interval, t_interval
from saebook.plotting import style
from saebook.plotting.style import Look


@dataclass(frozen=True)
class Series:
    """The runs of one method, or of one `part` of it, which is drawn open and dashed unless it is the first."""

    method: str
    look: Look
    part: str
    first: bool
    runs: pd.DataFrame

    @property
    def label(self) -> str:
        return f"{self.look.label}, {self.part}" if self.part else self.look.label

    @cached_property
    def strength(self) -> str:
        return quantities.strength(self.runs)

    def means(self, across: str, up: str) -> list[tuple[Interval, Interval]]:
        """Intervals of both columns over the seeds of each strength, from left to right."""
        along = self.runs["along"] if "along" in self.runs else self.runs["sparsity"]
        groups = [group for _, group in self.runs.groupby(along, dropna=False)]  # of another's SAE it may be unsaid
        means = [(t_interval(group[across].to_list()), t_interval(group[up].to_list())) for group in groups]
        return sorted(means, key=lambda pair: pair[0].mean)


@dataclass(frozen=True)
class Panel:
    """Series over two axes. `facet` holds the values of the columns that the panel is for."""

    across: str
    up: str
    facet: dict[str, Any]
    series: tuple[Series, ...]
    x: Axis
    y: Axis

    @property
    def title(self) -> str:
        """What the panel is about; nothing where its axes say it."""
        return ", ".join(quantities.facet(column, value) for column, value in self.facet.items())


def panels(figure: Drawn, points: pd.DataFrame) -> list[Panel]:
    """The panels of a figure. Panels of one quantity have one range across, and up to four of them also one range up."""
    table = figure.prepared(points) if figure.prepared else points
    looks = distinct({method: style.look(method) for method in style.methods(table)})
    parts = [(f, _series(part, figure, looks)) for f, part in _split(table, figure.facets)]
    made = []
    for across, up in figure.panels:
        usable = table[table[across].notna() & table[up].notna()]
        x, y = (around(usable[column], QUANTITIES[column].log) for column in (across, up))
        for facet, series in parts:
            own = y
            if len(parts) > 4:
                own = around(pd.concat([one.runs[up] for one in series]), QUANTITIES[up].log)
            made.append(Panel(across, up, facet, tuple(series), x, own))
    return made


def distinct(looks: Mapping[str, Look]) -> dict[str, Look]:
    """The looks with another marker for a method whose own is taken: marks tell methods apart where colours do not."""
    made: dict[str, Look] = {}
    for method, look in looks.items():
        taken = {one.marker for one in made.values()}
        free = [look.marker, *(marker for marker in svg.MARKS if marker not in {one.marker for one in looks.values()})]
        marker = next((marker for marker in free if marker not in taken), look.marker)
        made[method] = replace(look, marker=marker)
    return made


def legend(shown: Sequence[Panel]) -> list[Series]:
    """One series of each method and part in the panels, in the order of the book."""
    order = {(one.method, one.part): one for panel in shown for one in panel.series}
    known = style.methods(pd.DataFrame({"method": [method for method, _ in order]}))
    return sorted(order.values(), key=lambda one: (known.index(one.method), not one.first, one.part))


def _split(table: pd.DataFrame, facets: tuple[str, ...]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """A part of the table for each combination of values; sites in the order of the table, numbers by size."""
    if not facets:
        return [({}, table)]
    if any(table[column].dtype.kind in "if" for column in facets):
        table = table.sort_values([c for c in facets if table[c].dtype.kind in "if"], kind="stable")
    combined = table.groupby(list(facets), sort=False)
    order = {column: list(table[column].unique()) for column in facets}
    rows = [(dict(zip(facets, values, strict=True)), part) for values, part in combined]
    return sorted(rows, key=lambda row: [order[column].index(value) for column, value in row[0].items()])


def _series(table: pd.DataFrame, figure: Drawn, looks: Mapping[str, Look]) -> list[Series]:
    known = list(table[figure.parts].unique()) if figure.parts else [""]
    made = []
    for method in style.methods(table):
        mine = table[table.method == method]
        for part in known:
            runs = mine[mine[figure.parts] == part] if figure.parts else mine
            if len(runs):
                made.append(
                    Series(method, looks[method], part, part == known[0], runs.sort_values(["sparsity", "seed"]))
                )
    return made
