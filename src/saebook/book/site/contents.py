"""The table of contents: written when the book is built, from the chapters' sidecars and the folder of prose pages."""

from pathlib import Path
from typing import Any

import yaml

from saebook.common import sidecar

ROOT = "index"
PROSE = (
    "ledger",
    "bets",
    "how-it-works",
    "your-model",
    "subject",
    "tuning",
    "choices",
    "benchmarks",
    "glossary",
    "api",
    "status",
    "bibliography",
)  # in this order
PARTS = {"checks": "First steps", "gated": "Gated SAEs", "topk": "Top-k SAEs", "e2e": "End-to-end SAEs"}
ABOUT = "About this book"


def contents(prose: set[str], chapters: list[str]) -> dict[str, Any]:
    """The table of contents as Jupyter Book reads it, from the names of prose pages and chapters (`paper/name`).

    Chapters stand in the part of their paper, in the order given, under their sidecars' titles. Prose pages stand in the
    last part, in the order of `PROSE`; one that is not named there comes last.
    """
    parts = [
        {"caption": caption, "chapters": [_chapter(name) for name in chapters if name.split("/")[0] == paper]}
        for paper, caption in PARTS.items()
    ]
    pages = [page for page in PROSE if page in prose] + sorted(prose - {ROOT, *PROSE})
    parts.append({"caption": ABOUT, "chapters": [{"file": f"book/{page}"} for page in pages]})
    return {"format": "jb-book", "root": f"book/{ROOT}", "parts": [part for part in parts if part["chapters"]]}


def _chapter(name: str) -> dict[str, str]:
    return {"file": f"notebooks/{name}", "title": sidecar.load(name).title}


def write(staging: Path) -> Path:
    """Write the table of contents of the book into its `staging` folder; returns the file."""
    prose = {file.stem for file in (staging / "book").glob("*.md")}
    file = staging / "_toc.yml"
    table = contents(prose, sidecar.names())
    file.write_text(yaml.safe_dump(table, sort_keys=False, allow_unicode=True), "utf-8")
    return file
