"""Extend Sphinx for the book: links to the glossary, and no scripts for live code (Thebe).

Thebe runs cells on a server of somebody else; the book needs none. Its script is loaded twice by Jupyter Book 1, which is
an error in every page's console.
"""

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

from saebook.book.site import glossary

_WITHOUT_LINKS = {glossary.PAGE, "book/bibliography", "book/api", "book/index"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension; called by Sphinx."""
    app.connect("config-inited", _without_thebe, priority=900)
    app.connect("doctree-read", _link)
    app.connect("doctree-resolved", _title)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _without_thebe(app: Sphinx, config: Config) -> None:
    for listeners in app.events.listeners.values():
        for listener in list(listeners):
            if listener.handler.__module__ == "sphinx_thebe":
                listeners.remove(listener)
    app.registry.css_files[:] = [file for file in app.registry.css_files if "thebe" not in str(file[0])]


def _terms(app: Sphinx) -> dict[str, str]:
    return glossary.load(Path(app.srcdir) / f"{glossary.PAGE}.md")


def _link(app: Sphinx, document: nodes.document) -> None:
    if app.env.docname not in _WITHOUT_LINKS:
        glossary.link_first_uses(document, _terms(app), app.env.docname)


def _title(app: Sphinx, document: nodes.document, name: str) -> None:
    glossary.title_references(document, _terms(app))
