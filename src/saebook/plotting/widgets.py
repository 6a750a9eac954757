"""Parts of a page that a reader can use: sortable tables and downloads. They work in a saved page, without a network.

Everything is plain HTML that reads well without a script; styles and scripts are small, inline, and load nothing.
"""

import base64
from dataclasses import dataclass, field
from html import escape
from typing import Any

import pandas as pd

from saebook.common.templates import render


@dataclass(frozen=True)
class Markup:
    """HTML that a notebook shows as it is. Whoever makes one has escaped what comes from data."""

    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def download(name: str, content: str, words: str, media_type: str = "text/csv") -> str:
    """A link labelled `words` that saves `content`, which it carries, as the file `name`."""
    data = base64.b64encode(content.encode()).decode()
    return f'<a download="{escape(name)}" href="data:{media_type};charset=utf-8;base64,{data}">{escape(words)}</a>'


def sortable(table: pd.DataFrame, name: str, caption: str, italic: pd.Series | None = None, digits: int = 5) -> Markup:
    """`table` as HTML, sorted by a click on a column's head (a second click reverses it); rows where `italic` are italic.

    `name` names the file of the download below the table and must be unique on the page. Numbers are shown with
    `digits` significant digits, but sorted and saved in full.
    """
    slanted = [False] * len(table) if italic is None else [bool(slant) for slant in italic]
    saved = table if italic is None else table.assign(pareto_optimal=[int(slant) for slant in slanted])
    rows = [
        {"slanted": slant, "cells": [_cell(value, digits) for value in row]}
        for row, slant in zip(table.itertuples(index=False), slanted, strict=True)
    ]
    link = download(f"{name}.csv", saved.to_csv(index=False), f"Download these {len(table)} rows as CSV")
    return Markup(
        render(
            "saebook.plotting", "sortable.html", name=name, caption=caption, rows=rows, link=link,
            columns=[str(column) for column in table.columns],
        )
    )  # fmt: skip


def _cell(value: Any, digits: int) -> dict[str, str | None]:
    """The text of a cell, and the number that it is sorted by."""
    if not isinstance(value, float):
        return {"shown": str(value), "number": None}
    return {"shown": "" if value != value else f"{value:.{digits}g}", "number": repr(float(value))}
