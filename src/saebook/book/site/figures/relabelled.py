"""Tables that a notebook shows, under names for readers: columns, methods and sites have their names in code there."""

import re
from html import escape

from nbformat import NotebookNode

from saebook.book.site.figures.quantities import QUANTITIES
from saebook.common.errors import UserError
from saebook.papers.gated.drawing import by_site
from saebook.plotting import style

_CELL = re.compile(r"(<(t[hd])[^>]*>)([^<]+)(</t[hd]>)")
_CODE = re.compile(r"[a-z][a-z0-9]+(_[a-z0-9]+)+")  # one letter before the first line is a parameter: W_enc, b_gate
_COLUMNS = {
    "d_sae": "latents", "lr": "learning rate", "sparsity": "k or λ", "eval_tokens": "tokens of evaluation", "ce": "loss (nats per token)",
    "ce_clean": "loss of the model", "ce_zero": "loss with zero ablation", "ce_mean": "loss with mean ablation",
    "loss_recovered_mean": "loss recovered over mean ablation",
}  # fmt: skip
_WORDS = {"l0": "L0", "mse": "MSE", "ce": "CE", "kl": "KL", "pca": "PCA", "sae": "SAE", "saes": "SAEs"}


def relabel(book: NotebookNode) -> None:
    """Replace code names in the tables of a notebook's outputs."""
    for cell in book.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            html = "".join(data.get("text/html", ""))
            if 'class="dataframe"' in html:
                data["text/html"] = _CELL.sub(_cell, html)


def name(word: str) -> str:
    """What readers call a column, a method or a site; `word` itself where it is none of them."""
    if word in QUANTITIES and ("_" in word or word == "l0"):  # others are words, which may mean something else here
        return QUANTITIES[word].name
    if word in by_site.LOOKS:
        return by_site.LOOKS[word][0]
    return _COLUMNS.get(word) or _method(word) or word


def _method(word: str) -> str:
    if not re.fullmatch(r"[a-z0-9_+]+", word):
        return ""
    try:
        return style.look(word).label
    except UserError:
        return ""


def _cell(cell: re.Match[str]) -> str:
    """A cell with its text replaced. A head may also be a name that nobody has put in words."""
    start, kind, text, end = cell.groups()
    words = name(text.strip())
    if kind == "th" and words == text.strip() and _CODE.fullmatch(words):
        words = " ".join(_WORDS.get(part, part) for part in words.split("_"))
    return f"{start}{escape(words) if words != text.strip() else text}{end}"
