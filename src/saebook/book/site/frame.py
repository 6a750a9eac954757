"""A chapter as the book shows it: the notebook of this copy, with what the build adds to it.

After the title comes the result box, and a notice where the notebook has failed, is stale or was never run. The figure is
drawn anew where its points allow it, captions name the paper's figure, tables have names for readers, the parameters are
folded, and at the end stand the recorded result, the commands and the cost.
"""

from collections.abc import Sequence
from typing import Any

import nbformat
from nbformat import NotebookNode

from saebook.book import status
from saebook.book.site import closing, result_box
from saebook.book.site.figures import placing, relabelled
from saebook.book.status import State
from saebook.claims.standings import Staleness, Standing
from saebook.common import paths, sidecar
from saebook.common.errors import UserError
from saebook.common.templates import render


def page(state: State, tier: str, rows: Sequence[Standing], stale: Staleness) -> NotebookNode:
    """The page of a notebook in the given `state`. A notebook that cannot be read becomes a page that says so."""
    file = state.file or sidecar.folder() / f"{state.name}.ipynb"
    try:
        book = read(file)
    except UserError as error:
        return _unreadable(state.name, str(error).replace(f"{paths.root()}/", ""))
    name_figures(book, state.name)
    placing.place(book, state.name, tier)
    relabelled.relabel(book)
    if not state.page or state.word == status.FAILED:
        without_empty_figures(book)
    fold_parameters(book)
    added = [result_box.box(state.name, rows, tier), notice(state)]
    open_with(book, [text for text in added if text])
    book.cells.append(nbformat.v4.new_markdown_cell(closing.sections(state.name, tier, stale)))
    return book


def read(file: Any) -> NotebookNode:
    """A notebook. Raises `UserError` in one line when the file is missing, truncated or not a notebook."""
    try:
        book = nbformat.read(file, 4)
        nbformat.validate(book)
    except Exception as error:  # nbformat raises whatever its parsers do
        why = type(error).__name__
        raise UserError(f"{file} is not a readable notebook ({why}): restore it from git, or run it again") from None
    return book


def _unreadable(name: str, why: str) -> NotebookNode:
    """A page in place of a notebook that cannot be read; links to it still work."""
    text = render(
        "saebook.book.site", "unreadable.md", label=name.replace("/", "-").replace("_", "-"), title=sidecar.load(name).title,
        why=in_code(why),
    )  # fmt: skip
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])


def open_with(book: NotebookNode, texts: Sequence[str]) -> None:
    """Put Markdown `texts` right below the title, each in a cell of its own; prose of the title's cell comes after them."""
    first = next((cell for cell in book.cells if cell.cell_type == "markdown"), None)
    if first is None:
        return
    lines = first.source.splitlines()
    title = next((number for number, line in enumerate(lines) if line.startswith("# ")), len(lines) - 1)
    rest = "\n".join(lines[title + 1 :]).strip()
    first.source = "\n".join(lines[: title + 1])
    added = [nbformat.v4.new_markdown_cell(text) for text in [*texts, rest] if text]
    place = book.cells.index(first) + 1
    book.cells[place:place] = added


def notice(state: State) -> str:
    """A notice that the page failed, is stale, or was never run; empty for a finished page."""
    kept = state.record
    if state.word == status.FAILED:
        return _failure(state)
    if not state.page:
        why = f" ({in_text(state.why)})" if state.why else ""
        return _admonition(
            "warning",
            f"This notebook has not been run at the {state.tier} tier in this copy{why}. The page below is its source.",
        )
    if state.word == status.STALE and kept:
        words = f"This page is stale ({in_text(state.why)}). `saebook book {state.name} --tier {state.tier}` makes it again."
        return _admonition("warning", words)
    return ""


def _failure(state: State) -> str:
    kept = state.record
    if kept is None:
        return _admonition("error", f"This notebook cannot be run: `{in_code(state.why)}`.")
    words = f"(`{in_code(kept.status)}`: `{in_code(str(kept.error))}`)"
    if state.earlier:
        return _admonition(
            "error", f"The last run of this notebook did not finish {words}. This page shows the run before it."
        )
    return _admonition("error", f"This notebook did not finish {words}. {kept.unran} cells were not reached.")


def _admonition(name: str, text: str) -> str:
    return f":::{{{name}}}\n{text}\n:::"


def in_code(text: str) -> str:
    """Text made harmless inside backticks: one line without backticks."""
    return " ".join(str(text).split()).replace("`", "'")


def in_text(text: str) -> str:
    """Text of a model, a record or an error made harmless inside a page: one line, no markup."""
    line = " ".join(str(text).split())
    return "".join("\\" + c if c in "\\`*_{}[]<>#|$&" else c for c in line)


def without_empty_figures(book: NotebookNode) -> None:
    """Take figure labels off cells that show no figure, so that a failed or unrun notebook renders without warnings."""
    for cell in book.cells:
        if cell.cell_type == "code" and not any("image/png" in o.get("data", {}) for o in cell.outputs):
            cell.metadata.pop("mystnb", None)


def name_figures(book: NotebookNode, name: str) -> None:
    """Begin the caption of the chapter's first figure with the paper's own number, unless the caption names it itself."""
    figure = sidecar.load(name).figure
    for cell in book.cells:
        caption = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption")
        if figure and caption:
            if figure not in caption:
                cell.metadata["mystnb"]["figure"]["caption"] = f"{figure} of the paper, replicated. {caption}"
            return


def fold_parameters(book: NotebookNode) -> None:
    """Fold the parameters and what a run put in their place, under a line that says what is there."""
    for tag, words in (
        ("parameters", "Parameters that can be changed"),
        ("injected-parameters", "Parameters of this run"),
    ):
        for cell in book.cells:
            tags = cell.metadata.get("tags", [])
            if tag in tags:
                cell.metadata["tags"] = list(dict.fromkeys([*tags, "hide-input"]))
                shown = cell.metadata.setdefault("mystnb", {})
                shown["code_prompt_show"], shown["code_prompt_hide"] = f"{words}: show", f"{words}: hide"
