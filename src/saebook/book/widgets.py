"""Pieces of a page that a reader can use: sortable tables, downloads. They work in a saved page, without a network.

Everything is plain HTML that reads well without a script; the scripts are small, inline and load nothing.
"""

import base64
from dataclasses import dataclass, field
from html import escape

import pandas as pd


@dataclass(frozen=True)
class Markup:
    """HTML that a notebook shows as it is. Whoever makes one has escaped what comes from data."""

    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def download(name: str, content: str, words: str, kind: str = "text/csv") -> str:
    """A link that saves `content` as file `name`, the content inside the link."""
    data = base64.b64encode(content.encode()).decode()
    return f'<a download="{escape(name)}" href="data:{kind};charset=utf-8;base64,{data}">{escape(words)}</a>'


def sortable(table: pd.DataFrame, name: str, caption: str, italic: pd.Series | None = None, digits: int = 5) -> Markup:
    """`table` as HTML: a click on a column's head sorts by it, a second one the other way; rows where `italic` are italic.

    `name` is the file of the download below it and must be the only one of that name on a page. Numbers are shown with
    `digits` significant digits, sorted and saved with all they have.
    """
    heads = "".join(
        f'<th scope="col"><button type="button">{escape(str(column))}</button></th>' for column in table.columns
    )
    slanted = [False] * len(table) if italic is None else list(italic)
    body = "".join(
        ('<tr class="optimal">' if slant else "<tr>") + "".join(_cell(value, digits) for value in row) + "</tr>"
        for row, slant in zip(table.itertuples(index=False), slanted, strict=True)
    )
    saved = table if italic is None else table.assign(pareto_optimal=[int(slant) for slant in slanted])
    link = download(f"{name}.csv", saved.to_csv(index=False), f"Download these {len(table)} rows as CSV")
    return Markup(
        f'{_STYLE}<div class="sortable" id="{escape(name)}"><div class="scrolls" tabindex="0"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div><p>{link}</p></div>\n"
        + _SORT.replace("NAME", escape(name))
    )


def _cell(value, digits: int) -> str:
    if isinstance(value, float):
        shown = "" if value != value else f"{value:.{digits}g}"
        return f'<td data-value="{float(value)!r}">{shown}</td>'
    return f"<td>{escape(str(value))}</td>"


_STYLE = """<style>
.sortable .scrolls { overflow: auto; max-height: 32rem; border: 1px solid var(--pst-color-border, #ccc); }
.sortable table { display: table; border-collapse: collapse; font-size: 0.82em; margin: 0; }
.sortable caption { caption-side: top; text-align: left; padding: 0.3em 0.5em; color: inherit; }
.sortable :is(td, th) { padding: 0.15em 0.5em; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.sortable thead th { position: sticky; top: 0; background: var(--pst-color-surface, #f4f4f4); }
.sortable th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
.sortable th[aria-sort=ascending] button::after { content: " \\25b2"; }
.sortable th[aria-sort=descending] button::after { content: " \\25bc"; }
.sortable tr.optimal td { font-style: italic; }
</style>"""

_SORT = """<script>
(() => {
  const table = document.getElementById("NAME").querySelector("table"), body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, i) => row.cells[i].dataset.value ?? row.cells[i].textContent;
  const compare = (a, b) => a === b ? 0 : !isNaN(a) && !isNaN(b) ? a - b : isNaN(a) !== isNaN(b) ? (isNaN(a) ? 1 : -1) : a < b ? -1 : 1;
  heads.forEach((head, i) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * compare(value(a, i), value(b, i))));
  }));
})();
</script>
"""
