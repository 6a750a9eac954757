"""Begin a chapter: its notebook and its sidecar, both of which run as they are."""

import re
from pathlib import Path

import nbformat
from jinja2 import Environment, PackageLoader, StrictUndefined

from saebook.book import budgets
from saebook.common import files, paths, sidecar
from saebook.common.errors import UserError
from saebook.common.names import PAPERS

_FIGURE = {"fig": "Figure", "tab": "Table", "sec": "Section", "app": "Appendix"}


def new(name: str, like: str | None = None) -> list[Path]:
    """Write the notebook and the sidecar of chapter `name` (`paper/name`), and return both files.

    The chapter begins with the plan and the budgets of the one that it is `like` (default: the paper's first sweep). Raises
    `UserError` for a name that is malformed or taken.
    """
    match = re.fullmatch(rf"({'|'.join(PAPERS)})/([a-z][a-z0-9_]{{0,60}})", name)
    if not match:
        raise UserError(f"'{name[:80]}' is not a chapter's name: use PAPER/NAME such as gated/fig17_name")
    paper, stem = match.groups()
    notebook = sidecar.folder() / paper / f"{stem}.ipynb"
    written = [notebook, notebook.with_suffix(".yml")]
    for file in written:
        if file.exists():
            raise UserError(f"{file.relative_to(paths.root())} exists: choose another name, or delete it first")
    chosen = sidecar.resolved(like) if like else _first_sweep(paper)
    words = {
        "name": name, "label": name.replace("/", "-").replace("_", "-"), "paper": PAPERS[paper], "figure": _figure(stem),
        "title": stem.partition("_")[2].replace("_", " ").capitalize() or stem, "plan": sidecar.load(chosen).plan,
        "like": chosen, "claim": f"{paper}.{stem.partition('_')[0]}.what_it_says",
    }  # fmt: skip
    templates = Environment(
        loader=PackageLoader("saebook.book"), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    cells = _cells(templates.get_template("chapter.txt.j2").render(words), words["label"], words["figure"])
    about = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    text = nbformat.writes(
        nbformat.v4.new_notebook(cells=cells, metadata=about | {"language_info": {"name": "python"}})
    )
    files.write_text(written[0], text + "\n")
    files.write_text(written[1], templates.get_template("sidecar.yml.j2").render(words))
    return written


def _first_sweep(paper: str) -> str:
    """The paper's first chapter that trains at one site by budgets of its own."""
    for name in sidecar.names():
        own = name.startswith(f"{paper}/") and sidecar.load(name).budgets.like is None
        if own and budgets.plan(name).methods and "site" in budgets.budget_class(name).model_fields:
            return name
    raise UserError(f"{paper} has no sweep to begin from: name a chapter with --like, such as gated/fig05_pareto")


def _figure(stem: str) -> str:
    """The paper's own number, from a name such as fig17_name; else the name in words."""
    match = re.match(r"(fig|tab|sec|app)0*(\w*?)(_|$)", stem)
    return f"{_FIGURE[match[1]]} {match[2]}" if match and match[2] else stem.replace("_", " ")


def _cells(text: str, label: str, figure: str) -> list:
    cells = []
    for number, part in enumerate(text.split("%% ")[1:]):
        first, _, source = part.partition("\n")
        role, *tags = first.split()
        source, about = source.strip("\n"), {"id": f"cell-{number:02d}"}
        if role == "markdown":
            cells.append(nbformat.v4.new_markdown_cell(source, **about))
            continue
        cell = nbformat.v4.new_code_cell(source, **about)
        if tags:
            cell.metadata["tags"] = tags
        if role == "figure":
            caption = f"**{figure}.** Say what is drawn, in words, and which direction is better."
            cell.metadata["mystnb"] = {
                "figure": {"caption": caption, "name": f"fig-{label}"},
                "image": {"alt": "Loss recovered against L0 on a logarithmic axis, one line for each method."},
            }
        cells.append(cell)
    return cells
