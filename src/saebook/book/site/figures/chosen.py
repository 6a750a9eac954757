"""Which result a chapter's figure is drawn from: this copy's own where its tier can conclude something, else the recorded one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from saebook.claims import results
from saebook.claims.results import Where
from saebook.common import paths
from saebook.common.errors import UserError
from saebook.common.names import TIERS

RECORDED = TIERS[1:]  # a smoke run is never recorded
OFFERED = ("svg", "png", "csv", "json")  # what a page offers for download, where it is there


@dataclass(frozen=True)
class Chosen:
    """A result that is shown, with its place: of chapter `name` (`paper/name`) at a `tier`, recorded or this copy's own."""

    name: str
    tier: str
    where: Where
    result: dict[str, Any]

    def file(self, kind: str) -> Path:
        """Its file of a kind (csv, json, png), which need not exist."""
        return results.file(self.name, self.tier, self.where).with_suffix(f".{kind}")

    def offered(self, kind: str) -> str:
        """Where the book keeps its file of a kind, below the folder of results."""
        tier = f"{self.where}/{self.tier}"
        return f"{tier}/{self.name}.{kind}"

    def points(self) -> pd.DataFrame | None:
        """The plotted points; None where none are kept. Raises `UserError` for a damaged file."""
        file = self.file("csv")
        if not file.is_file():
            return None
        try:
            return pd.read_csv(file)
        except (ValueError, OSError):  # pandas' own errors are ValueErrors
            remedy = "restore it from git, or " if paths.data() in file.parents else ""
            raise UserError(f"points {file} are damaged: {remedy}delete them and run the notebook again") from None

    def words(self) -> str:
        """What the reader is told of it."""
        whose = "recorded" if self.where == "recorded" else "this copy"
        return f"{whose}, {self.tier} tier, {self.result['date']}"


def chosen(name: str, tier: str) -> Chosen | None:
    """The result of chapter `name` that a book built at `tier` shows; None when there is none at all."""
    own = results.read(name, tier, "live")
    if own and tier in RECORDED:
        return Chosen(name, tier, "live", own)
    kept = recorded(name, tier)
    if kept:
        return Chosen(name, kept["tier"], "recorded", kept)
    return Chosen(name, tier, "live", own) if own else None


def recorded(name: str, tier: str) -> dict[str, Any] | None:
    """The recorded result of the same tier, or else of the largest."""
    of_tiers: Sequence[str] = [*([tier] if tier in RECORDED else []), *reversed(RECORDED)]
    return next((result for one in of_tiers if (result := results.read(name, one))), None)
