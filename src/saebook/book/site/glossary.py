"""The glossary: what its page defines, and links to it from the first use of each term on every other page.

Authors need no markup. The links are set in Sphinx' document tree, where code, maths and headings are told from prose.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx_design.dropdown import dropdown_title

PAGE = "book/glossary"
# The term as written in the glossary, and its plural. In front of a hyphen or behind one it is part of another word.
_WORD = r"(?<![\w\-/.]){}(?:s|es)?(?![\w\-]|\.\w)"
# A link in what one clicks to open a box would be one control inside another.
_NOT_PROSE = (
    nodes.title, nodes.subtitle, nodes.rubric, dropdown_title, nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.reference,
    nodes.raw, nodes.term, nodes.comment, nodes.thead, addnodes.pending_xref, addnodes.download_reference, addnodes.toctree,
)  # fmt: skip


def terms(text: str) -> dict[str, str]:
    """Term -> definition (plain text), from the `{glossary}` directive of a MyST page.

    Terms begin their lines, several in a row share one definition, and a definition is indented.
    """
    block = re.search(r"^(:{3,}|`{3,})\{glossary\}\n(.*?)^\1", text, re.DOTALL | re.MULTILINE)
    defined: dict[str, str] = {}
    open_terms: list[str] = []
    for line in block[2].splitlines() if block else []:
        if line[:1].isspace():
            for term in open_terms:
                defined[term] = f"{defined[term]} {_plain(line)}".strip()
        elif line.strip():
            if not open_terms or defined[open_terms[-1]]:
                open_terms = []
            open_terms.append(line.strip())
            defined[line.strip()] = ""
    return defined


def load(page: Path) -> dict[str, str]:
    """The terms of the glossary's page; empty if the page is missing."""
    return terms(page.read_text("utf-8")) if page.is_file() else {}


def _plain(line: str) -> str:
    """A line of a definition without its markup: roles, emphasis and maths as their text."""
    line = re.sub(r"\{[\w:]+\}`([^`<]*?)\s*(?:<[^>]*>)?`", r"\1", line.strip())
    return re.sub(r"[`*$\\]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line))


def link_first_uses(document: nodes.document, known: dict[str, str], page: str = "") -> None:
    """Turn the first use of each of the `known` terms in a document's prose into a reference to the glossary.

    `page` is the document's name, from which Sphinx computes the address.
    """
    left = {term: re.compile(_WORD.format(_pattern(term))) for term in sorted(known, key=len, reverse=True)}
    for text in list(document.findall(nodes.Text)):
        if left and not _in(text, _NOT_PROSE):
            _link(text, left, page)


def _pattern(term: str) -> str:
    """A term as a regular expression. Its first letter may be a capital, as at the start of a sentence."""
    first = f"[{term[0].upper()}{term[0]}]" if term[0].islower() else re.escape(term[0])
    return first + r"\s".join(re.escape(part) for part in term[1:].split(" "))


def _in(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def _link(text: nodes.Text, left: dict[str, re.Pattern[str]], page: str) -> None:
    """Replace `text` by text and references, and take the terms that it used from those that are `left`."""
    matches: list[tuple[int, int, str]] = []
    for term, pattern in list(left.items()):
        match = pattern.search(text.astext())
        while match and any(start < match.end() and match.start() < end for start, end, _ in matches):
            match = pattern.search(text.astext(), match.end())  # inside a longer term
        if match:
            matches.append((*match.span(), term))
            del left[term]
    if not matches:
        return
    pieces: list[nodes.Node] = []
    whole, position = text.astext(), 0
    for start, end, term in sorted(matches):
        pieces += [nodes.Text(whole[position:start])] if start > position else []
        pieces.append(_reference(whole[start:end], term, page))
        position = end
    pieces += [nodes.Text(whole[position:])] if position < len(whole) else []
    text.parent.replace(text, pieces)


def _reference(words: str, term: str, page: str) -> nodes.Node:
    reference = addnodes.pending_xref(
        "", reftype="term", refdomain="std", reftarget=term, refexplicit=True, refwarn=False, refdoc=page
    )
    reference += nodes.inline("", words, classes=["xref", "std", "std-term"])
    return reference


def title_references(document: nodes.document, known: dict[str, str]) -> None:
    """Give every resolved reference to a term its definition as a title, which a browser shows when the pointer rests."""
    by_anchor = {anchor(term): definition for term, definition in known.items()}
    for reference in document.findall(nodes.reference):
        address = str(reference.get("refuri") or reference.get("refid") or "")
        name = address.rsplit("#", 1)[-1]
        if name in by_anchor and ("glossary" in address or "#" not in address):
            reference["reftitle"] = by_anchor[name]
            reference["classes"] = [*reference.get("classes", []), "glossary-term"]


def anchor(term: str) -> str:
    """The identifier that Sphinx gives a term of the glossary."""
    return "term-" + re.sub(r"[^a-zA-Z0-9]+", "-", term).strip("-")
