"""The key to the features that chapters ask people to rate: which card shows a latent of which SAE, on a page of its own."""

import csv
from pathlib import Path
from typing import Any

from saebook.book.site.latents.browser import KINDS
from saebook.book.site.rate_grids import markdown_table
from saebook.claims import results
from saebook.claims.results import Where
from saebook.common.errors import UserError
from saebook.common.names import TIERS

# Of the first, the key is the chapter's points; the other has runs for points, and its key among its findings.
NAMES = ("gated/fig07_interpretability", "e2e/fig09_interpretability_proxy")


def tables(tier: str) -> str:
    """The key of this copy's own cards at `tier` and of every recorded set, as Markdown, each folded and named by its hash.

    Raises `UserError` in one line for a key that is damaged.
    """
    places: list[tuple[str, Where]] = [(tier, "live"), *((one, "recorded") for one in TIERS)]
    parts: dict[str, str] = {}
    for name in NAMES:
        for one, where in places:
            if result := results.read(name, one, where):
                cards_hash = str(result["findings"].get("cards_hash", ""))
                whose = "this copy" if where == "live" else "recorded"
                title = f"Cards {cards_hash} ({whose}, {one} tier)"
                parts.setdefault(cards_hash, _folded(title, _cards(name, one, where, result)))
    return "\n".join(parts.values()) or f"No cards have been made yet: `saebook run {NAMES[0]}` makes them.\n"


def _folded(title: str, table: str) -> str:
    return f":::{{dropdown}} {title}\n{table}\n:::\n"


def _cards(name: str, tier: str, where: Where, result: dict[str, Any]) -> str:
    file = results.file(name, tier, where)
    try:
        rows = [_row(line) for line in result["findings"].get("card_key") or _points(file.with_suffix(".csv"))]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"the key of {file} is damaged: restore it from git, or run {name} again") from None
    return markdown_table(["feature", "pair", "kind", "seed", "penalty", "L0", "latent"], rows)


def _points(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _row(line: dict[str, Any]) -> list[str]:
    return [
        str(line["card"]), str(int(line["pair"]) + 1), KINDS.get(str(line["method"]), str(line["method"])), str(line["seed"]),
        f"{float(line['sparsity']):g}", f"{float(line['l0']):.1f}", str(line["latent"]),
    ]  # fmt: skip
