"""The key to the features of the Gated paper's Figure 7: which card shows a latent of which SAE, on a page of its own."""

import csv
from typing import Any

from saebook.book.site.latents.browser import KINDS
from saebook.book.site.rate_grids import markdown_table
from saebook.claims import results
from saebook.claims.results import Where
from saebook.common.errors import UserError
from saebook.common.names import TIERS

NAME = "gated/fig07_interpretability"


def tables(tier: str) -> str:
    """The key of this copy's own cards at `tier` and of every recorded set, as Markdown, each folded and named by its hash.

    Raises `UserError` in one line for a key that is damaged.
    """
    places: list[tuple[str, Where]] = [(tier, "live"), *((one, "recorded") for one in TIERS)]
    kept = [(one, where, result) for one, where in places if (result := results.read(NAME, one, where))]
    parts: dict[str, str] = {}
    for one, where, result in kept:
        cards_hash = str(result["findings"].get("cards_hash", ""))
        whose = "this copy" if where == "live" else "recorded"
        parts.setdefault(cards_hash, _folded(f"Cards {cards_hash} ({whose}, {one} tier)", _cards(one, where)))
    return "\n".join(parts.values()) or f"No cards have been made yet: `saebook run {NAME}` makes them.\n"


def _folded(title: str, table: str) -> str:
    return f":::{{dropdown}} {title}\n{table}\n:::\n"


def _cards(tier: str, where: Where) -> str:
    file = results.file(NAME, tier, where).with_suffix(".csv")
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = [_row(line) for line in csv.DictReader(lines)]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"the key {file} is damaged: restore it from git, or run {NAME} again") from None
    return markdown_table(["feature", "pair", "architecture", "seed", "penalty", "L0", "latent"], rows)


def _row(line: dict[str, Any]) -> list[str]:
    return [
        line["card"], str(int(line["pair"]) + 1), KINDS.get(line["method"], line["method"]), line["seed"],
        f"{float(line['sparsity']):g}", f"{float(line['l0']):.1f}", line["latent"],
    ]  # fmt: skip
