"""A chapter's figure on its page: drawn from the result that the page shows, with downloads below it.

The notebook's own picture stays on the page, folded where the drawn figure shows all of it. Where none is drawn, and the
result is not this copy's own, the picture is the recorded one.
"""

import base64
import re
import shutil
from html import unescape
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from saebook.book.site.figures import composed
from saebook.book.site.figures.chosen import OFFERED, Chosen, chosen
from saebook.book.site.result_box import without_blank_lines
from saebook.common import sidecar

_CLOSED = re.compile(r"page\.close\(.*?,\s*(\w+)\s*\)\s*$", re.M | re.S)
_TITLE = re.compile(r"^\*\*(.+?)\*\*", re.S)
_LABELS = {"svg": "SVG", "png": "PNG", "csv": "data as CSV", "json": "JSON"}


def place(book: NotebookNode, name: str, tier: str) -> None:
    """Put the figure of chapter `name` on its page, in a book built at `tier`; nothing where no result is kept."""
    shown, cell = chosen(name, tier), figure_cell(book)
    if shown is None or cell is None:
        return
    figure = composed.figure(shown, caption(cell, name))
    if shown.where == "recorded" and shown.file("png").is_file():
        _show(cell, shown.file("png"))
    row = nbformat.v4.new_markdown_cell(downloads(shown, figure is not None))
    at = book.cells.index(cell)
    if figure is None:
        book.cells.insert(at + 1, row)
        return
    if not figure.more:
        _fold(cell)
    book.cells[at:at] = [nbformat.v4.new_markdown_cell(without_blank_lines(figure.html)), row]


def figure_cell(book: NotebookNode) -> NotebookNode | None:
    """The cell that shows the figure which the chapter's result keeps, else the first with a figure; None without any."""
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    having = [cell for cell in code if cell.metadata.get("mystnb", {}).get("figure")]
    kept = next((closed[1] for cell in code if (closed := _CLOSED.search(cell.source))), None)
    return next((cell for cell in having if cell.source.rstrip().endswith(f"\n{kept}")), having[0] if having else None)


def caption(cell: NotebookNode, name: str) -> str:
    """The title of a figure in plain text, with the number that it has in the paper."""
    written = _TITLE.match(cell.metadata["mystnb"]["figure"].get("caption", ""))
    title = re.sub(r"\{\w+\}`([^`<]*?)(?: <[^`]*>)?`|[`$\\]", r"\1", written[1] if written else "")
    number = sidecar.load(name).figure
    if not title:
        return f"{number} of the paper, replicated." if number else sidecar.load(name).title
    return unescape(title if not number or number in title else f"{number} of the paper, replicated. {title}")


def downloads(shown: Chosen, drawn: bool) -> str:
    """The row of downloads as Markdown: what the result holds, and the SVG of a figure that was drawn."""
    kinds = [kind for kind in OFFERED if (drawn if kind == "svg" else shown.file(kind).is_file())]
    links = [f"{{download}}`{_LABELS[kind]} <../../results/{shown.offered(kind)}>`" for kind in kinds]
    return f":::{{container}} figure-files\nDownload: {', '.join(links)} ({shown.words()})\n:::"


def write(names: list[str], tier: str, target: Path) -> None:
    """Write what the pages' downloads lead to, and is not data, into the folder of results `target`: PNG and SVG."""
    for name in names:
        shown = chosen(name, tier)
        if shown is None:
            continue
        offered = {kind: target / shown.offered(kind) for kind in ("svg", "png")}
        offered["png"].parent.mkdir(parents=True, exist_ok=True)
        if shown.file("png").is_file():
            shutil.copy(shown.file("png"), offered["png"])
        alone = composed.alone(shown, title(name))
        if alone:
            offered["svg"].write_text(alone, "utf-8")


def title(name: str) -> str:
    """The title of a figure that stands alone."""
    card = sidecar.load(name)
    return f"{card.title} ({card.figure} of the paper, replicated)" if card.figure else card.title


def _show(cell: NotebookNode, picture: Path) -> None:
    """Show `picture` as the output of the cell, in the place of its own."""
    data = {"image/png": base64.b64encode(picture.read_bytes()).decode()}
    others = [output for output in cell.outputs if "image/png" not in output.get("data", {})]
    cell.outputs = [*others, nbformat.v4.new_output("display_data", data=data, metadata={})]


def _fold(cell: NotebookNode) -> None:
    """Fold the picture and its code under a line that says what is there."""
    tags = [tag for tag in cell.metadata.get("tags", []) if tag != "hide-input"]
    cell.metadata["tags"] = [*tags, "hide-cell"]
    words = "The picture as the notebook draws it, and its code"
    cell.metadata["mystnb"] |= {"code_prompt_show": f"{words}: show", "code_prompt_hide": f"{words}: hide"}
