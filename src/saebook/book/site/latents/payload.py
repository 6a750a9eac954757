"""Which sample of latents the feature browser shows, and what its script gets: the lines of the result, as they are."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from saebook.claims import results
from saebook.claims.results import Where
from saebook.common.errors import UserError
from saebook.common.names import TIERS

NAME = "beyond/features"
# What a line of the script's data holds, in this order; `book/assets/features.js` reads it so.
COLUMNS = (
    "sae", "latent", "density", "largest", "histogram", "raised", "lowered", "top", "middle", "random", "other_seed",
    "other_kind", "own",
)  # fmt: skip
_NUMBERS = {"sae": int, "latent": int, "shown": int, "density": float, "largest": float}


@dataclass(frozen=True)
class Sample:
    """A result with its lines: those `shown` in full, and those of `neighbours` in brief."""

    result: dict[str, Any]
    where: Where
    shown: list[dict[str, Any]]
    neighbours: list[dict[str, Any]]

    @property
    def tokens(self) -> list[str]:
        return self.result["findings"]["tokens"]


def sample(tier: str) -> Sample | None:
    """The sample of the largest tier that there is, recorded or this copy's own run at `tier`; None where there is none.

    Raises `UserError` in one line for lines that are damaged.
    """
    own: list[tuple[str, Where]] = [(tier, "live")]
    places: list[tuple[str, Where]] = [*own, *((one, "recorded") for one in TIERS)]
    for one, where in sorted(places, key=lambda place: TIERS.index(place[0]), reverse=True):
        if (result := results.read(NAME, one, where)) is not None:
            lines = _lines(one, where)
            return Sample(result, where, [x for x in lines if x["shown"]], [x for x in lines if not x["shown"]])
    return None


def _lines(tier: str, where: Where) -> list[dict[str, Any]]:
    file = results.file(NAME, tier, where).with_suffix(".csv")
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return [
                line
                | {name: kind(line[name]) for name, kind in _NUMBERS.items()}
                | {name: line[name] for name in COLUMNS[4:]}
                for line in csv.DictReader(lines)
            ]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"the latents of {file} are damaged: restore it from git, or run {NAME} again") from None


def as_script(of: Sample) -> str:
    """The sample as JSON that may stand inside a page's script element."""
    kept = of.result["findings"]
    data = {
        "saes": kept["saes"], "window": kept["window"], "text": kept["text"], "tokens": kept["tokens"],
        "shown": _plain(of.shown), "neighbours": _plain(of.neighbours),
    }  # fmt: skip
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # A token may hold the end of a script element, or the begin of a comment.
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _plain(lines: Sequence[dict[str, Any]]) -> list[list[Any]]:
    return [[line[name] for name in COLUMNS] for line in lines]
