"""A map of sites and layers: a number a cell, its colour by size, and a link to the curves that it comes from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saebook.book.site.figures import quantities
from saebook.book.site.figures.equal_loss import Comparison
from saebook.book.site.figures.plotted import Panel
from saebook.book.site.figures.quantities import QUANTITIES
from saebook.claims import wording
from saebook.evaluation.intervals import t_interval

# Below one, or small: blue; above one, or large: orange. The share of colour is low enough for text to be read on it.
_LESS, _MORE, _MOST = "0, 114, 178", "213, 94, 0", 0.5


@dataclass(frozen=True)
class _Value:
    """What a cell shows: its row, the layer, the number that decides its colour, and the words."""

    row: str
    layer: int
    size: float
    words: str
    long: str
    panel: int


def heat_map(panels: Sequence[Panel], compared: Mapping[int, Comparison], ids: Sequence[str]) -> dict[str, Any] | None:
    """The map of a figure with a panel for each site and layer, for its template; None for any other figure.

    With a baseline a cell is the ratio of L0 at equal loss (`compared`, by the panel's number), else the mean of each strength.
    """
    if not panels or any(set(panel.facet) != {"site", "layer"} for panel in panels):
        return None
    ratios = bool(compared)
    named = {
        "site": len({panel.facet["site"] for panel in panels}) > 1,
        "method": any(len(one.others) > 1 for one in compared.values()),
    }
    values = [
        value
        for i, panel in enumerate(panels)
        for value in (_ratios(i, panel, compared.get(i), named) if ratios else _means(i, panel, named))
    ]
    layers = sorted({int(panel.facet["layer"]) for panel in panels})
    sizes = [value.size for value in values if math.isfinite(value.size)]
    rows = [
        {"name": name, "cells": [_cell(value, ratios, sizes, ids) for layer in layers for value in [_at(values, name, layer)]]}
        for name in dict.fromkeys(value.row for value in values)
    ]  # fmt: skip
    up = QUANTITIES[panels[0].up].name
    first = next(iter(compared.values()), None)
    base = panels[0].series[first.baseline].label if first else ""
    caption = f"L0 at equal {up}, relative to {base}" if ratios else f"{up[:1].upper()}{up[1:]}, mean over seeds"
    return {"caption": caption, "layers": layers, "rows": rows}


def _ratios(i: int, panel: Panel, compared: Comparison | None, named: Mapping[str, bool]) -> list[_Value]:
    """The ratio of each method but the baseline. A row says of site and method what differs, and at least the site."""
    if compared is None:
        return []
    made = []
    for place, ratio in zip(compared.others, compared.over_all, strict=True):
        method = [panel.series[place].label] if named["method"] else []
        site = [_site(panel)] if named["site"] or not method else []
        words = "none" if math.isnan(ratio.mean) else f"{ratio.mean:.2f}"
        size = math.log(ratio.mean) if ratio.mean > 0 else math.nan
        made.append(
            _Value(", ".join(site + method), int(panel.facet["layer"]), size, words, wording.interval(ratio), i)
        )
    return made


def _site(panel: Panel) -> str:
    return quantities.facet("site", panel.facet["site"])


def _means(i: int, panel: Panel, named: Mapping[str, bool]) -> list[_Value]:
    """The mean of each strength of each method. A row says what differs."""
    made = []
    for one in panel.series:
        for strength, runs in one.runs.groupby("sparsity"):
            mean = t_interval(runs[panel.up].to_list())
            site = [_site(panel)] if named["site"] else []
            method = [one.label] if len(panel.series) > 1 else []
            row = ", ".join([*site, *method, f"{one.strength} {strength:g}"])
            size = math.log(mean.mean) if QUANTITIES[panel.up].log else mean.mean
            made.append(
                _Value(row, int(panel.facet["layer"]), size, quantities.shown(mean.mean), wording.interval(mean), i)
            )
    return made


def _at(values: Sequence[_Value], row: str, layer: int) -> _Value | None:
    return next((value for value in values if value.row == row and value.layer == layer), None)


def _cell(value: _Value | None, ratios: bool, sizes: Sequence[float], ids: Sequence[str]) -> dict[str, str] | None:
    """Words, colour and link of a cell; None where nothing was measured."""
    if value is None:
        return None
    return {
        "words": value.words,
        "long": value.long,
        "colour": _colour(value.size, ratios, sizes),
        "panel": ids[value.panel],
    }


def _colour(size: float, ratios: bool, sizes: Sequence[float]) -> str:
    """A ground that gets stronger with the distance from one (ratios), or from the smallest of all."""
    if not math.isfinite(size):
        return "transparent"
    zero = 0.0 if ratios else min(sizes)
    most = max(abs(one - zero) for one in sizes) or 1.0
    share = _MOST * abs(size - zero) / most
    return f"rgba({_LESS if size < zero else _MORE}, {share:.3f})"
